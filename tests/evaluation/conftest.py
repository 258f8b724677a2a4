"""A network that is far too sure of itself, to be judged in several ways."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder

CLASSES = ("automobile", "bird", "cat", "ship")


@pytest.fixture(scope="session")
def some_of_cifar(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,600 real pictures of CIFAR-10: 400 of each of four classes, in one folder per class."""
    root = tmp_path_factory.mktemp("cifar")
    with zipfile.ZipFile(shared / "data" / "cifar10.zip") as archive:
        for name in CLASSES:
            (root / name).mkdir()
            members = sorted(each for each in archive.namelist() if each.startswith(f"cifar10/train/{name}/"))
            for number, member in enumerate(members[:400]):
                Image.open(io.BytesIO(archive.read(member))).save(root / name / f"{number:03}.png")
    return root


@pytest.fixture(scope="session")
def overconfident(some_of_cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """LeNet-5 that learned those pictures nearly by heart, without augmentation; asked to be right in 75 %.

    A run keeps the weights of its best epoch, and which one that is depends on how a processor rounds: some are hardly
    too sure. So a second run begins with the last weights and moves them no further.
    """
    project = tmp_path_factory.mktemp("project")
    common = {"model": "lenet5", "batch_size": 32, "augment": "none", "weight_decay": 0.0, "workers": 1}
    common |= {"device": "cpu", "schedule": "constant", "patience": 0, "min_accuracy": 0.75}
    by_heart = make_recipe("scratch", {**common, "epochs": 20, "learning_rate": 0.003})
    last = train(by_heart, some_of_cifar, Place(project, "by-heart")).path / "weights" / "last.safetensors"
    kept = make_recipe("scratch", {**common, "epochs": 1, "learning_rate": 1e-9, "weights": str(last)})
    return train(kept, some_of_cifar, Place(project, "overconfident"))
