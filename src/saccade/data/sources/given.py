"""Pictures handed over in Python: written once into the cache, so that a run can find them again like any others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from saccade.data.cache import cache_folder
from saccade.data.listing import TRAIN, UNASSIGNED
from saccade.data.sources.array_pixels import NamedArray
from saccade.data.sources.assemble import Origin, Part, assemble
from saccade.data.sources.datasets import DatasetLike, is_dataset, keep_datasets
from saccade.data.sources.labelled import Labelled
from saccade.data.sources.names import SPLIT_OF_FOLDER
from saccade.errors import ArrayError, ResourceError, UsageError
from saccade.whole import whole_file

Given = tuple[Any, Any] | Mapping[str, Any] | DatasetLike
"""(images, labels), or {"train": (images, labels), "test": ...}, or a `datasets.Dataset` or `DatasetDict`."""

_SOURCE = "the arrays"
_REMEDY = (
    'give (images, labels), {"train": (images, labels), "test": (images, labels)}, a datasets.Dataset, or the path of '
    "pictures"
)


def keep_given(given: Given) -> Path:
    """Write pictures that lie in memory to a file in the cache that `open_pictures` reads; returns where.

    The name of the file is made from its content, so the same pictures are written once.

    Args:
        given: images (N, H, W), (N, H, W, C) or (N, C, H, W) of 0..255, or floats 0..1, with labels (N,) that are
            numbers or names, or one-hot rows; alone or by part; or Hugging Face datasets with one column of pictures
            and one of classes.

    Raises:
        UsageError: another kind of object, or a part that is none.
        ArrayError, LabelError, DataError: what is in it cannot be pictures with labels.
        ResourceError: the cache cannot be written.
    """
    if is_dataset(given):
        return keep_datasets({UNASSIGNED: given})
    if isinstance(given, Mapping):
        by_part = {_part_of(name): value for name, value in given.items()}
        if len(by_part) < len(given) or not given:
            raise UsageError("a part is there twice, or none is there", where=str(list(given)), remedy=_REMEDY)
        if all(is_dataset(value) for value in by_part.values()):
            return keep_datasets(by_part)
    else:
        by_part = {UNASSIGNED: given}
    parts = [_read_part(split, value) for split, value in by_part.items()]
    parts.sort(key=lambda part: (part.split != TRAIN, part.split))
    return _write(assemble(parts, Origin(_SOURCE, b"")), parts)


def _part_of(name: object) -> str:
    if isinstance(name, str) and name.lower() in SPLIT_OF_FOLDER:
        return SPLIT_OF_FOLDER[name.lower()]
    raise UsageError(f"{name!r} is no part: train, val and test are", where=_SOURCE, remedy=_REMEDY)


def _read_part(split: str, value: object) -> Part:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise UsageError(f"a {type(value).__name__} is not (images, labels)", where=_SOURCE, remedy=_REMEDY)
    images, labels = _keys(split)
    return Part(split, NamedArray(images, _array(images, value[0])), NamedArray(labels, _array(labels, value[1])))


def _keys(split: str) -> tuple[str, str]:
    return ("images", "labels") if split == UNASSIGNED else (f"X_{split}", f"y_{split}")


def _array(name: str, values: Any) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # pictures of several sizes; a tensor on a GPU
        what = f"{name} cannot become one array ({error})"
        raise ArrayError(what, where=_SOURCE, remedy="give all pictures one size, or write them to files") from error
    if array.dtype.hasobject:
        raise ArrayError(f"{name} holds Python objects", where=_SOURCE, remedy="give numbers, or text as labels")
    return array


def _write(found: Labelled, parts: list[Part]) -> Path:
    arrays: dict[str, npt.NDArray[Any]] = {"class_names": np.array(found.names, dtype=np.str_)}
    start = 0
    for part in parts:
        images, labels = _keys(part.split)
        rows = slice(start, start + len(part.images.values))
        arrays[images] = _pixels(found)[rows]
        arrays[labels] = found.codes[rows]
        start = rows.stop
    path = cache_folder() / "given" / f"arrays-{_content(arrays)[:16]}.npz"
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as partial, partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise ResourceError(
            f"the arrays cannot be written: {error.strerror or error}",
            where=str(path.parent),
            remedy="free some space there, or set SACCADE_CACHE to a folder on another disk",
        ) from error
    return path


def _pixels(found: Labelled) -> npt.NDArray[np.uint8]:
    if found.array is None:
        raise ValueError("arrays that were assembled have pixels")
    return found.array


def _content(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes() if array.dtype.kind == "U" else _bytes_of(array))
    return digest.hexdigest()


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).data


def placed(pictures: str | Path | Given) -> str | Path:
    """Pictures by path; those that lie in memory are written into the cache."""
    return pictures if isinstance(pictures, str | Path) else keep_given(pictures)
