"""Tables as Parquet, through pyarrow (extra `parquet`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saccade.data.sources.table_columns import GROUP, LABEL, PATH, SPLIT, Columns, choose_columns, unused_note
from saccade.errors import MissingExtraError, TableError

try:
    import pyarrow
    from pyarrow import parquet
except ImportError:
    pyarrow = None

_BATCH = 65_536


def read_parquet(path: Path, group_by: str | None = None) -> Columns:
    """Read a .parquet, a batch of rows at a time; only the columns that are used are read at all.

    Raises:
        MissingExtraError: pyarrow is not installed.
        TableError: damaged, without the columns (of groups: `group_by`), with a column of another type, or with a null.
    """
    if pyarrow is None:
        raise MissingExtraError(
            "a .parquet needs pyarrow, which is not installed",
            where=str(path),
            remedy='pip install "saccade[parquet]", or save the table as .csv',
        )
    found = Columns(str(path))
    try:
        with parquet.ParquetFile(path) as file:
            header = file.schema_arrow.names
            columns = choose_columns(header, str(path), group_by)
            found.notes += unused_note(header, columns)
            names = {role: header[column] for role, column in columns.items()}
            for batch in file.iter_batches(_BATCH, columns=list(dict.fromkeys(names.values()))):
                _read_batch(batch, names, found)
    except pyarrow.ArrowException as error:
        what = f"damaged_table: the file cannot be read ({str(error).splitlines()[0]})"
        raise TableError(what, where=str(path), remedy="fetch or save it again") from error
    found.rows = range(1, len(found.paths) + 1)
    return found


def _read_batch(batch: Any, names: dict[str, str], found: Columns) -> None:
    texts = {role: _texts(batch, name, len(found.paths), found.source) for role, name in names.items()}
    blank = [""] * len(batch)
    found.paths += texts[PATH]
    for role, column in ((LABEL, found.labels), (SPLIT, found.splits), (GROUP, found.groups)):
        for text in texts.get(role, blank):
            column.add(text)


def _texts(batch: Any, name: str, before: int, source: str) -> list[str]:
    """One column as text: strings, whole numbers and booleans; a null is blank."""
    values = batch.column(name)
    kind = values.type
    inner = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    is_text = pyarrow.types.is_string(inner) or pyarrow.types.is_large_string(inner)
    if not (is_text or pyarrow.types.is_integer(inner) or pyarrow.types.is_boolean(inner)):
        raise TableError(
            f"wrong_type: the column {name!r} holds {kind}; text or whole numbers are needed",
            where=f"{source}, row {before + 1}",
            remedy="save paths and labels as text",
        )
    return ["" if value is None else str(value) for value in values.to_pylist()]
