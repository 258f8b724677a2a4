"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder

# How long an example takes says how busy the machine is, and nothing about what it tests.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the data sets and weights that lie outside the project; tests skip where it is absent."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip(f"needs the shared data at {path}")
    return path


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two test processes on two cores: more threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Packs of the tests go into a folder of their own, never into the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("SACCADE_CACHE")
    os.environ["SACCADE_CACHE"] = str(folder)
    yield folder
    os.environ.pop("SACCADE_CACHE")
    if before is not None:
        os.environ["SACCADE_CACHE"] = before


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of 20×24 pixels in three classes that a network tells apart at once: red, green, blue noise."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("blue", "green", "red")):
        (root / name).mkdir()
        for number in range(20):
            pixels = rng.integers(0, 100, (20, 24, 3), dtype=np.uint8)
            pixels[:, :, 2 - channel] += 150
            Image.fromarray(pixels).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def finished(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of lenet5 on `colours`, trained through the pipeline, to look at but not to change."""
    recipe = make_recipe("scratch", {"model": "lenet5", "epochs": 6, "batch_size": 8, "workers": 1, "device": "cpu"})
    return train(recipe, colours, Place(tmp_path_factory.mktemp("project"), "finished"))
