"""The columns of a table of pictures, by whatever name people give them."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from saccade.errors import TableError

PATH, LABEL, SPLIT, GROUP = "path", "label", "split", "group"
_NAMES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        PATH: frozenset({"path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"}),
        LABEL: frozenset({"label", "labels", "class", "class_name", "target", "category"}),
        SPLIT: frozenset({"split", "subset", "part", "partition", "fold_name"}),
        GROUP: frozenset({"group", "groups", "group_id", "patient", "patient_id"}),
    }
)
_MOST_NAMED = 40  # columns
COLUMNS_REMEDY = (
    "name the columns path and label (also: file, filename, image; class, target), and where they are there split "
    "(also: subset, part) and group"
)


@dataclass
class Coded:
    """A column of few values that come often: each value once, and a number per row."""

    names: dict[str, int] = field(default_factory=dict)
    numbers: array[int] = field(default_factory=lambda: array("q"))

    def add(self, value: str) -> None:
        """The value of the next row."""
        self.numbers.append(self.names.setdefault(value, len(self.names)))

    @property
    def codes(self) -> npt.NDArray[np.int64]:
        """int64 (N,), the index into `names`."""
        return np.frombuffer(self.numbers, dtype=np.int64) if self.numbers else np.empty(0, dtype=np.int64)


@dataclass
class Columns:
    """What a table says, row by row.

    Attributes:
        source: the table, for messages.
        paths: as written.
        labels, splits, groups: as written; "" where there is no such column.
        rows: the number of each row as a person would count it, for messages.
        notes: sentences for the user.
    """

    source: str
    paths: list[str] = field(default_factory=list)
    labels: Coded = field(default_factory=Coded)
    splits: Coded = field(default_factory=Coded)
    groups: Coded = field(default_factory=Coded)
    rows: Sequence[int] = field(default_factory=lambda: array("q"))
    notes: list[str] = field(default_factory=list)


def roles_of(header: Sequence[str]) -> dict[str, list[int]]:
    """Which columns could be the path, the label, the split and the group; a role that none has is not there."""
    found: dict[str, list[int]] = {}
    for column, name in enumerate(header):
        for role, names in _NAMES.items():
            if name.strip().lower() in names:
                found.setdefault(role, []).append(column)
    return found


def choose_columns(header: Sequence[str], source: str, group_by: str | None = None) -> dict[str, int]:
    """Role -> column; path and label are always there.

    Args:
        header: the names of the columns.
        source: the table, for messages.
        group_by: the column that names groups, whatever it is called; an expression is not for the table.

    Raises:
        TableError: a role that must be there is not, several columns could have it, or the groups' column is not there.
    """
    found = roles_of(header)
    if group_by is not None and (asked := _asked_for(header, source, group_by)):
        found[GROUP] = asked
    for role, columns in found.items():
        if len(columns) > 1:
            names = " and ".join(repr(header[column]) for column in columns)
            raise TableError(
                f"ambiguous_columns: both {names} could be the {role}",
                where=f"{source}, row 1",
                remedy=f"rename all but one; {COLUMNS_REMEDY}",
            )
    missing = [role for role in (PATH, LABEL) if role not in found]
    if missing:
        shown = ", ".join(repr(name[:40]) for name in header[:6])
        raise TableError(
            f"header_missing: no column is called {' or '.join(missing)}; the first row says {shown or 'nothing'}",
            where=f"{source}, row 1",
            remedy=f"the first row names the columns: {COLUMNS_REMEDY}",
        )
    return {role: columns[0] for role, columns in found.items()}


def _asked_for(header: Sequence[str], source: str, group_by: str) -> list[int]:
    wanted = group_by.strip().lower()
    exact = [column for column, name in enumerate(header) if name == group_by]
    found = exact or [column for column, name in enumerate(header) if name.strip().lower() == wanted]
    if found or re.escape(group_by) != group_by:  # an expression, which is looked for in the names of the pictures
        return found
    raise TableError(
        f"unknown_column: there is no column {group_by!r} to group by; the columns are "
        f"{', '.join(repr(name[:40]) for name in header[:_MOST_NAMED])}{', ...' if len(header) > _MOST_NAMED else ''}",
        where=f"{source}, row 1",
        remedy="name one of them, or write an expression with a bracket that fits the paths: --group-by '(scene)'",
    )


def unused_note(header: Sequence[str], columns: Mapping[str, int]) -> list[str]:
    """One sentence on the columns that are not looked at."""
    unused = [name for column, name in enumerate(header) if column not in columns.values()]
    return [f"columns of the table that were not used: {', '.join(unused[:10])}"] if unused else []
