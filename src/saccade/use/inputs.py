"""What people name when they mean pictures: files, folders, globs, archives, tables, lines of text, arrays."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from saccade.data.listing import FileItem, RowItem, StoredItem
from saccade.data.sources.archive import zip_tree
from saccade.data.sources.names import suffix_of
from saccade.data.sources.tar import tar_tree
from saccade.data.sources.tree import Tree
from saccade.data.sources.unpacked import is_compressed, unpacked_tar
from saccade.use.path_column import TABLE_SUFFIXES, path_column
from saccade.use.predict import Picture
from saccade.use.squares import Pixels, Readable, Refused

ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz"})
_CHUNK = 2**16


class ArrayItem(NamedTuple):
    """A picture that is decoded already."""

    name: str
    pixels: Pixels


class Named(NamedTuple):
    """A picture, and what to call it in an answer. The item's own name can be another: that of a member of a zip."""

    name: str
    item: Readable | ArrayItem


def named(pictures: Picture | Iterable[Picture]) -> Iterator[Named]:
    """The pictures that paths (as `listed`) and arrays stand for, taken as they are needed.

    Raises:
        ArchiveError, TableError, MissingExtraError: as `listed`.
    """
    several = [pictures] if isinstance(pictures, str | Path | np.ndarray) else pictures
    for number, picture in enumerate(several, start=1):
        if isinstance(picture, np.ndarray):
            name = f"picture {number}"
            yield Named(name, ArrayItem(name, picture))
        else:
            yield from listed(str(picture))


def listed(path: str) -> Iterator[Named]:
    """The pictures that one path stands for; one that is not there stays, to get its own row.

    A folder is walked in plain string order; names that begin with a dot are left out. A zip or tar gives its members
    in their order, a table (csv, tsv, parquet) the files that its column of paths names, a glob what it fits.

    Raises:
        ArchiveError: an archive that was named is damaged, a bomb, or has names that point outside it.
        TableError: a table has no column of paths, or cannot be read.
        MissingExtraError: a .parquet without pyarrow.
    """
    suffix = suffix_of(path)
    if os.path.isdir(path):  # noqa: PTH112 - a name with a NUL is no error there
        found = walk(path)
    elif suffix in TABLE_SUFFIXES and Path(path).is_file():
        found = _of_table(Path(path))
    elif suffix in ARCHIVE_SUFFIXES and Path(path).is_file():
        found = _members(Path(path))
    elif not _exists(path) and glob.has_magic(path):
        found = (_file(match) for match in sorted(glob.glob(path, recursive=True)))  # noqa: PTH207 (an absolute glob)
    else:
        found = iter((_file(path),))
    # A folder without files and a glob that fits none keep a row of their own: nothing disappears.
    first = next(found, None)
    if first is None:
        yield _file(path)
        return
    yield first
    yield from found


def lines_of(file: IO[bytes], end: bytes = b"\n") -> Iterator[Named]:
    """A file per line of a stream of bytes; `end` may be a zero byte, as `find -print0` writes. Empty ones are none."""
    rest = b""
    while piece := file.read1(_CHUNK) if hasattr(file, "read1") else file.read(_CHUNK):
        *lines, rest = (rest + piece).split(end)
        yield from _files(lines, end)
    yield from _files([rest], end)


def _files(lines: Iterable[bytes], end: bytes) -> Iterator[Named]:
    for line in lines:
        name = line.removesuffix(b"\r") if end == b"\n" else line
        if name:
            yield _file(os.fsdecode(name))


def expand(paths: Iterable[str | Path]) -> Iterator[str]:
    """The files that files, folders and globs stand for, as paths; the members of archives are not among them."""
    for path in paths:
        text = str(path)
        if suffix_of(text) in ARCHIVE_SUFFIXES | TABLE_SUFFIXES:
            yield text
            continue
        yield from (found.name for found in listed(text))


def walk(folder: str) -> Iterator[Named]:
    """The files below a folder, in plain string order of each folder's names. A link back up is not followed."""
    ways: list[tuple[tuple[int, int], Iterator[str | Refused]]] = [(_identity(folder), iter(_names_in(folder)))]
    while ways:
        path = next(ways[-1][1], None)
        if path is None:
            ways.pop()
        elif isinstance(path, Refused):
            yield Named(path.name, path)
        elif not os.path.isdir(path):  # noqa: PTH112 - a million of them
            yield _file(path)
        elif (identity := _identity(path)) not in [above for above, _ in ways]:
            ways.append((identity, iter(_names_in(path))))


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _names_in(folder: str) -> list[str | Refused]:
    """Full paths, as strings: of a million, each object counts."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    except PermissionError:
        return [Refused(folder, "permission_denied", "you may not read this folder")]
    return [os.path.join(folder, name) for name in names]  # noqa: PTH118


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a zero byte
        return False


def _file(path: str) -> Named:
    if "\0" in path:
        return Named(path, Refused(path, "missing", "a path with a zero byte names nothing"))
    return Named(path, FileItem(path, Path(path)))


def _members(archive: Path) -> Iterator[Named]:
    """Every member; one that cannot be used (a link, an archive itself) has a row that says so."""
    for member, item in opened(archive):
        yield Named(f"{archive}/{member}", item)


def opened(archive: Path) -> Iterator[tuple[str, StoredItem | Refused]]:
    """The members of a zip or tar, by their names in it.

    Raises:
        ArchiveError: as `listed`.
    """
    tree = _tree(archive)
    for leaf in tree.leaves:
        if leaf.item is not None and not isinstance(leaf.item, RowItem):
            yield leaf.name, leaf.item
    for skipped in tree.skipped:
        yield skipped.name, Refused(*skipped)


def _tree(archive: Path) -> Tree:
    with archive.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"PK") or suffix_of(archive.name) == ".zip":
        return zip_tree(archive)
    return tar_tree(archive, unpacked_tar(archive) if is_compressed(head, archive) else archive)


def _of_table(table: Path) -> Iterator[Named]:
    """The files of a table, relative to its folder; a path may lead into an archive: animals.zip/cats/1.png."""
    archives: dict[str, dict[str, StoredItem | Refused]] = {}
    for row, cell in path_column(table):
        if not cell.strip():
            yield Named("", Refused(f"{table}, row {row}", "missing", f"row {row} of {table.name} names no file"))
            continue
        path = os.path.join(table.parent, cell)  # noqa: PTH118 - pathlib takes four times as long
        prefix = None if _exists(path) else _archive_in(path)
        if prefix is None:
            yield _file(path)
            continue
        if prefix not in archives:
            archives[prefix] = dict(opened(Path(prefix)))
        missing = Refused(path, "missing", "the archive has no such member")
        yield Named(path, archives[prefix].get(path[len(prefix) + 1 :], missing))


def _archive_in(path: str) -> str | None:
    """The archive that a path leads into."""
    parts = path.split("/")
    lengths = [length for length in range(1, len(parts)) if suffix_of(parts[length - 1]) in ARCHIVE_SUFFIXES]
    return next((prefix for prefix in ("/".join(parts[:length]) for length in lengths) if Path(prefix).is_file()), None)
