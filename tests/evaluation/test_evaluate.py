"""Evaluation: classes are compared by name, and what cannot be judged is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from saccade.api import Run
from saccade.errors import DataError, LabelError
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder


def test_evaluation_of_a_run_is_that_of_its_own_test_pictures(finished: RunFolder) -> None:
    found = Run(finished).evaluate(device="cpu")
    expected = [row["path"] for row in finished.predictions]
    assert list(found.names) == expected


def test_c06_class_numbers_that_differ_are_compared_by_name(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    # Without `blue`, `green` is class 0 of these pictures and class 1 of the network.
    for name in ("green", "red"):
        shutil.copytree(colours / name, tmp_path / "some" / name)
    assert Run(finished).evaluate(tmp_path / "some", device="cpu").accuracy == 1.0


def test_class_the_network_does_not_know_is_refused_by_name(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    shutil.copytree(colours / "red", tmp_path / "other" / "red")
    shutil.copytree(colours / "blue", tmp_path / "other" / "violet")
    with pytest.raises(LabelError, match="not trained on: violet"):
        Run(finished).evaluate(tmp_path / "other", device="cpu")


def test_pictures_with_a_test_part_are_judged_by_it_alone(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("green", "red"):
            (tmp_path / "parts" / part / name).mkdir(parents=True)
            shutil.copy(colours / name / "00.png", tmp_path / "parts" / part / name / "00.png")
    found = Run(finished).evaluate(tmp_path / "parts", device="cpu")
    assert (found.part, len(found.labels)) == ("test", 2)


def test_pictures_that_moved_away_are_asked_for(colours: Path, tmp_path: Path) -> None:
    shutil.copytree(colours, tmp_path / "pictures")
    quick = {"model": "lenet5", "epochs": 1, "workers": 1, "device": "cpu"}
    run = train(make_recipe("scratch", quick), tmp_path / "pictures", Place(tmp_path / "runs"))
    shutil.move(tmp_path / "pictures", tmp_path / "moved")
    with pytest.raises(DataError, match="no longer there"):
        Run(run).evaluate(device="cpu")
    assert Run(run).evaluate(tmp_path / "moved", device="cpu").part == "all"


def test_probabilities_are_finite_and_sum_to_one(finished: RunFolder) -> None:
    found = Run(finished).evaluate(device="cpu")
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-12)
