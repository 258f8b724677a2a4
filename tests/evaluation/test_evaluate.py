"""Evaluation: classes are compared by name, and what cannot be judged is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.api import Run
from saccade.cli import run_command_line
from saccade.errors import DataError, LabelError
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.recipe import Looks
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


@pytest.fixture(scope="module")
def shaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noise that are bright on one side or the other, 40 pictures each: a mirror matters."""
    root, rng = tmp_path_factory.mktemp("shaded"), np.random.default_rng(0)
    slope = np.linspace(-25, 25, 32)[None, :, None]
    for name, sign in (("left", -1), ("right", 1)):
        (root / name).mkdir()
        for number in range(40):
            pixels = np.clip(128 + sign * slope + rng.normal(0, 60, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.mark.parametrize("looks", ["flip", "shifts"])
def test_several_looks_give_the_numbers_that_training_wrote(looks: Looks, shaded: Path, tmp_path: Path) -> None:
    quick = {"model": "lenet5", "epochs": 2, "workers": 1, "device": "cpu", "tta": looks, "test_share": 0.4}
    run = train(make_recipe("scratch", quick), shaded, Place(tmp_path))
    found, plain = Run(run).evaluate(tta=looks, device="cpu"), Run(run).evaluate(device="cpu")
    for judged, part in ((found, "test_tta"), (plain, "test")):
        written = run.metrics[part]
        assert judged.accuracy == written["accuracy"]
        assert judged.confusion.tolist() == written["confusion"]
        assert [judged.loss, judged.brier] == pytest.approx([written["loss"], written["brier"]], rel=1e-5)
    assert abs(found.loss - plain.loss) > 1e-4 * plain.loss


def test_command_with_several_looks_prints_their_numbers_and_says_so(
    finished: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(finished.path), "--tta", "flip", "--json", "--device", "cpu"]
    assert run_command_line(arguments) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["tta"] == "flip"
    assert found["loss"] == pytest.approx(Run(finished).evaluate(tta="flip", device="cpu").loss)
    assert "--tta flip" in shown.err


def test_probabilities_are_finite_and_sum_to_one(finished: RunFolder) -> None:
    found = Run(finished).evaluate(device="cpu")
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-12)
