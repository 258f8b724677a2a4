"""A zip of class folders, read in place: nothing is unpacked to disk."""

from __future__ import annotations

import re
import stat
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from saccade.data.listing import MemberItem, Skipped
from saccade.data.sources.labelled import Labelled
from saccade.data.sources.members import decoded_name, has_undeclared_name
from saccade.data.sources.names import ARCHIVE_SUFFIXES, is_ignored, suffix_of
from saccade.data.sources.tree import Leaf, Tree, labelled_tree
from saccade.errors import ArchiveError

MAX_ENTRIES = 5_000_000
MAX_TOTAL_BYTES = 2**41
# Deflate reaches 1032 on zeros. Pictures that large and that empty exist nowhere but in bombs.
MAX_RATIO, RATIO_MATTERS_ABOVE = 200, 10 * 2**20
_READABLE_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
_ENCRYPTED = 0x1
_DRIVE = re.compile(r"^[A-Za-z]:")


def read_zip(path: Path) -> Labelled:
    """List the pictures in a zip, with or without part folders and with or without a wrapping folder.

    Raises:
        ArchiveError: damaged, encrypted, a bomb, or with names that point outside it.
        LayoutError: it does not name the class of every picture.
    """
    return labelled_tree(zip_tree(path))


def zip_tree(path: Path) -> Tree:
    """The files and folders of a zip; every entry is checked.

    Raises:
        ArchiveError: damaged, encrypted, a bomb, or with names that point outside it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise ArchiveError(
            f"this zip is damaged or incomplete ({error})", where=str(path), remedy="fetch or pack it again"
        ) from error
    except OSError as error:
        what = f"this zip cannot be read ({error.strerror or error})"
        raise ArchiveError(what, where=str(path), remedy="check the path and its permissions") from error
    for info in members:
        _check_member(info, path)
    _check_totals(members, path)
    return _tree(members, path)


def _check_member(info: zipfile.ZipInfo, path: Path) -> None:
    check_name(info.filename if "\0" not in info.orig_filename else "..", path, shown=info.orig_filename)
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError("the archive is password-protected", where=str(path), remedy="unpack it and give the folder")
    if info.compress_type not in _READABLE_METHODS:
        raise ArchiveError(
            f"{info.filename!r} is compressed with method {info.compress_type}, which cannot be read",
            where=str(path),
            remedy="unpack it and give the folder, or pack it again with the ordinary method (deflate)",
        )
    if info.file_size > RATIO_MATTERS_ABOVE and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        raise bomb(f"{info.filename!r} unpacks {info.compress_size:,} bytes to {info.file_size:,}", path)
    if has_undeclared_name(info):
        raise ArchiveError(
            f"the archive does not say in which encoding its folder names are: {info.filename!r}",
            where=str(path),
            remedy="pack it again with UTF-8 names, or unpack it and give the folder",
        )


def check_name(name: str, path: Path, shown: str) -> None:
    """Refuse an archive with an entry whose name leads out of it."""
    name = name.replace("\\", "/")
    if name.startswith("/") or _DRIVE.match(name) or ".." in name.split("/"):
        raise ArchiveError(
            f"the archive has an entry that points outside it: {shown!r}",
            where=str(path),
            remedy="do not trust this archive; if it is yours, pack it again with relative names",
        )


def _check_totals(members: list[zipfile.ZipInfo], path: Path) -> None:
    if len(members) > MAX_ENTRIES:
        raise bomb(f"it has {len(members):,} entries (at most {MAX_ENTRIES:,})", path)
    total = sum(info.file_size for info in members)
    packed = sum(info.compress_size for info in members)
    if total > MAX_TOTAL_BYTES:
        raise bomb(f"it declares {total:,} bytes (at most {MAX_TOTAL_BYTES:,})", path)
    if total > RATIO_MATTERS_ABOVE and total > MAX_RATIO * max(packed, 1):
        raise bomb(f"it unpacks {packed:,} bytes to {total:,}", path)
    if packed > path.stat().st_size:
        raise bomb("its entries overlap", path)
    starts = np.array([(info.header_offset, info.compress_size) for info in members], dtype=np.int64)
    starts = starts.reshape(-1, 2)[np.argsort(starts.reshape(-1, 2)[:, 0])]
    if (starts[:-1].sum(axis=1) > starts[1:, 0]).any():
        raise bomb("its entries overlap", path)


def bomb(detail: str, path: Path) -> ArchiveError:
    """What is said of an archive that would fill a disk."""
    return ArchiveError(
        f"the archive looks like a bomb: {detail}",
        where=str(path),
        remedy="do not trust it; if it is yours, unpack it and give the folder",
    )


def _tree(members: list[zipfile.ZipInfo], path: Path) -> Tree:
    tree = Tree(str(path))
    seen: set[str] = set()
    for info in members:
        name = decoded_name(info)
        parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
        hidden = next((part for part in parts if is_ignored(part)), None)
        if hidden is not None:
            tree.ignored[hidden] += 1
            continue
        add_folders(tree, parts if info.is_dir() else parts[:-1])
        if info.is_dir() or not parts:
            continue
        reason = _reason_to_skip(info, name, seen)
        if reason:
            tree.skipped.append(reason)
            continue
        seen.add(name)
        tree.leaves.append(Leaf(parts, MemberItem(name, path), (info.CRC, info.file_size)))
    tree.notes += case_note(seen)
    return tree


def add_folders(tree: Tree, parts: tuple[str, ...]) -> None:
    """A folder and all above it; archives need not name them."""
    while parts and parts not in tree.folders:
        tree.folders.add(parts)
        parts = parts[:-1]


def _reason_to_skip(info: zipfile.ZipInfo, name: str, seen: set[str]) -> Skipped | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return Skipped(name, "symlink_entry", "a link; what it leads to is not in its entry")
    if kind not in (0, stat.S_IFREG):
        return Skipped(name, "not_regular_file", "a pipe, socket or device")
    return reason_by_name(name, seen)


def reason_by_name(name: str, seen: set[str]) -> Skipped | None:
    """Why an entry is left out for its name: it was there already, or is an archive itself."""
    if name in seen:
        return Skipped(name, "duplicate_entry", "the archive has this name more than once; the first is used")
    if suffix_of(name) in ARCHIVE_SUFFIXES:
        return Skipped(name, "nested_archive", "an archive inside the archive; unpack it first")
    return None


def case_note(names: set[str]) -> list[str]:
    """A sentence on names that differ only in case; nothing where there are none."""
    alike = Counter(name.casefold() for name in names)
    doubled = sorted(name for name, count in alike.items() if count > 1)
    if not doubled:
        return []
    return [
        f"{len(doubled)} names in the archive differ only in case, for example {doubled[0]}: "
        "unpacked on Windows or macOS, one would overwrite the other"
    ]
