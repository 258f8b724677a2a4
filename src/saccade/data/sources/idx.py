"""The four idx files of MNIST and its family (Fashion-MNIST, KMNIST, EMNIST), plain or gzipped.

The format: http://yann.lecun.com/exdb/mnist/ - big-endian: two zero bytes, type (8: unsigned byte), number of
axes, the length of each axis as uint32, the bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from saccade.data.listing import TEST, TRAIN
from saccade.data.sources.array_pixels import NamedArray
from saccade.data.sources.assemble import Origin, Part, assemble
from saccade.data.sources.labelled import Labelled
from saccade.errors import ArrayError

_FILE = re.compile(r"^(?P<family>.*?)(?P<part>train|t10k|test)-(?P<role>images|labels)[-.]idx[13]-ubyte(\.gz)?$")
_SPLITS = MappingProxyType({"train": TRAIN, "t10k": TEST, "test": TEST})
_NUM_AXES = MappingProxyType({"images": 3, "labels": 1})
_UNSIGNED_BYTE = 8
_MAX_DEFLATE_RATIO = 1032  # https://zlib.net/zlib_tech.html


def find_idx(folder: Path) -> dict[tuple[str, str], Path]:
    """(split, role) -> file, for the idx files that lie directly in `folder`; empty where there are none.

    Raises:
        ArrayError: the files of two data sets lie together.
    """
    found: dict[tuple[str, str], Path] = {}
    families = set()
    for path in sorted(folder.iterdir(), reverse=True):  # reversed: NAME replaces NAME.gz
        match = _FILE.match(path.name)
        if match:
            families.add(match["family"])
            found[_SPLITS[match["part"]], match["role"]] = path
    if len(families) > 1:
        raise ArrayError(
            f"idx files of several data sets lie together: {', '.join(sorted(families))}",
            where=str(folder),
            remedy="give each its own folder",
        )
    return found


def read_idx(folder: Path, class_names: Sequence[str] | None = None) -> Labelled:
    """Read train and, where it is there, t10k (test).

    Args:
        folder: where the files lie.
        class_names: what the labels stand for; without them classes are called by their numbers, as the files do.

    Raises:
        ArrayError: a file is missing, truncated, of another type, or counts differ.
    """
    found = find_idx(folder)
    parts = []
    digest = hashlib.sha256()
    for split in (TRAIN, TEST):
        paths = [found.get((split, role)) for role in _NUM_AXES]
        if not any(paths):
            continue
        images, labels = (_read_part(path, role, split, folder) for path, role in zip(paths, _NUM_AXES, strict=True))
        for array in (images.values, labels.values):
            digest.update(np.ascontiguousarray(array).data)
        parts.append(Part(split, images, labels))
    notes = () if len(parts) == 2 else ("only one of the parts train and t10k is there",)
    return assemble(parts, Origin(str(folder), digest.digest(), notes), class_names)


def _read_part(path: Path | None, role: str, split: str, folder: Path) -> NamedArray:
    if path is None:
        raise ArrayError(
            f"the file with the {role} of the {split} part is missing",
            where=str(folder),
            remedy="an idx data set is four files: train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, each also as .gz",
        )
    return NamedArray(path.name, _read_file(path, _NUM_AXES[role]))


def _read_file(path: Path, num_axes: int) -> npt.NDArray[np.uint8]:
    size = path.stat().st_size
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            shape = _read_header(file.read(4 + 4 * num_axes), num_axes, path)
            claimed = math.prod(shape)
            # Compared first, because read() allocates what it is asked for.
            largest = size * (_MAX_DEFLATE_RATIO if zipped else 1)
            data = file.read(claimed + 1) if claimed <= largest else b""
    except (EOFError, zlib.error, OSError) as error:
        raise _broken(path, f"it is truncated or damaged ({error})") from error
    if claimed != len(data):
        raise _broken(path, f"its header claims {shape}, {claimed:,} bytes; the bytes are fewer or more")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _read_header(header: bytes, num_axes: int, path: Path) -> tuple[int, ...]:
    expected = bytes([0, 0, _UNSIGNED_BYTE, num_axes])
    if len(header) < 4 + 4 * num_axes:
        raise _broken(path, f"it ends after {len(header)} bytes, within its header")
    if header[:4] != expected:
        raise _broken(path, f"it begins with {header[:4].hex(' ')}, not with {expected.hex(' ')}")
    return tuple(int.from_bytes(header[at : at + 4], "big") for at in range(4, len(header), 4))


def _broken(path: Path, detail: str) -> ArrayError:
    return ArrayError(f"{path.name} is no complete idx file: {detail}", where=str(path), remedy="fetch it again")
