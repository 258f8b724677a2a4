"""A picture has the same answer, to the bit, alone and among others, by every way in; and a picture that crashes the
decoder costs itself only."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation, prepare
from saccade.evaluation.looks import SeveralLooks
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.modes import Mode
from saccade.trained import TrainedNetwork
from saccade.use.answer import Answerer, Wanted
from saccade.use.fast import FastNetwork, Speed, batch_size, folded_copy
from saccade.use.inputs import Named, named
from saccade.use.model_hash import model_hash
from saccade.use.squares import Encoded

CPU = torch.device("cpu")
NETWORKS = ("lenet5", "resnet18", "googlenet", "densenet121", "timm/test_resnet", "timm/test_vit")


def _network(model: str, num_classes: int = 5) -> TrainedNetwork:
    """Random weights, and statistics of BatchNorm that are not 0 and 1, so that folding them is no empty act."""
    network = build_network(NetworkSpec(model, num_classes, 32 if model == "lenet5" else 64), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) / 10)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    side = network.spec.image_size or 32
    names = tuple(f"class {number}" for number in range(num_classes))
    return TrainedNetwork(network, names, Preparation(side, 3, "crop", DecodeRules()))


@pytest.fixture(scope="module")
def photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of 11 real photographs: not a whole number of batches."""
    target = tmp_path_factory.mktemp("photographs") / "some.zip"
    with (
        zipfile.ZipFile(shared / "data" / "cats_and_dogs_small.zip") as source,
        zipfile.ZipFile(target, "w") as archive,
    ):
        names = [name for name in source.namelist() if name.lower().endswith(".jpg")]
        for name in names[:: len(names) // 11][:11]:
            archive.writestr(name, source.read(name))
    return target


@pytest.mark.parametrize("model", NETWORKS)
def test_f17_picture_has_the_same_bits_alone_and_among_others(model: str, photographs: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(photographs) as archive:
        archive.extractall(tmp_path)
        sent = [Named(name, Encoded(name, archive.read(name))) for name in archive.namelist()]
        paths = [tmp_path / name for name in archive.namelist()]
    answerer, wanted = Answerer(_network(model), CPU, workers=1), Wanted(top=5)
    together = [one.guesses for one in answerer.answer(named(photographs), wanted)]
    alone = [answerer.answer(named(path), wanted)[0].guesses for path in paths[::4]]
    backwards = [one.guesses for one in answerer.answer(sent[::-1], wanted)]
    another = Answerer(_network(model), CPU, workers=1)
    again = [one.guesses for one in another.answer(named(paths), wanted)]
    assert together == backwards[::-1] == again
    assert together[::4] == alone
    assert len({guesses[0].probability for guesses in together}) == 11


@pytest.mark.parametrize("model", NETWORKS)
def test_folded_network_gives_what_the_network_gives(model: str, photographs: Path) -> None:
    trained = _network(model)
    with zipfile.ZipFile(photographs) as archive:
        names = archive.namelist()
        squares = [prepare(archive.read(name), name, trained.preparation).pixels for name in names]
    images = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = trained.network(images)
        mirrored = SeveralLooks(trained.network, "flip")(images)
    fast = FastNetwork(trained.network)
    assert torch.allclose(fast.logits(squares), expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(fast.logits(squares, "flip"), mirrored, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("model", "left"), [("resnet18", 0), ("timm/test_resnet", 0)])
def test_batch_norm_behind_convolutions_is_gone(model: str, left: int) -> None:
    network = _network(model).network
    before = [type(module) for module in network.modules()]
    found = [module for module in folded_copy(network).modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(found) == left
    assert [type(module) for module in network.modules()] == before


@pytest.mark.parametrize(
    ("multiply_adds", "size"), [(4_000_000, 64), (1_800_000_000, 8), (4_100_000_000, 4), (10**12, 4)]
)
def test_batches_are_smaller_for_larger_networks(multiply_adds: int, size: int) -> None:
    assert batch_size(multiply_adds, CPU) == size


def test_precision_that_is_asked_for_is_used() -> None:
    trained = _network("resnet18")
    squares = [np.full((64, 64, 3), level, dtype=np.uint8) for level in (10, 90, 200)]
    half = FastNetwork(trained.network, Speed("bfloat16"))
    exact = FastNetwork(trained.network)
    assert half.mode == Mode("bfloat16")
    share = (half.logits(squares) - exact.logits(squares)).norm() / exact.logits(squares).norm()
    assert 1e-5 < float(share) < 0.03


def test_hash_of_a_model_changes_with_a_weight_and_with_a_name() -> None:
    trained, same, other = _network("lenet5"), _network("lenet5"), _network("lenet5")
    with torch.no_grad():
        next(other.network.parameters()).view(-1)[0] += 1e-3
    assert model_hash(trained) == model_hash(same)
    renamed = same._replace(class_names=("a", *same.class_names[1:]))
    assert len({model_hash(trained), model_hash(other), model_hash(renamed)}) == 3


FAULTY = """
import os, signal
from saccade.use.squares import read_squares as read_well

def read_squares(items, preparation):
    for item in items:
        if "crash" in item.name:
            os.kill(os.getpid(), signal.SIGSEGV)
        yield from read_well([item], preparation)
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A decoder that some pictures crash; children import it."""
    (tmp_path / "faulty_squares.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    import faulty_squares  # type: ignore[import-not-found]

    monkeypatch.setattr("saccade.use.answer.read_squares", faulty_squares.read_squares)
    yield
    sys.modules.pop("faulty_squares")


@pytest.mark.usefixtures("faulty")
def test_a22_picture_that_crashes_the_decoder_costs_itself_only(colours: Path, tmp_path: Path) -> None:
    good = (colours / "red" / "00.png").read_bytes()
    names = [f"{'crash' if number in (3, 4, 11) else 'fine'}{number}.png" for number in range(20)]
    answers = Answerer(_network("lenet5"), CPU, workers=1).answer([Named(name, Encoded(name, good)) for name in names])
    assert [one.reason for one in answers] == ["decoder_crashed" if "crash" in name else "" for name in names]
    assert [one.name for one in answers] == names
