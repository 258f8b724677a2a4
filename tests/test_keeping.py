"""keeping.py: what a whole run keeps of its frozen stages, says about it, and gets from it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from saccade.data.pack import cache_folder
from saccade.learning import Own
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.models.weights import save_network
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder
from saccade.screen import Bar, QuietScreen


class Lines:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")

    def bar(self, label: str, total: int) -> AbstractContextManager[Bar]:
        return QuietScreen().bar(label, total)

    def with_word(self, word: str) -> list[str]:
        return [line for line in self.lines if word in line]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network in a file, as pretrained weights; its head is of other classes."""
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    save_network(path, build_network(NetworkSpec("lenet5", 7, 32, 3, "gap"), seed=3), {})
    return str(path)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))


def _train(
    colours: Path, backbone: str, tmp_path: Path, recipe: str = "features", **changes: object
) -> tuple[RunFolder, Lines]:
    screen = Lines()
    fields = {
        "model": "lenet5",
        "head": "gap",
        "weights": backbone,
        "image_size": 32,
        "workers": 1,
        "batch_size": 8,
        "epochs": 4,
        "device": "cpu",
        "precision": "float32",
    }
    run = train(make_recipe(recipe, fields | changes), colours, Place(tmp_path / "runs"), screen)
    return run, screen


def _losses(run: RunFolder) -> list[float]:
    return [row[name] for row in run.results for name in ("train_loss", "val_loss")]


def test_run_with_kept_features_has_the_losses_and_predictions_of_one_without(
    colours: Path, backbone: str, tmp_path: Path
) -> None:
    changes = {"solve_head": False, "train": "last-1", "recipe": "finetune", "learning_rate": 1e-3}
    kept, screen = _train(colours, backbone, tmp_path, **changes)  # type: ignore[arg-type]
    whole, said = _train(colours, backbone, tmp_path, prefix_cache=False, **changes)  # type: ignore[arg-type]
    assert screen.with_word("kept: ")
    assert said.with_word("--no-prefix-cache")
    assert not said.with_word("kept: ")
    assert _losses(kept) == pytest.approx(_losses(whole), abs=1e-4)
    assert [row["predicted"] for row in kept.predictions] == [row["predicted"] for row in whole.predictions]
    assert kept.metrics["test"]["accuracy"] == whole.metrics["test"]["accuracy"]


def test_run_with_kept_views_has_the_losses_of_one_without(colours: Path, backbone: str, tmp_path: Path) -> None:
    changes = {"solve_head": False, "train": "last-1", "recipe": "finetune+augment", "views": 2, "learning_rate": 1e-3}
    kept, screen = _train(colours, backbone, tmp_path, **changes)  # type: ignore[arg-type]
    whole, _ = _train(colours, backbone, tmp_path, prefix_cache=False, **changes)  # type: ignore[arg-type]
    assert screen.with_word("2 views of each training picture")
    assert screen.with_word("epoch 3 the first again")
    assert _losses(kept) == pytest.approx(_losses(whole), abs=1e-4)


def test_second_run_computes_nothing_again_and_gives_the_same(colours: Path, backbone: str, tmp_path: Path) -> None:
    first, screen = _train(colours, backbone, tmp_path)
    second, again = _train(colours, backbone, tmp_path)
    assert screen.with_word("features of the frozen stages: 60 computed, 0 reused")
    assert again.with_word("features of the frozen stages: 0 computed, 60 reused")
    assert _losses(first) == _losses(second)


@pytest.fixture(scope="module")
def first(colours: Path, backbone: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Path]:
    """A run, and the cache that it leaves behind: to be copied."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SACCADE_CACHE", str(folder / "cache"))
        return _train(colours, backbone, folder)[0], folder / "cache"


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        ({"head": "gap:16", "solve_head": False}, ""),
        ({"learning_rate": 1e-2, "batch_size": 16}, ""),
        ({"image_size": 40}, "train val test"),
        ({"augment": "light", "views": 1}, "train"),
        ({"precision": "bfloat16"}, "train val"),
        ({"train": "last-1", "recipe": "finetune"}, "train val test"),
        ({"fit": "crop"}, "train val test"),
    ],
)
def test_change_of_what_features_depend_on_computes_them_anew_and_no_other_does(
    changes: dict[str, object], anew: str, first: tuple[RunFolder, Path], colours: Path, backbone: str, tmp_path: Path
) -> None:
    run, cache = first
    shutil.copytree(cache, tmp_path / "cache")
    _, screen = _train(colours, backbone, tmp_path, **changes)  # type: ignore[arg-type]
    [line] = screen.with_word("features of the frozen stages:")
    assert f": {sum(part in anew.split() for part in run.splits.values())} computed" in line


def test_changed_picture_computes_features_anew(backbone: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    _train(tmp_path / "pictures", backbone, tmp_path)
    Image.fromarray(255 - pixels).save(tmp_path / "pictures" / "b" / "9.png")
    _, screen = _train(tmp_path / "pictures", backbone, tmp_path)
    assert screen.with_word("features of the frozen stages: 20 computed")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cache_budget": 1e-6}, "the budget is 1e-06"),
        ({"epochs": 1, "solve_head": False}, "1 epoch would use what is kept once only"),
        ({"epochs": 3, "views": 3, "augment": "light", "solve_head": False}, "3 epochs would use"),
        ({"augment": "light", "solve_head": False}, "--views 5"),
        ({"prefix_cache": False}, "--no-prefix-cache"),
        ({"mixup": 0.2}, "--mixup and --cutmix mix pixels"),
        ({"cutmix": 1.0, "solve_head": False}, "--mixup and --cutmix mix pixels"),
    ],
)
def test_keeping_that_does_not_pay_is_not_done_and_said(
    changes: dict[str, object], reason: str, colours: Path, backbone: str, tmp_path: Path
) -> None:
    run, screen = _train(colours, backbone, tmp_path, **changes)  # type: ignore[arg-type]
    [line] = screen.with_word("computed anew in every epoch")
    assert reason in line
    assert not (cache_folder() / "features").exists()
    assert run.metrics["test"]["num_pictures"] > 0


def test_own_augmentation_is_applied_and_nothing_is_kept(colours: Path, backbone: str, tmp_path: Path) -> None:
    shapes: list[tuple[int, ...]] = []

    def own(images: Tensor, generator: torch.Generator) -> Tensor:
        shapes.append(tuple(images.shape))
        return images + 20 * torch.rand(1, generator=generator)

    fields = {"model": "lenet5", "head": "gap", "weights": backbone, "image_size": 32, "workers": 1, "device": "cpu"}
    recipe = make_recipe("finetune", fields | {"views": 2, "augment": "none", "epochs": 2, "solve_head": False})
    screen = Lines()
    train(recipe, colours, Place(tmp_path / "runs"), screen, Own(augment_with=own))
    [line] = screen.with_word("computed anew in every epoch")
    assert "augment_with can do anything" in line
    assert len(shapes) >= 2  # an epoch is one batch of 36
    assert all(shape[1:] == (3, 32, 32) for shape in shapes)


def test_damaged_features_are_computed_again_and_the_run_is_the_same(
    colours: Path, backbone: str, tmp_path: Path
) -> None:
    first, _ = _train(colours, backbone, tmp_path)
    for path in (cache_folder() / "features").glob("*/features.bin"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    second, screen = _train(colours, backbone, tmp_path)
    [line] = screen.with_word("features of the frozen stages:")
    assert ": 0 computed" not in line
    assert _losses(first) == _losses(second)


def test_disk_that_refuses_features_lets_the_run_go_on_without(
    colours: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("saccade.keeping.fill_store", refuse)
    run, screen = _train(colours, backbone, tmp_path)
    assert screen.with_word("warning: features cannot be kept: No space left on device")
    assert run.metrics["test"]["num_pictures"] > 0


def test_features_of_old_runs_make_room_for_new_ones(colours: Path, backbone: str, tmp_path: Path) -> None:
    _train(colours, backbone, tmp_path)
    features = cache_folder() / "features"
    used = sum(path.stat().st_size for path in features.glob("*/features.bin"))
    _train(colours, backbone, tmp_path, precision="bfloat16", cache_budget=1.2 * used / 2**30)
    assert sum(path.stat().st_size for path in features.glob("*/features.bin")) <= 1.2 * used


_MEASURE = """
import json, sys
from pathlib import Path
import numpy as np, torch
from saccade.data.batches import Batches
from saccade.keeping import Pixels, keep_frozen
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.presets import make_recipe
from saccade.screen import QuietScreen
from saccade.training.freeze import freeze
from saccade.training.prefix import Prefix

def highest():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

torch.set_num_threads(1)
images = np.lib.format.open_memmap(sys.argv[1], mode="r")
labels = np.arange(len(images)) % 3
network = build_network(NetworkSpec("cnn4", 3, 32, 3))
freeze(network, "last-3")
part = lambda first, last: Batches(images, labels, np.arange(first, last), 64, 32, torch.device("cpu"), 0)
pixels = Pixels(part(0, 3_980), part(3_980, 3_990), part(3_990, 4_000), "these pictures")
Prefix(network, torch.float32)(pixels.train.pictures(np.arange(512), 0))  # what a batch needs, libraries and all
begin = highest()
way = keep_frozen(network, pixels, make_recipe("finetune", {"precision": "float32"}).resolved(), QuietScreen())
filled = highest()
for epoch in (1, 2):
    for batch in way.train.epoch(epoch):
        pass
kept = sum(path.stat().st_size for path in Path(sys.argv[2]).rglob("features.bin"))
print(json.dumps({"filling": filled - begin, "reading": highest() - begin, "kept": kept}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the highest resident size from /proc")
def test_keeping_four_thousand_pictures_needs_no_more_memory_than_the_budget_and_a_batch(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4_000, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    cache = cache_folder()
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / "images.npy"), str(cache)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found["kept"] == 4_000 * 128 * 16 * 16 * 4, "half a GiB, of a budget of 8, and eight times a batch"
    batch = 512 * 128 * 16 * 16 * 4
    assert found["filling"] <= batch, found
    assert found["reading"] <= found["kept"] + batch, found
