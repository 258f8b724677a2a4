"""The recipe `sprint` through the whole way, and what it asks of it: nothing set aside, small pictures first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saccade.errors import RecipeError
from saccade.growing import early_sides_in_words
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.recipe import Recipe
from saccade.runs import RunFolder

SMALL: dict[str, object] = {"batch_size": 12, "epochs": 2, "small_first": "20", "workers": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def sprinted(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    recipe = make_recipe("sprint", SMALL | {"val_share": 0.0, "epochs": 6})
    return train(recipe, colours, Place(tmp_path_factory.mktemp("project"), "sprinted"))


def test_sprint_learns_classes_that_can_be_told_apart(sprinted: RunFolder) -> None:
    assert sprinted.metrics["test"]["accuracy"] > 0.9


def test_metrics_hold_the_plain_accuracy_and_that_of_several_looks(sprinted: RunFolder) -> None:
    assert {"test", "test_tta"} <= set(sprinted.metrics)
    assert sprinted.metrics["test_tta"]["num_pictures"] == sprinted.metrics["test"]["num_pictures"]


def test_plain_metrics_are_those_of_the_predictions(sprinted: RunFolder) -> None:
    rows = sprinted.predictions
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert sprinted.metrics["test"]["accuracy"] == pytest.approx(right)


def test_rate_that_is_told_is_the_recipes_own_and_falls_straight(sprinted: RunFolder) -> None:
    rates = [row["learning_rate"] for row in sprinted.results]  # offsets of BatchNorm learn at 294 times that
    assert rates == pytest.approx([0.18 * (1 - epoch / 6) for epoch in range(1, 7)], abs=1e-6)


def test_nothing_set_aside_leaves_more_to_learn_from_and_no_val_numbers(sprinted: RunFolder) -> None:
    assert sorted(set(sprinted.splits.values())) == ["test", "train"]
    assert "val" not in sprinted.metrics
    assert "val numbers say nothing about new pictures" in sprinted.log_path.read_text()


def test_nothing_set_aside_makes_the_last_weights_the_best(sprinted: RunFolder) -> None:
    best, last = (sprinted.load(which).network.state_dict() for which in ("best", "last"))
    assert all(torch.equal(best[name], last[name]) for name in best)


def test_val_that_is_set_aside_watches_as_ever(colours: Path, tmp_path: Path) -> None:
    run = train(make_recipe("sprint", SMALL), colours, Place(tmp_path, "watched"))
    assert "val" in run.splits.values()
    assert run.metrics["val"]["num_pictures"] > 0


@pytest.mark.parametrize("sides", ["20,x", "0", ","])
def test_sides_that_cannot_be_read_are_refused(sides: str, colours: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        train(make_recipe("sprint", SMALL | {"small_first": sides}), colours, Place(tmp_path))


@pytest.mark.parametrize(("model", "side"), [("sprint", 64), ("sprint", 4), ("lenet5", 24)])
def test_sides_that_the_network_cannot_see_are_refused(model: str, side: int, colours: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"cannot learn from pictures of {side}×{side}"):
        train(make_recipe("sprint", SMALL | {"model": model, "small_first": str(side)}), colours, Place(tmp_path))


def test_sides_of_the_recipe_that_are_larger_than_the_pictures_are_named_with_a_way_out(
    colours: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as refused:
        train(make_recipe("sprint", {"image_size": 16, "device": "cpu"}), colours, Place(tmp_path))
    assert "20,20,20,24,24,24" in str(refused.value)
    assert "--small-first 16, or other sides up to that; or larger pictures: --image-size 24" in str(refused.value)


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        ("20", "epoch 1 learns from pictures of 20 pixels, but val is seen at 32"),
        ("16,24", "epochs 1 to 2 learn from pictures of 16 to 24 pixels, but val is seen at 32"),
        ("16,16,24,28", "epochs 1 to 3 learn from pictures of 16 to 24 pixels, but val is seen at 32"),
        ("32", ""),
        (None, ""),
    ],
)
def test_it_is_said_why_val_lags_behind_while_pictures_are_small(sides: str | None, words: str) -> None:
    said = early_sides_in_words(Recipe(model="sprint", image_size=32, small_first=sides, epochs=3))
    assert said.startswith(words)
    assert bool(said) == bool(words)
