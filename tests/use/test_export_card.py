"""The model card: a header that Hugging Face reads, and numbers that are the run's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from saccade.cli import run_command_line
from saccade.errors import RunError
from saccade.presets import make_recipe
from saccade.runs import RunFolder
from saccade.use.export_card import card_of, licence_of


def header(card: str) -> dict[str, object]:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def test_card_command_writes_the_runs_numbers(finished: RunFolder, tmp_path: Path, capsys) -> None:
    shutil.copytree(finished.path, tmp_path / "animals")
    assert run_command_line(["export", str(tmp_path / "animals"), "--card"]) == 0
    path = tmp_path / "animals" / "README.md"
    assert capsys.readouterr().out.strip() == str(path)
    assert not (tmp_path / "animals" / "model.onnx").exists()
    found, test = header(path.read_text(encoding="utf-8")), finished.metrics["test"]
    result = found["model-index"][0]["results"][0]
    assert result["metrics"][0]["value"] == test["accuracy"]
    assert f"{test['interval'][0]:.4f} to {test['interval'][1]:.4f}" in result["metrics"][0]["name"]
    assert found["pipeline_tag"] == "image-classification"
    assert found["license"] == "other"


def test_card_counts_the_pictures_of_every_class(finished: RunFolder) -> None:
    counts = finished.data_report["classes"]
    for name, parts in counts.items():
        assert f"| {name} | {parts['train']} | {parts['val']} | {parts['test']} |" in card_of(finished)


def test_card_tells_no_paths_of_the_machine(finished: RunFolder) -> None:
    assert str(Path(finished.data_report["source"]).parent) not in card_of(finished)


def test_f20_names_in_a_card_change_nothing_about_the_page(finished: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    odd = '<script>|x\n---\n: "'
    (tmp_path / "run" / "classes.json").write_text(json.dumps(["blue", odd, "red"]))
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())
    report["source"] = f"/somewhere/{odd.replace('/', '')}"
    (tmp_path / "run" / "data_report.json").write_text(json.dumps(report))
    card = card_of(RunFolder.open(tmp_path / "run"))
    assert "<script>" not in card.replace("\\<script\\>", "")
    assert header(card)["library_name"] == "saccade"


def test_card_of_an_unfinished_run_is_refused(finished: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run", ignore=shutil.ignore_patterns("metrics.json"))
    with pytest.raises(RunError, match="not finished"):
        card_of(RunFolder.open(tmp_path / "run"))


@pytest.mark.parametrize(
    ("model", "weights", "identifier", "words"),
    [
        ("resnet18", "none", "other", "random weights"),
        ("resnet18", "default", "other", "non-commercial"),
        ("resnet18", "/some/where/own.safetensors", "other", "the file own.safetensors"),
        ("timm/resnet18.a1_in1k", "default", "apache-2.0", "timm: apache-2.0"),
    ],
)
def test_licence_follows_from_the_first_weights(
    model: str, weights: str, identifier: str, words: str, tmp_path: Path
) -> None:
    run = RunFolder.create(tmp_path, "run")
    run.write_recipe(make_recipe("full", {"model": model, "weights": weights, "image_size": 64}))
    found = licence_of(run)
    assert found.identifier == identifier
    assert words in found.note
    assert "/some" not in found.note
