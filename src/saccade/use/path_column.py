"""The column of paths of a table, a row at a time: nobody needs labels to predict."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from saccade.data.cells import disarmed_cell
from saccade.data.sources.table_columns import PATH, roles_of
from saccade.data.sources.table_encoding import encoding_of
from saccade.errors import TableError
from saccade.use.parquet import parquet_column

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
_NAMES = "path (or file, filename, file_name, filepath, file_path, image, image_path)"


def path_column(table: Path) -> Iterator[tuple[int, str]]:
    """The number of each row, as a person would count it, and its path.

    Raises:
        TableError: no column, or several, could hold the paths; or the table is damaged.
        MissingExtraError: a .parquet without pyarrow.
    """
    if table.suffix.lower() == ".parquet":
        yield from enumerate(parquet_column(table, lambda header: choose(header, table)), start=1)
        return
    encoding = encoding_of(table, lambda guess: False)
    with table.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter="," if table.suffix.lower() == ".csv" else "\t", strict=True)
        try:
            column = choose(next(reader, []), table)
            for row in reader:
                if row:
                    yield reader.line_num, disarmed_cell(row[column]) if len(row) > column else ""
        except csv.Error as error:
            raise TableError(
                f"damaged_row: {error}",
                where=f"{table}, row {reader.line_num}",
                remedy="mend the quotes of this row, or save the table again",
            ) from error


def choose(header: Sequence[str], table: Path) -> int:
    """Which column holds the paths.

    Raises:
        TableError: none or several could.
    """
    found = roles_of(header).get(PATH, [])
    if len(found) == 1:
        return found[0]
    shown = ", ".join(repr(name[:40]) for name in header[:6]) or "nothing"
    what = f"header_missing: no column is called path; the first row says {shown}"
    if found:
        what = f"ambiguous_columns: {' and '.join(repr(header[column]) for column in found)} could both be the path"
    raise TableError(what, where=f"{table}, row 1", remedy=f"name one column {_NAMES}, with commas between the cells")
