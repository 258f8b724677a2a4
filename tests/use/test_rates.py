"""The picture and the numbers of a search for the learning rate, and the command that makes them."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli import run_command_line
from saccade.use.rates import Tried, rate_curve, write_rates

TRIED = [
    Tried(float(rate), loss, loss)
    for rate, loss in zip(np.geomspace(1e-7, 1, 40), [2.0] * 20 + [1.5, 1.0] * 5 + [50.0] * 10, strict=True)
]
MARKS = {"suggested": TRIED[20].rate, "steepest": TRIED[22].rate}


def test_rates_are_written_as_a_picture_and_a_table(tmp_path: Path) -> None:
    picture, table = write_rates(tmp_path / "runs" / "a.b-rates", TRIED, MARKS)
    assert (picture.name, table.name) == ("a.b-rates.png", "a.b-rates.csv")
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert min(image.size) > 500
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["rate"]) for row in rows] == [tried.rate for tried in TRIED]
    assert [float(row["smoothed"]) for row in rows] == [tried.smoothed for tried in TRIED]


def test_curve_marks_the_rates_and_cuts_off_what_diverged() -> None:
    axes = rate_curve(TRIED, MARKS).axes[0]
    low, high = axes.get_ylim()
    assert low <= 1.0 < 2.0 < high < 50.0
    words = [text.get_text() for text in axes.texts]
    assert words == [f"suggested {TRIED[20].rate:.2g}", f"steepest {TRIED[22].rate:.2g}"]
    marked = [tuple(float(value) for value in mark.get_offsets()[0]) for mark in axes.collections]
    assert marked == [(TRIED[20].rate, 1.5), (TRIED[22].rate, 1.5)]


def test_curve_without_a_suggestion_is_drawn_too() -> None:
    assert rate_curve(TRIED[:1], {}).axes[0].texts[:] == []


def _command(colours: Path, project: Path) -> list[str]:
    words = ["train", str(colours), "--model", "lenet5", "--recipe", "scratch", "--batch-size", "8"]
    return [*words, "--workers", "1", "--project", str(project), "--device", "cpu"]


def test_find_lr_writes_the_curve_and_nothing_else_and_prints_the_command(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*_command(colours, tmp_path / "runs"), "--learning-rate", "0.5", "--find-lr"]
    monkeypatch.setattr(sys, "argv", ["saccade", *words])
    assert run_command_line(words) == 0
    said = capsys.readouterr()
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        f"{colours.name}-rates.{end}" for end in ("csv", "png")
    ]
    *command, flag, rate = shlex.split(said.out)
    assert (command, flag) == (["saccade", *_command(colours, tmp_path / "runs")], "--learning-rate")
    assert 1e-5 < float(rate) < 1e-1
    assert f"{colours.name}-rates.png" in said.err.replace("\n", "")


def test_find_lr_as_json_names_rate_picture_and_table(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line([*_command(colours, tmp_path), "--find-lr", "--json", "--name", "mine"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["picture"] == str(tmp_path / "mine-rates.png")
    with Path(found["table"]).open(newline="") as file:
        rates = [float(row["rate"]) for row in csv.DictReader(file)]
    assert found["learning_rate"] in rates
    assert found["steepest"] in rates


def test_find_lr_of_a_run_that_goes_on_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["train", "--resume", "--find-lr", "--project", str(tmp_path)]) == 2
    assert "the rate of a new run" in capsys.readouterr().err
