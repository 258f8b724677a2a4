"""Predictions as files: csv, jsonl or parquet, a row at a time, in the order that is asked for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Literal

from saccade.data.cells import write_csv
from saccade.errors import UsageError
from saccade.use.parquet import need_parquet, write_parquet
from saccade.use.predict import Prediction
from saccade.whole import whole_file

Sort = Literal["input", "path", "confidence"]

_INSERTED = 1000  # rows at a time


def check_format(path: Path) -> None:
    """Say before the work what could not be written after it.

    Raises:
        UsageError: the suffix is none of .csv, .jsonl, .parquet.
        MissingExtraError: a .parquet without pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        need_parquet(path)
    elif suffix not in (".csv", ".jsonl"):
        raise UsageError(
            f"predictions are written as .csv, .jsonl or .parquet, not as {path.suffix or 'a file without suffix'!r}",
            where=f"--output {path}",
            remedy=f"name it {path.name}.csv",
        )


def write_rows(path: Path, predictions: Iterator[Prediction], top: int) -> None:
    """Write exactly one row per prediction; the file has its name only when it is whole.

    Args:
        path: .csv, .jsonl or .parquet.
        predictions: in order; they are not kept.
        top: how many classes a row names.

    Raises:
        UsageError, MissingExtraError: as `check_format`.
        OSError: the disk refuses.
    """
    check_format(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        write_csv(path, csv_header(top), (csv_row(prediction, top) for prediction in predictions))
        return
    with whole_file(path) as partial:
        if suffix == ".parquet":
            write_parquet(partial, predictions, top)
            return
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(line_of(prediction) for prediction in predictions)


def line_of(prediction: Prediction) -> str:
    """A line of .jsonl: probabilities with all their digits."""
    return json.dumps(prediction.to_json()) + "\n"


def csv_header(top: int) -> list[str]:
    """path, class_1, probability_1, ..., sure, reason, detail"""
    ranks = range(1, top + 1)
    named = (f"{what}_{rank}" for rank in ranks for what in ("class", "probability"))
    return ["path", *named, "sure", "reason", "detail"]


def csv_row(prediction: Prediction, top: int) -> list[str]:
    """The cells under that header; probabilities with six digits after the point."""
    cells = [cell for guess in prediction.guesses for cell in (guess.class_name, f"{guess.probability:.6f}")]
    empty = [""] * (2 * top - len(cells))
    sure = "" if prediction.reason else "yes" if prediction.sure else "no"
    return [prediction.name, *cells, *empty, sure, prediction.reason, prediction.detail]


def in_order(lines: Iterable[str], sort: Sort, folder: Path) -> Generator[Prediction]:
    """Lines of .jsonl as predictions, sorted on the disk where that is asked for: memory does not grow with them.

    Args:
        lines: in the order of the input.
        sort: input; path, as plain strings; confidence: the surest first, what could not be read last.
        folder: where a temporary file may lie.
    """
    if sort == "input":
        yield from (Prediction.from_json(json.loads(line)) for line in lines)
        return
    place = folder / "sorting.sqlite"
    place.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(place)) as base:
            base.execute("PRAGMA journal_mode = OFF")
            base.execute("PRAGMA synchronous = OFF")  # it is thrown away
            base.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, key, line TEXT)")
            keyed = ((_key(line, sort), line) for line in lines)
            while some := list(islice(keyed, _INSERTED)):
                base.executemany("INSERT INTO rows (key, line) VALUES (?, ?)", some)
            for (line,) in base.execute("SELECT line FROM rows ORDER BY key, number"):
                yield Prediction.from_json(json.loads(line))
    finally:
        place.unlink(missing_ok=True)


def _key(line: str, sort: Sort) -> str | float:
    prediction = Prediction.from_json(json.loads(line))
    if sort == "path":
        return prediction.name
    return 1.0 if prediction.probability is None else -prediction.probability
