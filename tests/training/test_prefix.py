"""training/prefix.py: training from kept features is the same training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from saccade.data.augment import Augmentation
from saccade.data.batches import Batches
from saccade.models.catalogue import CATALOGUE, build_network
from saccade.models.network import Network, NetworkSpec
from saccade.presets import make_recipe
from saccade.training.callbacks import EpochResult
from saccade.training.freeze import freeze
from saccade.training.loop import fit
from saccade.training.prefix import CachedBatches, Prefix, Tail, fill_store, layout_of, num_frozen
from saccade.training.sources import Parts
from saccade.training.store import FeatureStore

STANDARD = Augmentation(flip=0.5, shift=0.1, rotation=15, zoom=0.1)


def _pictures(num: int = 60, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of coloured noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, num)
    images = rng.integers(0, 200, (num, side, side, 3), dtype=np.uint8)
    images[np.arange(num), :, :, labels] += 50
    return images, labels.astype(np.int64)


def _batches(augmentation: Augmentation | None, rows: Sequence[int], views: int = 0, size: int = 32) -> Batches:
    images, labels = _pictures()
    where = np.array(rows, dtype=np.int64)
    return Batches(images, labels, where, 16, size, torch.device("cpu"), 5, augmentation, views)


def _network(model: str, train: str, size: int = 32, head: str | None = None) -> Network:
    network = build_network(NetworkSpec(model, 3, size, 3, head), seed=1)
    freeze(network, train)
    return network


def _kept(network: Network, pixels: Batches, views: Sequence[int], folder: Path) -> CachedBatches:
    prefix = Prefix(network, torch.float32)
    layout = layout_of(prefix, pixels)
    stores = {view: FeatureStore(folder / str(view), {"view": view}, layout) for view in views}
    for view, store in stores.items():
        fill_store(store, prefix, pixels, view, lambda rows: None)
    return CachedBatches(pixels, stores, torch.device("cpu"))


def _losses(history: list[EpochResult]) -> list[float]:
    return [value for result in history for value in (result.train_loss, result.val_loss)]


# BatchNorm over maps of a few pixels, and Adam's division by small gradients, make these trainings amplify rounding:
# noise of 1e-7 on the features changes their losses by 0.06 and 1e-4 under AdamW. Plain descent does not.
@pytest.mark.parametrize(
    ("model", "train", "size", "head", "optimizer"),
    [
        ("resnet18", "layer4", 64, None, "adamw"),
        ("resnet18_cifar", "head", 32, None, "adamw"),
        ("vgg11_bn", "block5", 32, "gap:32", "sgd"),
        ("alexnet_bn", "conv4,conv5", 80, "gap", "sgd"),
        ("cnn4", "last-1", 32, None, "adamw"),
        ("googlenet_cifar", "inception5*", 16, None, "sgd"),
        ("timm/convnext_atto", "last-2", 64, None, "adamw"),
        ("timm/vit_tiny_patch16_224", "last-quarter", 64, None, "adamw"),
    ],
)
def test_training_from_kept_features_has_the_losses_and_weights_of_the_whole_way(
    model: str, train: str, size: int, head: str | None, optimizer: str, tmp_path: Path
) -> None:
    recipe = make_recipe("scratch", {"optimizer": optimizer, "learning_rate": 1e-3, "batch_size": 16, "epochs": 5})
    runs: list[tuple[list[float], Tensor, dict[str, Tensor]]] = []
    for kept in (False, True):
        network = _network(model, train, size, head)
        pixels, watching = _batches(Augmentation(), range(40), size=size), _batches(None, range(48, 60), size=size)
        learner: Network | Tail = network
        parts = Parts(pixels, watching)
        if kept:
            learner = Tail(Prefix(network, torch.float32))
            parts = Parts(_kept(network, pixels, [0], tmp_path / "t"), _kept(network, watching, [0], tmp_path / "v"))
        torch.manual_seed(0)  # dropout
        history = fit(learner, parts, recipe.resolved())
        images = watching.pictures(watching.rows, 0)
        with torch.no_grad():
            logits = network.eval()(images)
        runs.append((_losses(history), logits, dict(network.state_dict())))
    (whole, logits_whole, weights_whole), (cached, logits_cached, weights_cached) = runs
    assert cached == pytest.approx(whole, abs=1e-4)
    assert torch.equal(logits_cached.argmax(1), logits_whole.argmax(1))
    assert torch.allclose(logits_cached, logits_whole, atol=1e-3)
    assert whole[0] != whole[2], "something was learnt"
    untrained = _network(model, train, size, head)
    initial, stages = untrained.state_dict(), tuple(f"stages.{stage}." for stage in untrained.frozen_stages)
    frozen = [name for name in initial if name.startswith(stages)]
    assert frozen
    for name in frozen:
        assert torch.equal(initial[name], weights_cached[name]), name
        assert torch.equal(initial[name], weights_whole[name]), name


def test_kept_views_are_exactly_those_the_ordinary_way_shows(tmp_path: Path) -> None:
    network = _network("resnet18_cifar", "layer4")
    pixels = _batches(STANDARD, range(40), views=3)
    kept = _kept(network, pixels, [1, 2, 3], tmp_path)
    prefix = Prefix(network, torch.float32)
    for epoch in range(1, 8):
        ordinary = list(pixels.epoch(epoch))
        assert pixels.view_of(epoch) == (epoch - 1) % 3 + 1
        for batch, features in zip(ordinary, kept.epoch(epoch), strict=True):
            assert torch.equal(batch.labels, features.labels)
            assert torch.allclose(prefix(batch.images), features.images, atol=1e-5)


def test_views_repeat_and_differ_and_fresh_ones_never_repeat() -> None:
    rows = np.arange(10)
    fixed, fresh = _batches(STANDARD, range(10), views=2), _batches(STANDARD, range(10))

    def shown(batches: Batches, epoch: int) -> Tensor:
        return batches.pictures(rows, batches.view_of(epoch))

    assert torch.equal(shown(fixed, 1), shown(fixed, 3))
    assert torch.equal(shown(fixed, 2), shown(fixed, 4))
    assert not torch.equal(shown(fixed, 1), shown(fixed, 2))
    assert torch.equal(shown(fixed, 1), shown(fresh, 1))
    assert not torch.equal(shown(fresh, 1), shown(fresh, 3))


def test_order_of_pictures_differs_between_epochs_of_one_view() -> None:
    batches = _batches(STANDARD, range(40), views=1)
    first, second = (np.concatenate(list(batches.plan(epoch))) for epoch in (1, 2))
    assert not np.array_equal(first, second)
    assert np.array_equal(np.sort(first), np.sort(second))


@pytest.mark.parametrize("model", ["resnet18_cifar", "densenet_cifar", "googlenet_cifar", "vgg11", "lenet5", "cnn1"])
def test_prefix_of_all_stages_ends_where_the_head_begins_to_learn(model: str) -> None:
    size, channels = CATALOGUE[model].image_size, CATALOGUE[model].in_channels
    network = build_network(NetworkSpec(model, 3, min(size, 64), channels))
    freeze(network, "head")
    prefix = Prefix(network, torch.float32)
    images = torch.randint(0, 256, (2, channels, min(size, 64), min(size, 64)), dtype=torch.uint8)
    features = prefix(images)
    assert prefix.num_stages == len(network.stages)
    assert features.shape[0] == 2
    assert features.ndim == 2, "pooled or flattened before it is kept"
    with torch.no_grad():
        assert torch.allclose(Tail(prefix)(features), network.eval()(images), atol=1e-5)


def test_prefix_stops_before_the_first_stage_that_learns_and_dropout_in_the_head_is_not_kept() -> None:
    network = _network("googlenet_cifar", "inception3a")
    first = list(dict(network.stages.named_children())).index("inception3a")
    assert num_frozen(network) == first
    dropout = build_network(NetworkSpec("googlenet", 3, 64))
    freeze(dropout, "head")
    assert [type(layer).__name__ for layer in Prefix(dropout, torch.float32).head_layers] == ["GlobalAveragePool"]
    everything = _network("resnet18_cifar", "all")
    assert num_frozen(everything) == 0


def test_prefix_in_bfloat16_is_close_and_says_its_type() -> None:
    network = _network("resnet18_cifar", "layer4")
    images = _batches(None, range(20)).pictures(np.arange(20), 0)
    exact, rounded = Prefix(network, torch.float32)(images), Prefix(network, torch.bfloat16)(images)
    assert exact.dtype == torch.float32
    assert rounded.dtype == torch.bfloat16
    assert 0 < float((rounded.float() - exact).norm() / exact.norm()) < 0.03


def test_identity_of_a_prefix_changes_with_its_weights_depth_and_type_alone() -> None:
    network = _network("resnet18_cifar", "layer4")
    before = Prefix(network, torch.float32).identity()
    with torch.no_grad():
        network.head.logits.weight.add_(1)
        network.stages.layer4_0.conv1.weight.add_(1)
    assert Prefix(network, torch.float32).identity() == before, "what follows the prefix does not matter"
    assert Prefix(network, torch.bfloat16).identity() != before
    network.normalise.set([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    other_pixels = Prefix(network, torch.float32).identity()
    assert other_pixels != before
    with torch.no_grad():
        network.stages.stem.bn.running_mean[0] += 1e-3
    assert Prefix(network, torch.float32).identity() != other_pixels
    freeze(network, "layer3,layer4")
    assert Prefix(network, torch.float32).identity() != before


def test_batches_of_a_mapped_pack_are_the_same_after_their_memory_was_released(tmp_path: Path) -> None:
    images, labels = _pictures()
    np.save(tmp_path / "images.npy", images)
    mapped = np.lib.format.open_memmap(tmp_path / "images.npy", mode="r")
    batches = replace(_batches(None, range(60)), images=mapped, labels=labels)
    before = batches.pictures(batches.rows, 0).clone()
    batches.release()
    assert torch.equal(batches.pictures(batches.rows, 0), before)
