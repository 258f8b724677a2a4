"""Pictures of a table that lie in an archive: `animals.zip/cats/1.png` names a member of animals.zip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from saccade.data.listing import Item
from saccade.data.sources.archive import zip_tree
from saccade.data.sources.names import suffix_of
from saccade.data.sources.tar import place_stamp, tar_tree
from saccade.data.sources.unpacked import is_compressed, unpacked_tar


class Members(NamedTuple):
    """An archive beside a table.

    Attributes:
        prefix: how paths of the table begin that lead into it, with a slash at the end.
        items: its pictures by name.
        stamp: what changes when the archive does.
    """

    prefix: str
    items: Mapping[str, Item]
    stamp: bytes


def find_members(folder: Path, paths: Sequence[str]) -> Members | None:
    """The archive that the first path leads into, opened; None where that path is a file, or nothing at all.

    Raises:
        ArchiveError: it is damaged, a bomb, or has names that point outside it.
    """
    parts = paths[0].split("/")
    for length in range(1, len(parts)):
        prefix = "/".join(parts[:length])
        archive = folder / prefix
        if prefix and suffix_of(prefix) in _SUFFIXES and archive.is_file():
            return Members(f"{prefix}/", members_of(archive), place_stamp(archive))
    return None


_SUFFIXES = frozenset({".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz"})


def members_of(archive: Path) -> dict[str, Item]:
    """The pictures of a zip or tar by name.

    Raises:
        ArchiveError: as `find_members`.
    """
    with archive.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"PK") or suffix_of(archive.name) == ".zip":
        tree = zip_tree(archive)
    else:
        tree = tar_tree(archive, unpacked_tar(archive) if is_compressed(head, archive) else archive)
    return {leaf.item.name: leaf.item for leaf in tree.leaves if leaf.item is not None}
