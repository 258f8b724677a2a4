"""Write the numbers of the exercises' pages from their records: `python docs/exercises/fill.py [--check]`.

A number stands between invisible markers that name the file of records, a value in it and how to write it:

    <!--= digits.test_accuracy:.1% -->98.6 %<!-- -->      a value, from records/1_digits.json
    <!--= digits.cnn1.seconds:.0f -->31<!-- -->           seed, n, seconds or date of the record called cnn1
    <!--= digits.records --> ... <!-- -->                 all its records as a table, both markers on lines of their own
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MARKER = re.compile(r"<!--= *([\w.+-]+)(?::([^ ]*))? *-->(.*?)<!-- -->", re.DOTALL)
TABLE = "records"
_OF_A_RECORD = ("seed", "n", "seconds", "processor_seconds", "date")


class StaleError(Exception):
    """A marker that cannot be filled, in words."""


def values_of(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All values of a file of records by key (dotted, where nested), and NAME.seconds and so on of each record.

    Raises:
        StaleError: two records give the same key.
    """
    found: dict[str, Any] = {}
    for record in records:
        of_it = {f"{record['name']}.{field}": record[field] for field in _OF_A_RECORD if field in record}
        for key, value in (_flat(record["values"]) | of_it).items():
            if key in found:
                raise StaleError(f"two records give {key!r}")
            found[key] = value
    return found


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {before + key: value}
    return found


def written(value: Any, form: str) -> str:
    """A value in Python's format, with a space before the percent sign."""
    return re.sub(r"(?<=\d)%", " %", format(value, form))


def table_of(records: Sequence[Mapping[str, Any]]) -> str:
    """The records as a Markdown table."""
    rows = ["| record | command | seed | n | machine | versions | seconds (of a processor) |", "| --- " * 7 + "|"]
    for record in records:
        versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
        command = f"`{record['command']}`".replace("|", "\\|")
        seconds = f"{record['seconds']:,.0f}"
        if record.get("processor_seconds") is not None:
            seconds += f" ({record['processor_seconds']:,.0f})"
        cells = (record["name"], command, record["seed"], f"{record['n']:,}", record["machine"], versions, seconds)
        rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(rows)


def load_records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Every file of records by its stem without the number: 1_digits.json is digits."""
    files = sorted(folder.glob("[0-9]_*.json"))
    return {file.stem.partition("_")[2]: json.loads(file.read_text(encoding="utf-8")) for file in files}


def filled(text: str, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The page with every marked number as the records have it.

    Raises:
        StaleError: a marker names no record, or stands where Markdown would take its line for HTML.
    """

    def fill(marker: re.Match[str]) -> str:
        place, form, _ = marker.groups()
        file, _, key = place.partition(".")
        if file not in records:
            raise StaleError(f"{place}: there is no file of records called {file!r}")
        if key == TABLE:
            return f"<!--= {place} -->\n\n{table_of(records[file])}\n\n<!-- -->"
        if "\n" in marker[0] or not text[: marker.start()].rpartition("\n")[2].strip():
            raise StaleError(f"{place}: a number's markers stand within one line, not at its beginning")
        if key not in (known := values_of(records[file])):
            near = difflib.get_close_matches(key, known, n=3)
            raise StaleError(f"{place}: the records of {file} have no {key!r}, near it: {', '.join(near) or 'nothing'}")
        form = form or ""
        return f"<!--= {place}{':' + form if form else ''} -->{written(known[key], form)}<!-- -->"

    return MARKER.sub(fill, text)


def main(arguments: Sequence[str] | None = None, folder: Path = HERE) -> int:
    """Fill all pages, or with --check say which are stale; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description="Write the numbers of the exercises' pages from their records.")
    parser.add_argument("--check", action="store_true", help="change nothing, say what is stale")
    check = parser.parse_args(arguments).check
    records, wrong = load_records(folder / "records"), 0
    for page in sorted(folder.glob("[0-9]-*.md")):
        before = page.read_text(encoding="utf-8")
        try:
            after = filled(before, records)
        except StaleError as error:
            print(f"{page.name}: {error}", file=sys.stderr)
            wrong = 1
            continue
        if after != before and check:
            print(f"{page.name} is stale: python docs/exercises/fill.py", file=sys.stderr)
            wrong = 1
        elif after != before:
            page.write_text(after, encoding="utf-8")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
