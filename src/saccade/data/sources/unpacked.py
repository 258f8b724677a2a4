"""A compressed tar, decompressed once into the cache: nothing inside it can be found without unpacking all before it.

Only the compression is taken off. The tar inside stays one file, so no name in it ever becomes a path.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

from saccade.data.cache import cache_folder
from saccade.data.sources import archive
from saccade.errors import ArchiveError, ResourceError
from saccade.whole import whole_file

_CHUNK = 2**20
_MARGIN = 64 * 2**20
_OPENERS: Mapping[bytes, Callable[[Path], IO[bytes]]] = MappingProxyType(
    {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}  # type: ignore[dict-item]
)
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def is_compressed(head: bytes, path: Path) -> bool:
    """Whether a file that begins like this is compressed by gzip, bzip2 or xz.

    Raises:
        ArchiveError: it is compressed by Zstandard.
    """
    if head.startswith(_ZSTANDARD):
        raise ArchiveError(
            "this is compressed by Zstandard, which cannot be read",
            where=str(path),
            remedy="unpack it with zstd -d and give the .tar",
        )
    return any(head.startswith(magic) for magic in _OPENERS)


def unpacked_tar(path: Path) -> Path:
    """The tar inside a compressed one, in the cache; made when it is not there yet.

    Raises:
        ArchiveError: damaged, or a bomb.
        ResourceError: the disk of the cache is too small; nothing is left there.
    """
    with path.open("rb") as file:
        head = file.read(8)
    opener = next(opener for magic, opener in _OPENERS.items() if head.startswith(magic))
    status = path.stat()
    key = hashlib.sha256(f"{os.path.realpath(path)}\0{status.st_size}\0{status.st_mtime_ns}".encode(errors="replace"))
    target = cache_folder() / "tars" / f"{key.hexdigest()[:32]}.tar"
    if not target.is_file():
        _unpack(path, opener, target)
    return target


def _unpack(path: Path, opener: Callable[[Path], IO[bytes]], target: Path) -> None:
    done = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as partial, opener(path) as packed, partial.open("wb") as file:
            while piece := _next_piece(packed, path):
                done += len(piece)
                _check_growth(done, path)
                _check_free(target.parent, done, path)
                file.write(piece)
    except OSError as error:
        raise _no_room(target.parent, done, path) if error.errno == errno.ENOSPC else error from None


def _next_piece(packed: IO[bytes], path: Path) -> bytes:
    try:
        return packed.read(_CHUNK)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OSError) as error:
        raise ArchiveError(
            f"this archive is damaged or incomplete ({error})", where=str(path), remedy="fetch or pack it again"
        ) from error


def _check_growth(done: int, path: Path) -> None:
    """Count what comes out; what the archive says about itself is not asked."""
    size = path.stat().st_size
    if done > archive.MAX_TOTAL_BYTES:
        raise archive.bomb(f"it unpacks to more than {archive.MAX_TOTAL_BYTES:,} bytes", path)
    if done > archive.RATIO_MATTERS_ABOVE and done > archive.MAX_RATIO * size:
        raise archive.bomb(f"it unpacks {size:,} bytes to more than {done:,}", path)


def _check_free(folder: Path, done: int, path: Path) -> None:
    if shutil.disk_usage(folder).free < _MARGIN:
        raise _no_room(folder, done, path)


def _no_room(folder: Path, done: int, path: Path) -> ResourceError:
    free = shutil.disk_usage(folder).free
    return ResourceError(
        f"unpacking {path.name} needs more than {done / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free",
        where=str(folder),
        remedy="free some space there, set SACCADE_CACHE to a folder on another disk, or unpack it and give the folder",
    )
