"""advice.py: a recipe is chosen for the pictures, and the reason is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.advice import LIKE, MANY, Likeness, choose, first_choice, has_published_weights, in_words
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.models.weights import save_network
from saccade.pipeline import Place, train
from saccade.presets import PRESETS, make_recipe
from saccade.runs import RunFolder


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network in a file, as pretrained weights."""
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    save_network(path, build_network(NetworkSpec("lenet5", 7, 32, 3, "gap"), seed=3), {})
    return str(path)


def _train(pictures: Path, tmp_path: Path, **changes: object) -> tuple[RunFolder, str]:
    fields = {"model": "lenet5", "head": "gap", "image_size": 32, "workers": 1, "epochs": 1, "batch_size": 8}
    run = train(make_recipe("advice", fields | changes), pictures, Place(tmp_path / "runs"))
    return run, run.log_path.read_text()


@pytest.mark.parametrize(
    ("share", "per_class", "recipe"),
    [
        (LIKE, MANY, "finetune"),
        (LIKE, MANY - 1, "features"),
        (LIKE - 0.01, MANY, "full"),
        (LIKE - 0.01, MANY - 1, "finetune+augment"),
        (-0.2, 1, "finetune+augment"),
    ],
)
def test_choice_follows_the_table_of_much_or_little_and_like_or_unlike(
    share: float, per_class: int, recipe: str
) -> None:
    likeness = Likeness(accuracy=0.25 + 0.75 * share + 1e-9, guessing=0.25, num_pictures=100)
    assert choose(likeness, per_class) == recipe
    assert recipe in PRESETS
    words = in_words(recipe, likeness, per_class)
    assert f"recipe {recipe};" in words
    assert f"{per_class:,} pictures per class" in words
    assert "--recipe NAME" in words


def test_pictures_that_the_backbone_separates_get_features(colours: Path, backbone: str, tmp_path: Path) -> None:
    run, log = _train(colours, tmp_path, weights=backbone)
    assert run.recipe.recipe == "features"
    assert run.recipe.train == "head"
    assert "advice: 1" in log
    assert "like those it learnt from" in log


def test_pictures_without_anything_to_see_get_fine_tuning_with_augmentation(backbone: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "noise" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "noise" / name / f"{number}.png")
    run, log = _train(tmp_path / "noise", tmp_path, weights=backbone)
    assert run.recipe.recipe == "finetune+augment"
    assert run.recipe.views == 5
    assert "unlike those it learnt from" in log


def test_what_the_owner_set_stays_set(colours: Path, backbone: str, tmp_path: Path) -> None:
    run, _ = _train(colours, tmp_path, weights=backbone, seed=7, solve_head=False, learning_rate=0.02)
    assert (run.recipe.seed, run.recipe.solve_head, run.recipe.learning_rate) == (7, False, 0.02)
    assert run.recipe.recipe == "features"


def test_network_without_published_weights_is_trained_from_scratch_and_that_is_said(
    colours: Path, tmp_path: Path
) -> None:
    run, log = _train(colours, tmp_path)
    assert run.recipe.recipe == "scratch"
    assert run.recipe.weights == "none"
    assert "no pretrained weights of lenet5 are published" in log


def test_first_choice_leaves_other_recipes_alone_and_obeys_weights_none() -> None:
    scratch = make_recipe("scratch", {"model": "resnet18"})
    assert first_choice(scratch) is scratch
    assert first_choice(make_recipe("advice", {"model": "resnet18"})).weights == "default"
    assert first_choice(make_recipe("advice", {"model": "resnet18", "weights": "none"})).recipe == "scratch"


@pytest.mark.parametrize(
    ("model", "published"),
    [("resnet18", True), ("vgg16", True), ("lenet5", False), ("timm/resnet18", True), ("resnet18_cifar", False)],
)
def test_published_weights_are_known_for_every_family(model: str, published: bool) -> None:
    assert has_published_weights(model) is published


@pytest.mark.parametrize("prefix_cache", [True, False])
def test_probe_needs_no_cache_and_finds_the_same_without_it(
    prefix_cache: bool, colours: Path, backbone: str, tmp_path: Path
) -> None:
    _, log = _train(colours, tmp_path, weights=backbone, prefix_cache=prefix_cache, precision="float32", head="16")
    assert "advice: 1" in log, "a head of several layers is no obstacle"
