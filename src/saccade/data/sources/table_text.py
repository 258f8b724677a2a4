"""Tables as text: .csv with commas, .tsv with tabs, the first row naming the columns."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from saccade.data.cells import disarmed_cell
from saccade.data.sources.table_columns import (
    GROUP,
    LABEL,
    PATH,
    SPLIT,
    Columns,
    choose_columns,
    roles_of,
    unused_note,
)
from saccade.data.sources.table_encoding import encoding_of
from saccade.errors import TableError

if TYPE_CHECKING:
    from _csv import Reader

_SEPARATORS = (",", ";", "\t", "|")
_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_PROBED = 1000  # rows whose files are looked for to tell encodings apart


def read_text_table(path: Path, group_by: str | None = None) -> Columns:
    """Read a .csv or .tsv, a row at a time; `group_by` names the column of groups, or is an expression.

    Raises:
        TableError: an unknown encoding, another separator, no header, or a row with too many or too few cells.
    """
    encoding = encoding_of(path, lambda guess: _files_exist(path, guess))
    found = Columns(str(path))
    if encoding not in ("utf-8", "utf-8-sig"):
        found.notes.append(f"the table is in {encoding}, not UTF-8")
    with _opened(path, encoding) as reader:
        header = next(reader, [])
        _check_separator(header, path)
        columns = choose_columns(header, str(path), group_by)
        found.notes += unused_note(header, columns)
        _read_rows(reader, len(header), columns, found)
    return found


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[Reader]:
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=_separator(path), strict=True)
        try:
            yield reader
        except csv.Error as error:
            raise TableError(
                f"damaged_row: {error}",
                where=f"{path}, row {reader.line_num}",
                remedy="mend the quotes of this row, or save the table again",
            ) from error


def _separator(path: Path) -> str:
    return "," if path.suffix.lower() == ".csv" else "\t"


def _read_rows(reader: Reader, width: int, columns: dict[str, int], found: Columns) -> None:
    path_at, label_at = columns[PATH], columns[LABEL]
    split_at, group_at = columns.get(SPLIT), columns.get(GROUP)
    rows = array("q")
    for row in reader:
        if len(row) != width:
            if not row:  # an empty line
                continue
            raise TableError(
                f"wrong_number_of_cells: {len(row)} cells where the header has {width}",
                where=f"{found.source}, row {reader.line_num}",
                remedy="put quotes around a cell that holds the separator, and give every row all its cells",
            )
        rows.append(reader.line_num)
        found.paths.append(disarmed_cell(row[path_at]))
        found.labels.add(disarmed_cell(row[label_at]))
        found.splits.add("" if split_at is None else row[split_at])
        found.groups.add("" if group_at is None else disarmed_cell(row[group_at]))
    found.rows = rows


def _check_separator(header: list[str], path: Path) -> None:
    """A header that says nothing between these separators may say something between others."""
    mine = _separator(path)
    if len(header) > 1 or roles_of(header).keys() >= {PATH, LABEL}:
        return
    for other in _SEPARATORS:
        cells = mine.join(header).split(other)
        if other != mine and roles_of(cells).keys() >= {PATH, LABEL}:
            tsv = "name it .tsv, or " if other == "\t" else ""
            raise TableError(
                f"wrong_separator: the cells are separated by {_WORDS[other]}, a {path.suffix} has {_WORDS[mine]}",
                where=f"{path}, row 1",
                remedy=f"{tsv}save it with {_WORDS[mine]} between the cells",
            )


def _files_exist(path: Path, encoding: str) -> bool:
    """Whether the first files with letters beyond ASCII exist, and there are such."""
    try:
        with _opened(path, encoding) as reader:
            column = choose_columns(next(reader, []), str(path))[PATH]
            names = [row[column] for row in islice(reader, _PROBED) if len(row) > column]
    except (TableError, UnicodeError):
        return False
    names = [name for name in names if not name.isascii()]
    return bool(names) and all(os.path.exists(path.parent / name) for name in names)  # noqa: PTH110 - a million of them
