"""results.csv: a row per finished epoch, whole lines only."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from saccade.whole import whole_file

RESULTS_HEADER = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
    "pictures_per_second",
)


def append_row(path: Path, row: Sequence[float]) -> None:
    """A line more, in one write, below the header.

    Raises:
        OSError: the disk refused; the file is as before.
    """
    before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if before == 0:
                writer.writerow(RESULTS_HEADER)
            writer.writerow([value if isinstance(value, int) else f"{value:.6g}" for value in row])
    except OSError:
        if path.exists():
            os.truncate(path, before)
        raise


def cut_rows(path: Path, last_epoch: int) -> None:
    """Take back the lines about epochs after this one, and a last line that is not whole."""
    if not path.exists():
        return
    header, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
    kept = [line for line in lines if line.endswith("\n") and int(line.split(",")[0]) <= last_epoch]
    if not kept:
        path.unlink()
        return
    with whole_file(path) as partial:
        partial.write_text("".join([header, *kept]), encoding="utf-8")
