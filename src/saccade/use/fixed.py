"""What `saccade check --fix` writes: the pictures worth keeping, in a form that `saccade train` reads.

Pictures in files, and members of a zip or tar, are named in a table. Pictures of arrays have no names that a table
could hold: those that are kept are written as arrays again. None is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from saccade.data.cells import printable, write_csv
from saccade.data.listing import UNASSIGNED, FileItem, Listing
from saccade.data.sources.table import TABLE_SUFFIXES
from saccade.data.sources.table_members import members_of
from saccade.errors import DataError, UsageError
from saccade.use.check import Checked
from saccade.whole import whole_file

FIX_HEADER = ("path", "label", "split", "group")


def write_fixed(path: Path, checked: Checked) -> int:
    """Write the pictures worth keeping; returns how many were left out.

    Left out: what cannot be read, all but the largest copy of a picture on each side, copies of test pictures in train,
    pictures that stand in two classes, and pictures of one colour. Labels that look wrong are for a person to judge.

    Args:
        path: a .csv; an .npz for pictures that lie in arrays.
        checked: what was found.

    Raises:
        UsageError: the other of the two is needed.
        DataError: a picture has a name that no table can hold, or lies where none can lead.
    """
    pack = checked.pack
    kept = np.setdiff1d(pack.usable, np.concatenate([checked.sides.copies, checked.sides.conflicts]))
    kept = kept[~pack.looks["constant"][kept]]
    kept = kept[_largest_copies(checked, kept)]
    is_array, wanted = checked.listing.array is not None, ".npz" if checked.listing.array is not None else ".csv"
    if path.suffix.lower() != wanted:
        why = "pictures of an array have no paths that a table could name" if is_array else "a table is a .csv"
        what = f"{why}: the name must end in {wanted}"
        raise UsageError(what, where=str(path), remedy=f"write --fix {path.stem}{wanted}")
    if is_array:
        _write_arrays(path, checked, kept)
    else:
        names = _paths_from(path, checked.listing, kept)
        rows = ((name, *_cells(checked, row)) for name, row in zip(names, kept.tolist(), strict=True))
        write_csv(path, FIX_HEADER, rows)
    return len(pack.names) - len(kept)


def _write_arrays(path: Path, checked: Checked, kept: npt.NDArray[np.int64]) -> None:
    array, pack = checked.listing.array, checked.pack
    if array is None:
        raise ValueError("only a listing with an array is written as arrays")
    arrays: dict[str, npt.NDArray[np.generic]] = {"class_names": np.array(pack.class_names, dtype=np.str_)}
    for split in np.unique(pack.splits[kept]).tolist():
        rows = kept[pack.splits[kept] == split]
        images, labels = ("images", "labels") if split == UNASSIGNED else (f"X_{split}", f"y_{split}")
        arrays[images], arrays[labels] = array[rows], pack.labels[rows]
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _paths_from(table: Path, listing: Listing, kept: npt.NDArray[np.int64]) -> list[str]:
    """Where the pictures lie, seen from the table."""
    items = [listing.items[row] for row in kept.tolist()]
    if all(isinstance(item, FileItem) for item in items):
        found = [_seen_from(table, item.path) for item in items if isinstance(item, FileItem)]
    else:
        archive = _archive_of(listing)
        known = members_of(archive)
        if any(item.name not in known for item in items):
            raise DataError(
                "the names of these pictures are no names of members of one archive, so no table can lead to them",
                where=listing.source,
                remedy="unpack it, and check the folder; or give one zip or tar",
            )
        prefix = _seen_from(table, archive)
        found = [f"{prefix}/{item.name}" for item in items]
    for name in found:
        if printable(name) != name:
            remedy = "give the file a name in UTF-8, and check again"
            raise DataError("this name is no text, so no table can hold it", where=printable(name), remedy=remedy)
    return found


def _archive_of(listing: Listing) -> Path:
    source = Path(listing.source)
    if source.suffix.lower() not in TABLE_SUFFIXES and source.is_file():
        return source
    return Path(getattr(listing.items[0], "archive", source))


def _seen_from(table: Path, path: Path) -> str:
    try:
        return Path(os.path.relpath(path.absolute(), table.parent.absolute())).as_posix()
    except ValueError:  # on another drive
        return path.absolute().as_posix()


def _largest_copies(checked: Checked, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Of copies on one side, the one with the most pixels, and the first among equals."""
    looks = checked.pack.looks[rows]
    pixels = looks["width"].astype(np.int64) * looks["height"]
    keys = np.stack([checked.duplicates.groups[rows], np.unique(checked.pack.splits[rows], return_inverse=True)[1]])
    order = np.lexsort((rows, -pixels, *keys))
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (np.diff(keys[:, order], axis=1) != 0).any(axis=0)
    kept = np.zeros(len(rows), dtype=bool)
    kept[order[is_first]] = True
    return kept


def _cells(checked: Checked, row: int) -> Iterator[str]:
    pack = checked.pack
    given = str(pack.splits[row])
    yield pack.class_names[pack.labels[row]]
    yield "" if given == UNASSIGNED else given
    yield checked.groups[row]
