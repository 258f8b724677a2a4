"""network_choice.py: a network is chosen for the pictures where none was named, kept, and the reason is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from saccade.data.listing import Listing
from saccade.data.sources.open import open_pictures
from saccade.errors import ResourceError
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.models.published import PublishedWeights
from saccade.models.weights import save_network
from saccade.network_choice import with_network
from saccade.pipeline import Place, pack_ahead, train
from saccade.presets import make_recipe
from saccade.recipe import Recipe
from saccade.screen import QuietScreen

Pictures = Callable[[int], Path]


class Listener(QuietScreen):
    """Hears what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """An .npz of two classes, dark and light, of squares with the side that is asked for."""

    def make(side: int) -> Path:
        rng = np.random.default_rng(0)
        labels = np.arange(40) % 2
        images = (rng.integers(0, 80, (40, side, side, 3)) + 150 * labels[:, None, None, None]).astype(np.uint8)
        path = tmp_path / f"of{side}.npz"
        np.savez(path, images=images, labels=labels)
        return path

    return make


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(published: PublishedWeights) -> Path:
        raise ResourceError(f"{published.in_words()} could not be downloaded: no such host")

    monkeypatch.setattr("saccade.network_choice.fetch", fetch)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A network to fetch from, and what was fetched."""
    fetched: list[str] = []

    def fetch(published: PublishedWeights) -> Path:
        fetched.append(published.model)
        return Path(published.file_name)

    monkeypatch.setattr("saccade.network_choice.fetch", fetch)
    return fetched


@pytest.fixture
def backbone(tmp_path: Path) -> str:
    path = tmp_path / "backbone.safetensors"
    save_network(path, build_network(NetworkSpec("alexnet_cifar", 7, 32, 3), seed=3), {})
    return str(path)


def _chosen(path: Path, preset: str = "advice", **changes: object) -> tuple[Recipe, str]:
    listing, screen = open_pictures(path), Listener()
    found = with_network(make_recipe(preset, changes), listing, screen)
    return found, "\n".join(screen.lines)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("side", "model"), [(8, "lenet5"), (40, "lenet5"), (41, "resnet18"), (300, "resnet18")])
def test_size_of_the_pictures_decides(pictures: Pictures, side: int, model: str) -> None:
    found, said = _chosen(pictures(side))
    assert found.model == model
    assert f"about {side}×{side} pixels, so {model}" in said
    assert "--model NAME" in said


def test_photographs_begin_from_published_weights_where_they_can_be_had(pictures: Pictures, online: list[str]) -> None:
    found, said = _chosen(pictures(100), seed=3)
    assert online == ["resnet18"]
    assert found == make_recipe("advice", {"model": "resnet18", "seed": 3})
    assert "many photographs" in said


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("side", [300, 41])
def test_photographs_without_weights_are_seen_smaller_from_random_ones(pictures: Pictures, side: int) -> None:
    found, said = _chosen(pictures(side), seed=3)
    assert found == make_recipe("scratch", {"model": "resnet18", "image_size": 64, "seed": 3})
    assert "could not be fetched (no such host)" in said
    assert "random weights at 64×64 pixels" in said
    assert "--weights FILE" in said


@pytest.mark.usefixtures("offline")
def test_photographs_without_weights_keep_the_size_that_was_asked_for(pictures: Pictures) -> None:
    assert _chosen(pictures(100), image_size=160)[0].image_size == 160


@pytest.mark.parametrize("changes", [{"weights": "none"}, {"preset": "scratch"}])
def test_photographs_that_are_to_begin_at_random_ask_no_network(
    pictures: Pictures, online: list[str], changes: dict[str, str]
) -> None:
    found, said = _chosen(pictures(100), **changes)  # type: ignore[arg-type]
    assert online == []
    assert (found.model, found.weights, found.image_size) == ("resnet18", "none", 64)
    assert "could not be fetched" not in said


@pytest.mark.parametrize("preset", ["features", "finetune", "full"])
def test_recipes_that_need_weights_get_a_network_that_has_them(pictures: Pictures, preset: str) -> None:
    found, _ = _chosen(pictures(8), preset)
    assert (found.recipe, found.model, found.weights) == (preset, "resnet18", "default")


@pytest.mark.parametrize("side", [8, 100])
def test_file_of_weights_brings_its_network(pictures: Pictures, backbone: str, side: int) -> None:
    found, said = _chosen(pictures(side), weights=backbone)
    assert found.model == "alexnet_cifar"
    assert "to which backbone.safetensors belongs" in said


@pytest.mark.parametrize(("preset", "model"), [("advice", "cnn4"), ("sprint", None)])
def test_named_network_stays_and_the_pictures_are_not_looked_at(preset: str, model: str | None) -> None:
    asked = make_recipe(preset, {"model": model})
    nothing = Listing("nothing", (), np.empty(0, np.int64), (), np.empty(0, np.str_))
    screen = Listener()
    assert with_network(asked, nothing, screen) is asked
    assert screen.lines == []


QUICK: dict[str, object] = {"epochs": 2, "batch_size": 8, "workers": 1, "device": "cpu"}


@pytest.mark.usefixtures("offline")
def test_run_keeps_the_network_that_was_chosen_and_goes_on_with_it(pictures: Pictures, tmp_path: Path) -> None:
    place = Place(tmp_path / "runs")
    run = train(make_recipe("advice", QUICK), pictures(41), place)
    written = yaml.safe_load((run.path / "recipe.yaml").read_text())
    assert (written["model"], written["image_size"], written["recipe"]) == ("resnet18", 64, "scratch")
    assert "network: the pictures have about 41×41 pixels" in run.log_path.read_text()
    (run.path / "metrics.json").unlink()  # as if it had been stopped before the end
    again = train(make_recipe("advice", QUICK), pictures(41), place._replace(resume="newest"))
    assert again.path == run.path
    assert again.recipe == run.recipe


def test_pack_ahead_is_the_pack_that_training_finds(pictures: Pictures, tmp_path: Path) -> None:
    recipe = make_recipe("advice", QUICK)
    ahead = pack_ahead(recipe, pictures(8))
    run = train(recipe, pictures(8), Place(tmp_path / "runs"))
    assert f"reused, nothing changed ({ahead.folder})" in run.log_path.read_text()
    assert run.recipe.model == "lenet5"
