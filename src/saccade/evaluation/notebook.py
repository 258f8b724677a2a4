"""Results as small tables for a notebook, every name escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names its rows; cells are text, never markup."""
    head = "".join(f"<th>{escape(each)}</th>" for each in header)
    body = "".join(f"<tr><th>{escape(name)}</th>{_cells(cells)}</tr>" for name, *cells in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(cells: Sequence[str]) -> str:
    return "".join(f"<td>{escape(each)}</td>" for each in cells)
