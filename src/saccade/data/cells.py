"""Text that survives a CSV file: names of files are somebody else's, and a spreadsheet executes what begins with =."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from saccade.whole import whole_file

# What a spreadsheet takes for a formula at the beginning of a cell, and the quote that disarms it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_QUOTE = "'"


def printable(text: str) -> str:
    """The text with bytes that are not UTF-8 (surrogates in file names) written out as \\udcXX."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def escape_cell(value: object) -> object:
    """A cell as it goes into a file: text is made printable and cannot be taken for a formula; numbers stay."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return _QUOTE + text if text.startswith((*_FORMULA, _QUOTE)) else text


def unescape_cell(text: str) -> str:
    """The text that `escape_cell` was given (in its printable form)."""
    return text[1:] if text.startswith(_QUOTE) else text


def disarmed_cell(text: str) -> str:
    """The same for a cell of somebody else's table: a quote goes only where it disarms a formula, or another quote."""
    return text[1:] if text.startswith(_QUOTE) and text[1:].startswith((*_FORMULA, _QUOTE)) else text


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a whole CSV file, UTF-8, under its final name only once it is complete."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        plain = csv.writer(file, lineterminator="\n")
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in chain((header,), rows):
            cells = [escape_cell(cell) for cell in row]
            # Python 3.11 and 3.12 put no quotes around a carriage return, and the row falls apart when it is read.
            has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
            (quoted if has_return else plain).writerow(cells)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a file that `write_csv` wrote, by column name, as text.

    Raises:
        ValueError: a row has more or fewer cells than the header, so the file is damaged or cut short.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = ([unescape_cell(cell) for cell in row] for row in csv.reader(file) if row)
        header = next(rows, [])
        return [dict(zip(header, row, strict=True)) for row in rows]
