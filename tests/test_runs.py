"""Run folders: never overwritten, complete, and readable on another machine."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score

from saccade.errors import ResourceError, RunError, UsageError, WeightsError
from saccade.results import RESULTS_HEADER
from saccade.runs import RunFolder


def test_name_that_is_taken_is_numbered(tmp_path: Path) -> None:
    names = [RunFolder.create(tmp_path, "animals").path.name for _ in range(3)]
    assert names == ["animals", "animals-2", "animals-3"]


@pytest.mark.parametrize("name", ["", ".", "..", "../elsewhere", "a/b", "a\\b", "a\0b"])
def test_name_that_leads_out_of_the_project_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a run"):
        RunFolder.create(tmp_path, name)


def test_project_that_cannot_be_written_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError) as caught:
        RunFolder.create(tmp_path / "file", "run")
    assert caught.value.exit_code == 4


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no recipe\.yaml"):
        RunFolder.open(tmp_path)


def test_finished_run_holds_the_files_of_the_design(finished: RunFolder) -> None:
    names = {path.relative_to(finished.path).as_posix() for path in finished.path.rglob("*") if path.is_file()}
    assert names == {
        "recipe.yaml",
        "classes.json",
        "splits.csv",
        "data_report.json",
        "skipped.csv",
        "results.csv",
        "metrics.json",
        "curves.json",
        "predictions.csv",
        "environment.json",
        "log.txt",
        "weights/best.safetensors",
        "weights/last.safetensors",
    }


def test_results_have_a_row_per_epoch_under_the_written_header(finished: RunFolder) -> None:
    with (finished.path / "results.csv").open() as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == RESULTS_HEADER
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "4", "5", "6"]


def test_metrics_agree_with_the_predictions_written_beside_them(finished: RunFolder) -> None:
    rows = finished.predictions
    accuracy = accuracy_score([row["label"] for row in rows], [row["predicted"] for row in rows])
    assert finished.metrics["test"]["accuracy"] == pytest.approx(accuracy)


def test_splits_cover_every_picture_once(finished: RunFolder, colours: Path) -> None:
    expected = {path.relative_to(colours).as_posix() for path in colours.rglob("*.png")}
    assert set(finished.splits) == expected


def test_predictions_are_those_of_the_test_part(finished: RunFolder) -> None:
    tests = {name for name, part in finished.splits.items() if part == "test"}
    assert {row["path"] for row in finished.predictions} == tests


def test_classes_are_in_plain_string_order(finished: RunFolder) -> None:
    assert json.loads((finished.path / "classes.json").read_text()) == ["blue", "green", "red"]


def test_loaded_network_answers_as_the_file_it_came_from(finished: RunFolder) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8))
    first, second = (finished.load().network(images) for _ in range(2))
    assert torch.equal(first, second)


def test_copied_run_loads_without_the_rest(finished: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "copy" / "weights").mkdir(parents=True)
    for name in ("recipe.yaml", "weights/best.safetensors"):
        shutil.copy(finished.path / name, tmp_path / "copy" / name)
    assert RunFolder.open(tmp_path / "copy").load().class_names == ("blue", "green", "red")


def test_missing_weights_are_named(finished: RunFolder, tmp_path: Path) -> None:
    shutil.copy(finished.path / "recipe.yaml", tmp_path / "recipe.yaml")
    with pytest.raises(WeightsError, match="no such weights file"):
        RunFolder.open(tmp_path).load()


def test_environment_names_command_and_versions(finished: RunFolder) -> None:
    environment = finished.environment
    assert environment["command"]
    assert environment["versions"]["torch"] == torch.__version__


def test_log_has_what_was_said_from_the_first_line_on(finished: RunFolder) -> None:
    text = finished.log_path.read_text()
    assert text.startswith("pack: 60 pictures")
    assert "pictures: 60 seen, 60 used, 0 skipped" in text
