"""Tars, read in place: members by offset; nothing in them ever becomes a path on the disk."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from saccade.data.cells import printable
from saccade.data.listing import Skipped, SpanItem
from saccade.data.sources import archive
from saccade.data.sources.labelled import Labelled
from saccade.data.sources.names import is_ignored
from saccade.data.sources.tree import Leaf, Tree, labelled_tree
from saccade.errors import ArchiveError


class Member(NamedTuple):
    """A file or folder in a tar: its name, and where its bytes lie in the tar."""

    name: str
    offset: int
    size: int
    is_folder: bool


def read_tar(path: Path, plain: Path) -> Labelled:
    """List the pictures in a tar of class folders.

    Args:
        path: what the user named.
        plain: the same without its compression; see unpacked.py.

    Raises:
        ArchiveError: damaged, or with links, devices, or names that point outside it.
        LayoutError: it does not name the class of every picture.
    """
    found = labelled_tree(tar_tree(path, plain))
    return replace(found, stamp=hashlib.sha256(place_stamp(path) + found.stamp).digest())


def tar_members(path: Path) -> Iterator[Member]:
    """The files and folders of an uncompressed tar, in order; every entry is checked.

    Raises:
        ArchiveError: the tar is damaged, or has links, devices, sparse files or names that point outside it.
    """
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as tar:
            num_members = 0
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # they would pile up, and each is needed once
                num_members += 1
                if num_members > archive.MAX_ENTRIES:
                    raise archive.bomb(f"it has more than {archive.MAX_ENTRIES:,} entries", path)
                _check_member(info, path)
                yield Member(info.name, info.offset_data, info.size, info.isdir())
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise ArchiveError(
            f"this tar is damaged or incomplete ({error})", where=str(path), remedy="fetch or pack it again"
        ) from error


def _check_member(info: tarfile.TarInfo, path: Path) -> None:
    archive.check_name(info.name, path, shown=info.name)
    if info.isdir() or (info.isreg() and not info.issparse()):
        return
    kind = "a link" if info.issym() or info.islnk() else "a sparse file" if info.isreg() else "a device or pipe"
    raise ArchiveError(
        f"the archive has an entry that is {kind}: {info.name!r}",
        where=str(path),
        remedy="pack plain files only: tar --dereference --hard-dereference -cf NEW.tar FOLDER; or give the folder",
    )


def place_stamp(path: Path) -> bytes:
    """What changes when the file is changed, replaced or another one: its place, size and time."""
    status = path.stat()
    return f"{os.path.realpath(path)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")


def tar_tree(path: Path, plain: Path) -> Tree:
    """The files and folders of a tar; `plain` is the same without its compression.

    Raises:
        ArchiveError: as `tar_members`.
    """
    tree = Tree(str(path))
    seen: set[str] = set()
    for member in tar_members(plain):
        parts = tuple(part for part in member.name.replace("\\", "/").split("/") if part not in ("", "."))
        hidden = next((part for part in parts if is_ignored(part)), None)
        if hidden is not None:
            tree.ignored[hidden] += 1
            continue
        archive.add_folders(tree, parts if member.is_folder else parts[:-1])
        if member.is_folder or not parts:
            continue
        name = printable("/".join(parts))
        reason: Skipped | None = archive.reason_by_name(name, seen)
        if reason:
            tree.skipped.append(reason)
            continue
        seen.add(name)
        tree.leaves.append(Leaf(parts, SpanItem(name, plain, member.offset, member.size), (member.offset, member.size)))
    tree.notes += archive.case_note(seen)
    return tree
