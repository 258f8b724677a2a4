"""The official CIFAR-10 and CIFAR-100 archives: the binary version, and the Python one where its checksum is known.

The format: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import codecs
import hashlib
import heapq
import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping, Set
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.listing import TEST, TRAIN
from saccade.data.sources.array_pixels import NamedArray
from saccade.data.sources.assemble import Origin, Part, assemble
from saccade.data.sources.labelled import Labelled
from saccade.errors import ArchiveError, ArrayError

# Of cifar-10-python.tar.gz and cifar-100-python.tar.gz, as Keras checks them.
PUBLISHED_PYTHON_SHA256 = frozenset(
    {
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    }
)
_PIXELS = 3 * 32 * 32
_MAX_FILE = 200 * 2**20  # the largest official one has 185 MB


class _Form(NamedTuple):
    """The binary files of one data set. `label_bytes` precede each picture; the last one counts."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label_bytes: int


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_BINARY = (
    _Form(tuple(f"{name}.bin" for name in _BATCHES), ("test_batch.bin",), "batches.meta.txt", 1),
    _Form(("train.bin",), ("test.bin",), "fine_label_names.txt", 2),
)


class _Pickled(NamedTuple):
    """The pickled files of one data set, and what they call the class names and the labels."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    names: bytes
    labels: bytes


_PYTHON = (
    _Pickled(_BATCHES, ("test_batch",), "batches.meta", b"label_names", b"labels"),
    _Pickled(("train",), ("test",), "meta", b"fine_label_names", b"fine_labels"),
)
_WANTED = frozenset(name for form in _BINARY for name in (*form.train, *form.test, form.names))
_PICKLED = frozenset(name for form in _PYTHON for name in (*form.train, *form.test, form.meta))
_PROBED = 16  # the official archives have nine entries at most, each begins with what is wanted

Files = Mapping[str, bytes]


def find_cifar(folder: Path) -> Path | None:
    """The folder with the binary files: `folder` itself or the only folder in it; None where there are none.

    Raises:
        ArrayError: the unpacked Python version, whose pickles are not read.
    """
    inside = heapq.nsmallest(2, (path for path in folder.iterdir() if path.is_dir()))
    for place in (folder, *inside):
        if any((place / form.names).is_file() and (place / form.test[0]).is_file() for form in _BINARY):
            return place
        if any((place / form.meta).is_file() and (place / form.test[0]).is_file() for form in _PYTHON):
            raise ArrayError(
                "this is the unpacked Python version of CIFAR, pickles that could run code when they are read",
                where=str(place),
                remedy="give cifar-10-python.tar.gz or cifar-100-python.tar.gz itself (its checksum proves it), or the "
                "binary version",
            )
    return None


def read_cifar_folder(folder: Path) -> Labelled:
    """Read the unpacked binary version from the folder that `find_cifar` found.

    Raises:
        ArrayError: a file is missing or has the wrong size.
    """
    files = {name: (folder / name).read_bytes() for name in sorted(_WANTED) if (folder / name).is_file()}
    return _from_binary(files, str(folder))


def read_cifar_tar(path: Path, published: Set[str] = PUBLISHED_PYTHON_SHA256) -> Labelled | None:
    """Read a CIFAR-10 or CIFAR-100 archive, binary or Python version (fine labels); None for any other tar.

    Args:
        path: the archive.
        published: the sha256 of which the Python version must have one before its pickles are read.

    Raises:
        ArchiveError: the archive is damaged, or is the Python version with another checksum.
        ArrayError: a file is missing or has the wrong size.
    """
    try:
        if not _is_cifar(path):
            return None
        files = _unpacked(path)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ArchiveError(
            f"this tar is damaged or incomplete ({error})", where=str(path), remedy="fetch it again"
        ) from error
    if any(form.names in files and form.test[0] in files for form in _BINARY):
        return _from_binary(files, str(path))
    form = next((form for form in _PYTHON if form.meta in files and form.test[0] in files), None)
    if form is None:
        return None
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum not in published:
        raise ArchiveError(
            f"this is not the official cifar-10-python.tar.gz or cifar-100-python.tar.gz: its sha256 is {checksum}; it "
            "holds pickles, which could run code when they are read",
            where=str(path),
            remedy="fetch the official file again, or use the binary version (cifar-10-binary.tar.gz)",
        )
    return _from_pickles(files, form, Origin(str(path), bytes.fromhex(checksum)))


def _is_cifar(path: Path) -> bool:
    """Whether one of the first entries is a file of CIFAR's; a large tar of pictures is not unpacked for that."""
    with tarfile.open(path) as archive:
        for _ in range(_PROBED):
            member = archive.next()
            if member is None:
                return False
            if member.isreg() and PurePosixPath(member.name).name in _WANTED | _PICKLED:
                return True
    return False


def _unpacked(path: Path) -> dict[str, bytes]:
    files = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if member.isreg() and name in _WANTED | _PICKLED and member.size <= _MAX_FILE:
                file = archive.extractfile(member)
                files[name] = file.read() if file else b""
    return files


def _from_binary(files: Files, source: str) -> Labelled:
    form = next(form for form in _BINARY if form.names in files)
    class_names = [line.strip() for line in files[form.names].decode("utf-8").splitlines() if line.strip()]
    digest = hashlib.sha256()
    parts = []
    for split, names in ((TRAIN, form.train), (TEST, form.test)):
        missing = [name for name in names if name not in files]
        if missing:
            raise ArrayError(f"files are missing: {', '.join(missing)}", where=source, remedy="fetch it again")
        for name in names:
            digest.update(files[name])
        rows = np.concatenate([_rows(files[name], name, form.label_bytes, source) for name in names])
        parts.append(_part(split, rows[:, form.label_bytes :], rows[:, form.label_bytes - 1]))
    return assemble(parts, Origin(source, digest.digest()), class_names)


def _rows(data: bytes, name: str, label_bytes: int, source: str) -> npt.NDArray[np.uint8]:
    width = label_bytes + _PIXELS
    if not data or len(data) % width:
        raise ArrayError(
            f"{name} has {len(data):,} bytes, which is no multiple of {width:,} (a label and a picture)",
            where=source,
            remedy="the file is truncated or something else: fetch it again",
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, width)


def _part(split: str, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[Any]) -> Part:
    # (N, 3072) in planes -> (N, 32, 32, 3)
    images = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Part(split, NamedArray(split, images), NamedArray(f"{split} labels", labels))


class _NumbersOnly(pickle.Unpickler):
    """Reads arrays, lists and text, and nothing that could run code: a second lock behind the checksum."""

    _ALLOWED = MappingProxyType(
        {
            ("_codecs", "encode"): codecs.encode,  # how protocol 2 writes bytes
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            # Old pickles name numpy.core; importing that now warns.
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed here")
        return self._ALLOWED[module, name]


def _from_pickles(files: Files, form: _Pickled, origin: Origin) -> Labelled:
    try:
        meta = _NumbersOnly(io.BytesIO(files[form.meta]), encoding="bytes").load()
        class_names = [name.decode() for name in meta[form.names]]
        parts = []
        for split, names in ((TRAIN, form.train), (TEST, form.test)):
            batches = [_NumbersOnly(io.BytesIO(files[name]), encoding="bytes").load() for name in names]
            pixels = np.concatenate([batch[b"data"] for batch in batches])
            labels = np.concatenate([np.asarray(batch[form.labels]) for batch in batches])
            parts.append(_part(split, pixels, labels))
    except (pickle.UnpicklingError, KeyError, ValueError, TypeError, EOFError) as error:
        raise ArrayError(
            f"the archive does not hold what it should ({error})", where=origin.source, remedy="fetch it again"
        ) from error
    return assemble(parts, origin, class_names)
