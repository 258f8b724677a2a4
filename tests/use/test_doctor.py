"""The run doctor on small runs that have each fault for real, and on a healthy one, which hears nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.modules.batchnorm import _BatchNorm

from saccade.pipeline import train
from saccade.presets import make_recipe
from saccade.resuming import Place
from saccade.runs import RunFolder
from saccade.use.batch_norm import measure_drift, num_needed
from saccade.use.doctor import Complaint, Patient, examine
from saccade.use.report import render_report

SIDE = 16


def draw(folder: Path, counts: dict[str, int], *, noise: float, seed: int = 0) -> Path:
    """Pictures of classes that differ by their stripes (`a` lies, `b` stands, `c` is plain); noise hides them."""
    rng = np.random.default_rng(seed)
    for name, number in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            pixels = np.full((SIDE, SIDE, 3), 128.0)
            phase = rng.integers(4)
            if name[0] == "a":
                pixels[(np.arange(SIDE) + phase) % 4 < 2] += 60
            elif name[0] == "b":
                pixels[:, (np.arange(SIDE) + phase) % 4 < 2] += 60
            pixels = np.clip(pixels + rng.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{seed}-{index}.png")
    return folder


def run_on(pictures: Path, root: Path, **fields: Any) -> RunFolder:
    """A run of lenet5, without a page."""
    usual = {"model": "lenet5", "image_size": SIDE, "workers": 1, "device": "cpu", "augment": "none", "batch_size": 16}
    return train(make_recipe("scratch", usual | fields), pictures, Place(root / "runs", "run"))


def complaints(run: RunFolder, drift: Any = None) -> dict[str, Complaint]:
    """What the doctor says about a run, by title."""
    patient = Patient(run.results, run.metrics, run.data_report, run.recipe, run.class_names, drift)
    return {each.title: each for each in examine(patient)}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that has nothing wrong with it, with BatchNorm."""
    root = tmp_path_factory.mktemp("healthy")
    pictures = draw(root / "pictures", {"a": 100, "b": 100}, noise=30)
    return run_on(pictures, root, model="resnet18", image_size=32, epochs=8)


@pytest.fixture
def copy(healthy: RunFolder, tmp_path: Path) -> RunFolder:
    """The same run in another place, to be changed."""
    return RunFolder(shutil.copytree(healthy.path, tmp_path / "copy"))


def test_doctor_of_a_healthy_run_says_nothing(healthy: RunFolder) -> None:
    assert healthy.metrics["test"]["accuracy"] > 0.9
    assert complaints(healthy) == {}
    assert "No complaints." in render_report(healthy)


def test_doctor_of_digits_says_nothing(tmp_path: Path) -> None:
    recipe = make_recipe("scratch", {"model": "lenet5", "epochs": 10, "workers": 1, "device": "cpu"})
    assert complaints(train(recipe, "digits", Place(tmp_path, "digits"))) == {}


def test_doctor_of_labels_learned_by_heart_says_overfitting(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", {"c1": 60, "c2": 60}, noise=60)
    run = run_on(pictures, tmp_path, epochs=30, learning_rate=0.002)
    last = run.results[-1]
    assert last["train_accuracy"] > 0.95
    evidence = complaints(run)["Overfitting"].evidence
    assert "(--model resnet18 --recipe finetune)" in complaints(run)["Overfitting"].remedy, "lenet5 has no weights"
    assert f"{last['train_accuracy']:.1%}" in evidence
    assert f"{last['val_accuracy']:.1%}" in evidence


def test_doctor_of_steps_that_are_too_long_says_learning_rate(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", {"a": 60, "b": 60}, noise=30)
    run = run_on(pictures, tmp_path, epochs=6, optimizer="sgd", learning_rate=1.0, schedule="constant")
    found = complaints(run)["The learning rate is too high"]
    assert f"{max(row['train_loss'] for row in run.results[1:]):.3g}" in found.evidence
    assert "--learning-rate 0.1," in found.remedy


def test_doctor_of_one_answer_to_everything_says_so(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", {"c1": 150, "c2": 60}, noise=60)
    run = run_on(pictures, tmp_path, epochs=2, learning_rate=1e-5)
    found = complaints(run)["It names one class only"]
    (most,) = {row["predicted"] for row in run.predictions}
    assert f"“{most}”" in found.evidence


def test_doctor_of_classes_never_named_names_them(healthy: RunFolder) -> None:
    confusion = [[20, 5, 0], [4, 21, 0], [9, 6, 0]]
    metrics = {"test": {"confusion": confusion, "interval": [0.5, 0.6], "num_pictures": 65}}
    data = {"classes": {name: {"train": 60, "val": 0, "test": 20} for name in "abc"}}
    (found,) = examine(Patient([], metrics, data, healthy.recipe, ("a", "b", "c")))
    assert found.title == "Some classes are never named"
    assert "“c”" in found.evidence


def test_doctor_of_val_pictures_of_another_kind_says_suspicious(tmp_path: Path) -> None:
    for part, number, noise in (("train", 80, 20.0), ("val", 60, 20.0), ("test", 60, 300.0)):
        draw(tmp_path / "pictures" / part, {"a": number, "b": number}, noise=noise, seed=len(part))
    run = run_on(tmp_path / "pictures", tmp_path, epochs=8, learning_rate=0.003)
    val, test = (run.metrics[part]["accuracy"] for part in ("val", "test"))
    evidence = complaints(run)["Validation is suspiciously good"].evidence
    assert f"{val:.1%}" in evidence
    assert f"{test:.1%}" in evidence


def test_doctor_of_test_pictures_in_train_says_examined_on_what_it_learned(tmp_path: Path) -> None:
    for part, number in (("train", 40), ("test", 30)):
        draw(tmp_path / "pictures" / part, {"a": number, "b": number}, noise=30, seed=len(part))
    for number in range(10):
        source = tmp_path / "pictures" / "train" / "a" / f"5-{number}.png"
        shutil.copy(source, tmp_path / "pictures" / "test" / "a" / f"copy-{number}.png")
    run = run_on(tmp_path / "pictures", tmp_path, epochs=3)
    assert "10 of 70 test pictures" in complaints(run)["It was examined on what it had learned"].evidence
    page = render_report(run)
    assert "10 of the test pictures have a copy" in " ".join(page.split())


def test_doctor_of_statistics_that_do_not_fit_says_batch_norm_drift(copy: RunFolder) -> None:
    trained = copy.load()
    for module in trained.network.modules():
        if isinstance(module, _BatchNorm):
            assert module.running_mean is not None
            module.running_mean += 2
    copy.save_weights("best", trained)
    assert "BatchNorm's statistics have drifted" not in complaints(copy), "results alone do not show it"
    assert "BatchNorm&#39;s statistics have drifted" in render_report(copy)


def test_drift_equals_the_network_in_both_modes_and_changes_nothing(healthy: RunFolder) -> None:
    trained = healthy.load()
    rng = np.random.default_rng(0)
    squares = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(70)]
    labels = rng.integers(0, 2, 70).tolist()
    before = {name: value.clone() for name, value in trained.network.state_dict().items()}
    found = measure_drift(trained, squares, labels)
    assert found is not None
    assert all(torch.equal(value, before[name]) for name, value in trained.network.state_dict().items())
    assert not trained.network.training
    images = torch.from_numpy(np.stack(squares[:64])).permute(0, 3, 1, 2)
    truth = torch.tensor(labels[:64])
    with torch.no_grad():
        kept = trained.network(images)
        trained.network.train()
        fresh = torch.cat([trained.network(images[:32]), trained.network(images[32:])])
    for logits, accuracy, loss in (
        (kept, found.kept_accuracy, found.kept_loss),
        (fresh, found.fresh_accuracy, found.fresh_loss),
    ):
        assert accuracy == pytest.approx(float((logits.argmax(1) == truth).float().mean()))
        assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, truth)), rel=1e-5)


def test_drift_without_batch_norm_or_pictures_is_not_measured(finished: RunFolder, healthy: RunFolder) -> None:
    square = np.zeros((28, 28, 3), dtype=np.uint8)
    assert measure_drift(finished.load(), [square] * 64, [0] * 64) is None
    assert measure_drift(healthy.load(), [square[:SIDE, :SIDE]] * 31, [0] * 31) is None


@pytest.mark.parametrize(("side", "expected"), [(28, 256), (96, 256), (224, 64), (1024, 32)])
def test_num_needed_of_large_pictures_is_smaller(side: int, expected: int) -> None:
    assert num_needed(side) == expected


def test_doctor_of_few_pictures_says_both(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", {"a": 20, "b": 30}, noise=40)
    found = complaints(run_on(pictures, tmp_path, epochs=2))
    counts = {
        name: parts["train"] for name, parts in RunFolder(tmp_path / "runs" / "run").data_report["classes"].items()
    }
    assert f"“a” has {counts['a']}" in found["Too few pictures to learn from"].evidence
    assert "Too few pictures to judge by" in found


def test_doctor_of_a_training_cut_short_says_still_improving(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", {"a": 60, "b": 60}, noise=50)
    found = complaints(run_on(pictures, tmp_path, epochs=4, schedule="constant", learning_rate=1e-3))
    assert "--epochs 8" in found["It was still improving when it ended"].remedy


def test_doctor_of_a_training_that_stands_says_so(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", {"c1": 80, "c2": 80}, noise=60)
    run = run_on(pictures, tmp_path, epochs=12, schedule="constant", optimizer="sgd", learning_rate=1e-8, patience=0)
    assert "It stood still" in complaints(run)


def test_doctor_of_an_unwatched_run_does_not_trust_its_curves(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", {"c1": 60, "c2": 60}, noise=60)
    found = complaints(run_on(pictures, tmp_path, epochs=30, learning_rate=0.002, val_share=0.0))
    assert "Overfitting" not in found


def test_doctor_of_a_loss_that_is_no_number_says_learning_rate(healthy: RunFolder) -> None:
    rows = [dict(row) for row in healthy.results]
    rows[3]["train_loss"] = float("nan")
    patient = Patient(rows, healthy.metrics, healthy.data_report, healthy.recipe, healthy.class_names)
    assert "The learning rate is too high" in {each.title for each in examine(patient)}


def test_report_of_a_collapsed_run_with_hostile_names_shows_them_as_text(copy: RunFolder) -> None:
    names = ["<img src=x onerror=alert(1)>", "b"]
    metrics = json.loads((copy.path / "metrics.json").read_text())
    metrics["test"]["confusion"] = [[20, 0], [20, 0]]
    (copy.path / "metrics.json").write_text(json.dumps(metrics))
    (copy.path / "classes.json").write_text(json.dumps(names))
    page = render_report(copy)
    assert "It names one class only" in page
    assert "“&lt;img src=x onerror=alert(1)&gt;”" in page
    assert "<img src=x" not in page
