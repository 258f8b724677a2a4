"""What an evaluation says beside its accuracy: slices, leaks, JSON, figures, tables."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import classification_report

from saccade.api import Run
from saccade.cli import run_command_line
from saccade.evaluation.slices import slices_by
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder
from saccade.use.evidence_figures import write_curves, write_figures
from saccade.use.evidence_tables import print_evidence
from saccade.use.figures import best_epoch

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and green noise of four sizes, with parts; in test the largest ones wear the other colour."""
    root = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    for part, count in (("train", 24), ("val", 12), ("test", 24)):
        for channel, name in enumerate(("green", "red")):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                side = (16, 24, 32, 48)[number % 4]
                worn = channel if part != "test" or side < 48 else 1 - channel
                pixels = rng.integers(0, 100, (side, side, 3), dtype=np.uint8)
                pixels[:, :, 1 - worn] += 150
                Image.fromarray(pixels).save(root / part / name / f"{number:02}.png")
    for number in range(6):  # learned from, too
        shutil.copy(root / "train" / "red" / f"{number:02}.png", root / "test" / "red" / f"copy{number}.png")
    return root


@pytest.fixture(scope="module")
def run(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    fields = {"model": "lenet5", "epochs": 8, "batch_size": 8, "workers": 1, "device": "cpu"}
    return train(make_recipe("scratch", fields), mixed, Place(tmp_path_factory.mktemp("project"), "mixed"))


def test_slices_have_about_the_same_number_and_cover_all() -> None:
    values = np.random.default_rng(0).normal(size=101)
    found = slices_by(values, np.ones(101, dtype=bool))
    assert sum(each.num_pictures for each in found) == 101
    assert {each.num_pictures for each in found} <= {25, 26}
    assert all(before.high < after.low for before, after in pairwise(found))


def test_equal_values_share_a_slice_and_alike_pictures_have_none() -> None:
    values = np.repeat([1.0, 1.0, 1.0, 5.0], 10)
    assert [(each.low, each.num_pictures) for each in slices_by(values, values > 1)] == [(1, 30), (5, 10)]
    assert slices_by(np.ones(100), np.ones(100, dtype=bool)) == ()
    assert slices_by(np.arange(19.0), np.ones(19, dtype=bool)) == ()


def test_accuracy_by_size_shows_which_sizes_fail(run: RunFolder) -> None:
    found = Run(run).evaluate(device="cpu")
    by_size = found.by_size
    assert (by_size[0].low, by_size[-1].high) == (16, 48)
    assert by_size[-1].accuracy < 0.3 < 0.9 < by_size[0].accuracy
    sizes = []
    for name in found.names:
        with Image.open(Path(run.data_report["source"]) / name) as picture:
            sizes.append(picture.width)
    assert found.traits is not None
    np.testing.assert_array_equal(found.traits.sizes, sizes)


def test_evaluation_afterwards_leaves_out_the_leaks_that_training_found(run: RunFolder) -> None:
    found = Run(run).evaluate(device="cpu").without_leaks
    assert found is not None
    assert len(found.labels) == run.metrics["test_without_leaks"]["num_pictures"] == 48
    assert found.accuracy == run.metrics["test_without_leaks"]["accuracy"]


def test_run_whose_predictions_are_of_an_older_version_has_no_known_leaks(run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "old")
    lines = (run.path / "predictions.csv").read_text().splitlines()
    (tmp_path / "old" / "predictions.csv").write_text("\n".join(line.rsplit(",", 2)[0] for line in lines) + "\n")
    assert Run(RunFolder(tmp_path / "old")).evaluate(device="cpu").without_leaks is None


def test_json_on_stdout_holds_what_metrics_json_holds_and_the_curves(run: RunFolder, capsys: Captured) -> None:
    assert run_command_line(["evaluate", str(run.path), "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    written = run.metrics["test"]
    assert set(found) - set(written) == {"curves"}
    for key in ("confusion", "missing_classes", "most_confused", "by_size", "by_sharpness", "accuracy", "averages"):
        assert found[key] == written[key]
    assert [curve["class"] for curve in found["curves"]["roc"]] == ["green", "red"]


def test_text_is_scikit_learns_report(run: RunFolder, capsys: Captured) -> None:
    assert run_command_line(["evaluate", str(run.path), "--text", "--quiet", "--device", "cpu"]) == 0
    rows = run.predictions
    expected = classification_report([row["label"] for row in rows], [row["predicted"] for row in rows], digits=4)
    assert expected in capsys.readouterr().out


def test_tables_hold_every_part(run: RunFolder, capsys: Captured) -> None:
    print_evidence(Run(run).evaluate(device="cpu"))
    printed = capsys.readouterr().out
    for words in (
        "95 % interval",
        "always saying the biggest class: 55.56%",
        "without the 6 that were learned from too",
        "balanced accuracy",
        "macro avg",
        "weighted avg",
        "confusion matrix",
        "probabilities are the network's own: 24 val pictures are too few",
        "if only the surest pictures were answered",
        "by size",
        "by sharpness",
    ):
        assert words in printed


def test_tables_fit_a_terminal_of_eighty_characters(
    run: RunFolder, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Run(run).evaluate(device="cpu")
    print_evidence(found)
    wide = capsys.readouterr().out
    for name, value in {"TTY_COMPATIBLE": "1", "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    print_evidence(found)
    narrow = capsys.readouterr().out
    assert max(map(len, wide.splitlines())) > 100
    assert max(map(len, narrow.splitlines())) <= 80
    for row in found.classes:  # nothing but the intervals of the areas is left out
        [first, second] = [line.split() for line in narrow.splitlines() if line.startswith(row.name)][:2]
        assert first[1] == f"{row.precision.value:.1%}"
        assert first[-1] == f"{row.support:,}"
        assert second[1] == f"{row.f1.value:.1%}"
        assert second[-1] == f"{row.average_precision:.4f}"


def test_classes_that_no_picture_shows_are_said(run: RunFolder, mixed: Path, tmp_path: Path, capsys: Captured) -> None:
    shutil.copytree(mixed / "train" / "red", tmp_path / "some" / "red")
    shutil.copytree(mixed / "train" / "green", tmp_path / "some" / "green")
    for path in (tmp_path / "some" / "green").iterdir():
        path.unlink()
    shutil.rmtree(tmp_path / "some" / "green")
    (tmp_path / "some" / "green").mkdir()
    assert run_command_line(["evaluate", str(run.path), str(tmp_path / "some"), "--quiet", "--device", "cpu"]) == 0
    assert "no picture shows: green" in capsys.readouterr().out


def test_class_names_are_not_taken_for_markup(run: RunFolder, capsys: Captured) -> None:
    found = Run(run).evaluate(device="cpu")
    print_evidence(replace(found, class_names=("[red]green[/red]", "[bold]")))
    assert capsys.readouterr().out.count("[red]green[/red]") >= 3


def test_figures_are_drawn_as_svg(run: RunFolder, tmp_path: Path, capsys: Captured) -> None:
    found = replace(Run(run).evaluate(device="cpu"), class_names=("a$b$", "한글"))
    paths = write_figures(found, tmp_path / "figures")
    assert [path.stem for path in paths] == ["reliability", "coverage", "roc", "precision_recall", "confusion"]
    assert all("</svg>" in path.read_text(encoding="utf-8") for path in paths)
    assert "a$b$" in paths[-1].read_text(encoding="utf-8")


def test_figures_of_a_run_are_its_curves_and_those_of_its_evaluation(run: RunFolder, tmp_path: Path) -> None:
    paths = Run(run).figures(tmp_path / "figures", device="cpu")
    assert [path.stem for path in paths[:2]] == ["loss", "accuracy"]
    assert len(paths) == 7
    kept = best_epoch(run.results, run.recipe.best_by)
    assert f"kept: epoch {kept}" in paths[0].read_text(encoding="utf-8")


def test_curves_of_a_run_whose_head_was_solved_are_left_out(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "solved")
    run.results_path.write_text(
        "epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate\n0,1,0.5,1,0.5,0\n"
    )
    assert write_curves(run, tmp_path / "figures") == []


def test_min_accuracy_says_when_it_is_not_sure(overconfident: RunFolder, tmp_path: Path, capsys: Captured) -> None:
    source = Path(overconfident.data_report["source"])
    pictures = [str(source / row["path"]) for row in overconfident.predictions[:60]]
    table = tmp_path / "table.csv"
    assert run_command_line(["predict", str(overconfident.path), *pictures]) == 0
    printed = capsys.readouterr()
    doubtful = [line for line in printed.out.splitlines() if "  not sure: " in line]
    sure = [row["sure"] for row in overconfident.predictions[:60]]
    assert 0 < len(doubtful) == sure.count("no") < 60
    assert 'the answer is "not sure"' in printed.err
    assert run_command_line(["predict", str(overconfident.path), *pictures, "--output", str(table)]) == 0
    capsys.readouterr()
    assert table.read_text().count(",no,,") == len(doubtful)
    assert run_command_line(["predict", str(overconfident.path), *pictures, "--min-accuracy", "0", "--json"]) == 0
    assert all(json.loads(line)["sure"] for line in capsys.readouterr().out.splitlines())


def test_min_accuracy_of_a_run_without_val_pictures_is_a_mistake(colours: Path, tmp_path: Path) -> None:
    fields = {"model": "lenet5", "epochs": 1, "val_share": 0.0, "workers": 1, "device": "cpu"}
    run = train(make_recipe("scratch", fields), colours, Place(tmp_path, "unwatched"))
    assert run.load().certainty.remark.startswith("no pictures were set aside")
    assert run_command_line(["predict", str(run.path), str(colours), "--min-accuracy", "0.9"]) == 2
