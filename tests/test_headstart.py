"""headstart.py: the head comes first, and what looks like a mistake is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from saccade.data.batches import Batches
from saccade.data.packing import Work
from saccade.evaluation.evaluate import reopen_pictures
from saccade.headstart import HIGHEST_RATES, doubts
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.models.weights import save_network
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder
from saccade.training.freeze import FreezeReport

FROZEN = FreezeReport(("stem",), ("layer4",), 10, 20, batch_norm=True)
HEAD_ALONE = FreezeReport(("stem", "layer4"), (), 30, 5, batch_norm=True)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network in a file, as pretrained weights."""
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    save_network(path, build_network(NetworkSpec("lenet5", 7, 32, 3, "gap"), seed=3), {})
    return str(path)


def _train(colours: Path, backbone: str, tmp_path: Path, recipe: str, **changes: object) -> RunFolder:
    fields = {"model": "lenet5", "head": "gap", "weights": backbone, "image_size": 32, "workers": 1, "epochs": 2}
    return train(make_recipe(recipe, fields | changes), colours, Place(tmp_path / "runs"))


@pytest.mark.parametrize("prefix_cache", [True, False])
@pytest.mark.parametrize("head", ["gap", "flatten"])
def test_features_of_a_linear_head_are_solved_in_no_epoch(
    head: str, prefix_cache: bool, colours: Path, backbone: str, tmp_path: Path
) -> None:
    run = _train(colours, backbone, tmp_path, "features", prefix_cache=prefix_cache, head=head)
    assert [row["epoch"] for row in run.results] == [0]
    assert "head: solved on" in run.log_path.read_text()
    assert run.metrics["test"]["accuracy"] > 0.8
    assert run.report_path.parent.is_dir()


def test_solved_head_is_the_minimum_that_scikit_learn_finds(colours: Path, backbone: str, tmp_path: Path) -> None:
    run = _train(colours, backbone, tmp_path, "features", precision="float32")
    trained = run.load()
    pack = reopen_pictures(run, trained, None, Work(1, False, lambda done, total: None)).pack
    rows = np.array([row for row in pack.usable if run.splits[pack.names[row]] == "train"])
    images = Batches(pack.images, pack.labels, rows, 64, 32, torch.device("cpu")).pictures(rows, 0)
    with torch.no_grad():
        features = trained.network.features(images).mean(dim=(2, 3)).double().numpy()
        ours = torch.softmax(trained.network(images), dim=1).numpy()
    strength = float(run.log_path.read_text().split("L2 of ")[1].split(" ")[0])  # two digits of it
    standard = StandardScaler().fit_transform(features)
    theirs = LogisticRegression(C=1 / strength, tol=1e-8, max_iter=10_000).fit(standard, pack.labels[rows])
    assert np.allclose(ours, theirs.predict_proba(standard), atol=0.02)
    assert np.array_equal(ours.argmax(axis=1), theirs.predict(standard))


@pytest.mark.parametrize("recipe", ["finetune", "full"])
def test_fine_tuning_begins_with_the_solved_head_and_is_never_worse_on_val(
    recipe: str, colours: Path, backbone: str, tmp_path: Path
) -> None:
    run = _train(colours, backbone, tmp_path, recipe)
    assert [row["epoch"] for row in run.results] == [0, 1, 2]
    solved = run.results[0]
    assert solved["learning_rate"] == 0
    assert run.metrics["val"]["accuracy"] >= solved["val_accuracy"]


def test_fine_tuning_of_a_head_of_several_layers_trains_it_alone_first(
    colours: Path, backbone: str, tmp_path: Path
) -> None:
    run = _train(colours, backbone, tmp_path, "finetune", head="16")
    assert [row["epoch"] for row in run.results] == [1, 2]
    assert "trained alone for 5 epochs first" in run.log_path.read_text()


def test_head_of_several_layers_with_fewer_epochs_than_views_sees_only_views_that_are_kept(
    colours: Path, backbone: str, tmp_path: Path
) -> None:
    changes = {"head": "16", "epochs": 2, "train": "block2_conv1", "views": 5}
    run = _train(colours, backbone, tmp_path, "finetune+augment", **changes)
    text = run.log_path.read_text()
    assert "2 views of each training picture" in text
    assert "trained alone for 2 epochs first" in text
    assert len(run.results) == 2


def test_features_of_a_head_of_several_layers_are_trained_by_epochs(
    colours: Path, backbone: str, tmp_path: Path
) -> None:
    run = _train(colours, backbone, tmp_path, "features", head="16")
    assert [row["epoch"] for row in run.results] == [1, 2]
    assert "not solved but trained by epochs" in run.log_path.read_text()


def test_views_of_a_picture_all_teach_the_head(colours: Path, backbone: str, tmp_path: Path) -> None:
    run = _train(colours, backbone, tmp_path, "features", augment="light", views=2, epochs=5)
    num_train = sum(part == "train" for part in run.splits.values())
    assert f"head: solved on {2 * num_train} × 16 features" in run.log_path.read_text()


@pytest.mark.parametrize("optimizer", HIGHEST_RATES)
def test_rate_that_destroys_pretrained_weights_is_warned_about_with_a_better_one(optimizer: str) -> None:
    highest = HIGHEST_RATES[optimizer]
    recipe = make_recipe("finetune", {"optimizer": optimizer, "learning_rate": 3 * highest})
    [sentence] = doubts(recipe, FROZEN)
    assert f"{3 * highest:g}" in sentence
    assert "layer4" in sentence
    better = float(sentence.split("--learning-rate ")[1].split(" ")[0])
    assert doubts(make_recipe("finetune", {"optimizer": optimizer, "learning_rate": better}), FROZEN) == []


def test_high_rate_is_no_doubt_where_nothing_pretrained_learns() -> None:
    assert doubts(make_recipe("features", {"learning_rate": 0.1}), HEAD_ALONE) == []
    assert doubts(make_recipe("scratch", {"learning_rate": 0.1}), FreezeReport((), ("stem",), 0, 1, False)) == []


def test_frozen_random_weights_are_doubted() -> None:
    [sentence] = doubts(make_recipe("features", {"weights": "none"}), HEAD_ALONE)
    assert "random weights" in sentence
    assert "--weights default" in sentence


def test_no_default_is_doubted() -> None:
    for preset in ("features", "finetune", "finetune+augment", "full"):
        assert doubts(make_recipe(preset, {}).resolved(), FROZEN) == []
