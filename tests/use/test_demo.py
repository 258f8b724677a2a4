"""`saccade demo`, what a newcomer types first: it learns, and draws digits that it did not learn from, as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from saccade.runs import RunFolder

SHADES = " ░▒▓█"


def test_demo_learns_and_draws_digits_of_the_test_part(
    command: Callable[[Sequence[str], Path], str], tmp_path: Path
) -> None:
    printed = command(["demo", "--quiet"], tmp_path)
    run = RunFolder.open(tmp_path / "runs" / "demo")
    assert run.metrics["test"]["accuracy"] > 0.93
    assert (run.path / "report.html").exists()
    drawn = re.findall(r"\n((?:.+\n){8})a test digit, labelled (\d); predicted  (\d): ([\d.]+)%", printed)
    assert len(drawn) == 3
    digits = load_digits()
    levels = (digits.images * 255 / 16).round().astype(int) * 4 // 255  # 0..16 in the data set
    for picture, labelled, _, probability in drawn:
        lines = [line.ljust(18)[2:] for line in picture.splitlines()]
        assert all(line[0::2] == line[1::2] for line in lines), "two characters are one pixel"
        shown = np.array([[SHADES.index(sign) for sign in line[0::2]] for line in lines])
        rows = np.flatnonzero((levels == shown).all(axis=(1, 2))).tolist()
        parts = {run.splits[f"digits[{row}]"] for row in rows if digits.target[row] == int(labelled)}
        assert "test" in parts
        assert 10 <= float(probability) <= 100
    assert "Now with your own pictures: saccade train FOLDER" in printed
