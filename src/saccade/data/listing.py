"""Listing: what is where, which class it shows, and which part (train, val, test) it was given to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from saccade.data.cells import printable

TRAIN, VAL, TEST, UNASSIGNED = "train", "val", "test", "unassigned"
SPLITS = (TRAIN, VAL, TEST, UNASSIGNED)
UNKNOWN_LABEL = -1


class FileItem(NamedTuple):
    """A picture in a file of its own. `name` is its path below the pictures' root, with forward slashes."""

    name: str
    path: Path


class MemberItem(NamedTuple):
    """A picture inside an archive. `name` is the member's name in the archive."""

    name: str
    archive: Path


class SpanItem(NamedTuple):
    """A picture that lies as it is inside a larger file, a tar: `size` bytes from `offset` on.

    `sha256` is what its bytes must have, 32 bytes, or empty where nobody wrote it down.
    """

    name: str
    archive: Path
    offset: int
    size: int
    sha256: bytes = b""


class RowItem(NamedTuple):
    """A picture that is row `row` of `Listing.array`, already decoded. `name` says so: `X_train[17]`."""

    name: str
    row: int


StoredItem = FileItem | MemberItem | SpanItem
Item = StoredItem | RowItem


class Skipped(NamedTuple):
    """A file that was seen and not used: its name, a stable reason code, and the detail in words."""

    name: str
    reason: str
    detail: str


class FilesBelow(Sequence[FileItem]):
    """Files below one folder, each made when it is asked for: a million of them are a million strings, no more.

    Args:
        root: the folder.
        names: paths below it, or absolute ones, with forward slashes, as the file system has them.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root, self._names = root, names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, row: int) -> FileItem: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[FileItem, ...]: ...
    def __getitem__(self, row: int | slice) -> FileItem | tuple[FileItem, ...]:
        if isinstance(row, slice):
            return tuple(self[index] for index in range(*row.indices(len(self))))
        return FileItem(printable(self._names[row]), self._root / self._names[row])


def no_groups() -> npt.NDArray[np.str_]:
    """What stands for a column of empty groups before the number of pictures is known."""
    return np.empty(0, dtype=np.str_)


@dataclass(frozen=True)
class Listing:
    """The record that every source of pictures returns. Reading it decodes nothing.

    Attributes:
        source: what the user named, for messages and for the run folder.
        items: the pictures, all of one kind, N of them.
        labels: int64 (N,), the index into `class_names`, or -1 where unknown.
        class_names: in plain string order, taken from the training part (from everything where no part is given).
        splits: (N,) strings, each one of train, val, test, unassigned.
        array: uint8 (M, H, W, C) with C = 1 or 3, when the items are rows; else None.
        skipped: what was seen and left out already at this point.
        notes: sentences for the user: what was ignored, normalised or assumed.
        stamp: bytes that change whenever the pictures change (sizes and times, checksums, or content).
        groups: (N,) strings; pictures of one group (a patient, a scene) belong in one part; "" for a picture alone.
    """

    source: str
    items: Sequence[Item]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    splits: npt.NDArray[np.str_]
    array: npt.NDArray[np.uint8] | None = None
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    stamp: bytes = b""
    groups: npt.NDArray[np.str_] = field(default_factory=no_groups)

    def __post_init__(self) -> None:
        if len(self.groups) != len(self.items) and not (self.groups != "").any():
            object.__setattr__(self, "groups", np.full(len(self.items), "", dtype=np.str_))
        if not len(self.items) == len(self.labels) == len(self.splits) == len(self.groups):
            raise ValueError(
                f"a listing needs one label, split and group per item, got {len(self.items)} items, "
                f"{len(self.labels)} labels, {len(self.splits)} splits, {len(self.groups)} groups"
            )

    def __len__(self) -> int:
        return len(self.items)

    @property
    def has_splits(self) -> bool:
        """Whether any picture was given to a part by its owner."""
        return bool((self.splits != UNASSIGNED).any())

    def counts(self) -> dict[str, int]:
        """Pictures per class, in the order of `class_names`, zero included."""
        found = Counter(self.labels.tolist())
        return {name: found[index] for index, name in enumerate(self.class_names)}

    def with_splits(self, splits: npt.NDArray[np.str_]) -> Listing:
        """The same pictures, given to other parts."""
        return replace(self, splits=splits)
