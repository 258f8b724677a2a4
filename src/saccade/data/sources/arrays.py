"""Pictures and labels in an .npz, or in an .npy beside its labels."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.listing import TRAIN, UNASSIGNED
from saccade.data.sources.array_pixels import NamedArray
from saccade.data.sources.assemble import Origin, Part, assemble
from saccade.data.sources.labelled import Labelled
from saccade.data.sources.names import SPLIT_OF_FOLDER
from saccade.errors import ArrayError, ResourceError

_IMAGES = frozenset({"x", "image", "images", "data", "pictures", "pixels"})
_LABELS = frozenset({"y", "label", "labels", "target", "targets"})
_CLASS_NAMES = frozenset({"class_names", "classes", "label_names", "target_names", "names"})
_MAX_DEFLATE_RATIO = 1032  # https://zlib.net/zlib_tech.html
_KEYS = "X_train and y_train (also X_val, y_val, X_test, y_test), train_images and train_labels, or images and labels"


class _Key(NamedTuple):
    split: str
    role: str  # "images" or "labels"


def read_npz(path: Path) -> Labelled:
    """Read an .npz with X_train, y_train, X_test, y_test, or the like.

    Raises:
        ArrayError: damaged, Python objects inside, unknown keys, or contents that are no pictures with labels.
    """
    source = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            keys = {name: key for name in members if (key := _parse_key(name))}
            pairs = _pairs(keys, sorted(members), source)
            wanted = {name for pair in pairs.values() for name in pair}
            wanted |= {name for name in members if name.lower() in _CLASS_NAMES}
            arrays = {name: _read_member(archive, members[name], source) for name in sorted(wanted)}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ArrayError(
            f"the file is damaged or incomplete ({error})", where=source, remedy="fetch or save it again"
        ) from error
    class_names = _class_names([arrays[name] for name in arrays if name.lower() in _CLASS_NAMES], source)
    parts = [_part(split, arrays, images, labels) for split, (images, labels) in pairs.items()]
    unused = sorted(set(members) - wanted)
    notes = (f"arrays in the file that were not used: {', '.join(unused)}",) if unused else ()
    return assemble(parts, Origin(source, _file_digest([path]), notes), class_names)


def _part(split: str, arrays: dict[str, npt.NDArray[Any]], images: str, labels: str) -> Part:
    return Part(split, NamedArray(images, arrays[images]), NamedArray(labels, arrays[labels]))


def read_npy(path: Path, labels_path: Path | None = None) -> Labelled:
    """Read NAME.npy, whose labels lie in NAME_labels.npy beside it (or in `labels_path`).

    Raises:
        ArrayError: no labels, Python objects inside, or contents that are no pictures with labels.
    """
    labels_path = labels_path or path.with_name(f"{path.stem}_labels.npy")
    if not labels_path.exists():
        raise ArrayError(
            f"{path.name} has no labels: there is no {labels_path.name} beside it",
            where=str(path),
            remedy=f"save the labels as {labels_path.name}, or save both in one .npz as X_train and y_train",
        )
    images = NamedArray(path.stem, _map_file(path))
    labels = NamedArray(labels_path.stem, _map_file(labels_path))
    origin = Origin(str(path), _file_digest([path, labels_path]))
    return assemble([Part(UNASSIGNED, images, labels)], origin)


def _parse_key(name: str) -> _Key | None:
    """`X_train`, `train_images`, `testY`, `images` -> the split and the role; None for any other name."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    words = set(re.split(r"[_\-. ]+", spaced.lower()))
    splits = {word for word in words if word in SPLIT_OF_FOLDER}
    roles = words - splits
    if len(splits) > 1 or len(roles) != 1:
        return None
    split = SPLIT_OF_FOLDER[splits.pop()] if splits else UNASSIGNED
    role = roles.pop()
    if role in _IMAGES:
        return _Key(split, "images")
    return _Key(split, "labels") if role in _LABELS else None


def _pairs(keys: dict[str, _Key], found: list[str], source: str) -> dict[str, tuple[str, str]]:
    """Split -> (name of the images, name of the labels), the training part first."""
    names: dict[_Key, str] = {}
    for name, key in keys.items():
        if key in names:
            raise ArrayError(
                f"both {names[key]} and {name} could be the {key.role} of {key.split}",
                where=source,
                remedy=f"keep one of them; known names are {_KEYS}",
            )
        names[key] = name
    splits = sorted({key.split for key in names}, key=lambda split: (split != TRAIN, split))
    pairs = {}
    for split in splits:
        images, labels = names.get(_Key(split, "images")), names.get(_Key(split, "labels"))
        if images is None or labels is None:
            lacking = "labels" if labels is None else "images"
            raise ArrayError(
                f"{images or labels} has no {lacking} beside it; the file holds {', '.join(found)}",
                where=source,
                remedy=f"name the arrays {_KEYS}",
            )
        pairs[split] = (images, labels)
    if not pairs or (UNASSIGNED in pairs and len(pairs) > 1):
        raise ArrayError(
            f"the names of the arrays do not say what they are: {', '.join(found) or '(none)'}",
            where=source,
            remedy=f"name them {_KEYS}",
        )
    return pairs


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str) -> npt.NDArray[Any]:
    name = info.filename.removesuffix(".npy")
    if info.file_size > _MAX_DEFLATE_RATIO * info.compress_size + 64:
        raise _size_error(name, f"{info.compress_size:,} bytes cannot unpack to {info.file_size:,}", source)
    with archive.open(info) as file:
        _check_header(file, info.file_size, name, source)
    with archive.open(info) as file:
        return _load(file, name, source)


def _map_file(path: Path) -> npt.NDArray[Any]:
    try:
        with path.open("rb") as file:
            _check_header(file, path.stat().st_size, path.stem, str(path), in_memory=False)
        mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise ArrayError(
            f"the array cannot be read ({error})", where=str(path), remedy="fetch or save it again"
        ) from error
    return mapped


def _load(file: IO[bytes], name: str, source: str) -> npt.NDArray[Any]:
    try:
        loaded: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise ArrayError(f"{name} cannot be read ({error})", where=source, remedy="fetch or save it again") from error
    return loaded


def _check_header(file: IO[bytes], size: int, name: str, source: str, *, in_memory: bool = True) -> None:
    """Compare what an array claims to be with the bytes there are, before anything is allocated."""
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(file)
    except (ValueError, EOFError) as error:
        raise ArrayError(f"{name} is not a NumPy array ({error})", where=source, remedy="save it again") from error
    if dtype.hasobject:
        raise ArrayError(
            f"{name} holds Python objects (dtype object), which can run code when they are read, so they never are",
            where=source,
            remedy="save numbers: np.stack(list_of_pictures) where all have one size; labels as numbers or text",
        )
    claimed = dtype.itemsize
    for length in shape:
        claimed *= int(length)
    if claimed != size - file.tell():
        detail = f"its header claims {claimed:,} bytes {shape}, the file has {size - file.tell():,}"
        raise _size_error(name, detail, source)
    if in_memory and claimed > _memory():
        raise ResourceError(
            f"{name} takes {claimed:,} bytes, more than the memory of this machine",
            where=source,
            remedy="save it as uint8, or as an .npy, which is not read as a whole",
        )


def _size_error(name: str, detail: str, source: str) -> ArrayError:
    what = f"{name} is incomplete or its header is wrong: {detail}"
    return ArrayError(what, where=source, remedy="fetch or save it again")


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf; then the allocation itself must fail
        return 2**62


def _class_names(found: list[npt.NDArray[Any]], source: str) -> list[str] | None:
    if not found:
        return None
    if len(found) > 1 or found[0].ndim != 1 or found[0].dtype.kind != "U":
        raise ArrayError("the class names are not one list of text", where=source, remedy="save np.array(names)")
    return [str(name) for name in found[0]]


def _file_digest(paths: list[Path]) -> bytes:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()
