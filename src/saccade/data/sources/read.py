"""The bytes of one picture, from a file or from an archive that each process opens once."""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import zipfile
import zlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from saccade.data.listing import FileItem, MemberItem, SpanItem, StoredItem
from saccade.data.sources.members import by_name
from saccade.errors import ArchiveError, PictureError

MAX_PICTURE_BYTES = 2**30  # no picture of the accepted formats below the pixel limits is larger

_UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,  # NotImplementedError is one
)


def read_item(item: StoredItem) -> bytes:
    """Read one picture as it is stored.

    Raises:
        PictureError: `missing`, `permission_denied`, `not_regular_file`, `file_too_large`, `io_error`, or
            `damaged_member` for a member of an archive that is not all there or not what the archive says.
        ArchiveError: the archive itself has gone or cannot be read.
    """
    if isinstance(item, FileItem):
        return _read_file(item)
    return _read_span(item) if isinstance(item, SpanItem) else _read_member(item)


def read_ahead(item: StoredItem) -> None:
    """Have the system fetch a file that is read soon, where it can be asked to. Nothing is said when it cannot."""
    if not isinstance(item, FileItem) or not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError):
        file = os.open(item.path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe without a writer does not keep it waiting
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)


def _read_file(item: FileItem) -> bytes:
    try:
        status = item.path.stat()
        # Asked before opening: opening a pipe without a writer waits for ever.
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(
                "not_regular_file",
                "this is not a regular file but a folder, pipe, socket or device",
                where=item.name,
                remedy="remove it from the pictures",
            )
        _check_size(status.st_size, item.name)
        return item.path.read_bytes()
    except FileNotFoundError as error:
        raise PictureError(
            "missing", "the file does not exist (any more)", where=item.name, remedy="list the pictures again"
        ) from error
    except PermissionError as error:
        raise PictureError(
            "permission_denied",
            "you may not read this file",
            where=item.name,
            remedy="change its permissions, or remove it from the pictures",
        ) from error
    except OSError as error:
        what = f"the file cannot be read ({error.strerror or error})"
        raise PictureError("io_error", what, where=item.name, remedy="check the disk or the network") from error


def _check_size(size: int, name: str) -> None:
    if size > MAX_PICTURE_BYTES:
        what = f"{size:,} bytes are too many for one picture (at most {MAX_PICTURE_BYTES:,})"
        raise PictureError("file_too_large", what, where=name, remedy="remove it from the pictures")


def _read_span(item: SpanItem) -> bytes:
    _check_size(item.size, item.name)
    try:
        with item.archive.open("rb") as file:
            file.seek(item.offset)
            data = file.read(item.size)
    except OSError as error:
        remedy = "check that the file is still there and complete"
        what = f"the archive cannot be opened ({error.strerror or error})"
        raise ArchiveError(what, where=str(item.archive), remedy=remedy) from error
    if len(data) != item.size:
        what = f"the archive ends {item.size - len(data):,} bytes before this member does"
        raise PictureError("damaged_member", what, where=item.name, remedy="pack or fetch the archive again")
    if item.sha256 and hashlib.sha256(data).digest() != item.sha256:
        what = "the bytes of this member have changed since the archive was written: their checksum is wrong"
        raise PictureError("damaged_member", what, where=item.name, remedy="pack or fetch the archive again")
    return data


def _read_member(item: MemberItem) -> bytes:
    archive, members = _opened(item.archive)
    info = members.get(item.name)
    if info is None:
        raise PictureError(
            "missing", "the archive has no such member (any more)", where=item.name, remedy="list the pictures again"
        )
    _check_size(info.file_size, item.name)
    try:
        with archive.open(info) as member:
            # zipfile stops at the declared size and compares the checksum there: no bomb gets past it.
            data = member.read(info.file_size + 1)
    except _UNPACKING_ERRORS as error:
        what = f"this member of the archive does not unpack ({error})"
        raise PictureError("damaged_member", what, where=item.name, remedy="pack or fetch the archive again") from error
    if len(data) != info.file_size:
        what = f"this member unpacks to {len(data):,} bytes, not to the {info.file_size:,} that the archive declares"
        raise PictureError("damaged_member", what, where=item.name, remedy="pack or fetch the archive again")
    return data


def _opened(path: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    try:
        status = path.stat()
        return _open_archive(str(path), os.getpid(), status.st_mtime_ns, status.st_size)
    except (OSError, zipfile.BadZipFile) as error:
        remedy = "check that the file is still there and complete"
        raise ArchiveError(f"the archive cannot be opened ({error})", where=str(path), remedy=remedy) from error


@lru_cache(maxsize=4)
def _open_archive(
    path: str, process: int, modified: int, size: int
) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """One open archive per process: a forked child would share the file position with its parent.

    `process`, `modified` and `size` are there to be part of the key of the cache.
    """
    archive = zipfile.ZipFile(path)
    return archive, by_name(archive)
