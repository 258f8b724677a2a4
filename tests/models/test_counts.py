"""Parameter counts: the published ones, torchvision's own, and sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from saccade.models.catalogue import CATALOGUE, build_network
from saccade.models.network import Network, NetworkSpec

IN_TORCHVISION = [name for name, entry in CATALOGUE.items() if entry.torchvision_name]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(model: str, num_classes: int = 1000, size: int | None = None, head: str | None = None) -> Network:
    with torch.device("meta"):
        return build_network(NetworkSpec(model, num_classes, size, CATALOGUE[model].in_channels, head))


@pytest.mark.parametrize(
    ("model", "num_classes", "parameters"),
    [
        ("cnn1", 10, 54_410),
        ("cnn4", 3, 2_283_779),
        ("lenet5", 10, 62_006),
        ("alexnet", 1000, 61_100_840),
        ("alexnet_cifar", 10, 2_472_266),
        ("vgg16", 1000, 138_357_544),
        ("vgg16_bn", 1000, 138_365_992),
        ("vgg19", 1000, 143_667_240),
        ("googlenet", 1000, 13_004_888),
        ("googlenet_cifar", 10, 6_156_000 + 1024 * 10 + 10),
        ("inception_v3", 1000, 27_161_264),
        ("resnet18", 1000, 11_689_512),
        ("resnet50", 1000, 25_557_032),
        ("resnet152", 1000, 60_192_808),
        ("densenet121", 1000, 7_978_856),
        ("densenet161", 1000, 28_681_000),
        ("densenet169", 1000, 14_149_480),
        ("densenet201", 1000, 20_013_928),
    ],
)
def test_parameters_published_count_is_met(model: str, num_classes: int, parameters: int) -> None:
    assert count(on_meta(model, num_classes)) == parameters


@pytest.mark.parametrize("model", IN_TORCHVISION)
def test_parameters_of_torchvision_are_as_many(model: str) -> None:
    options = {"init_weights": False, "aux_logits": True} if model in {"googlenet", "inception_v3"} else {}
    with torch.device("meta"):
        theirs = torchvision.models.get_model(model, weights=None, **options)
    assert count(on_meta(model)) == count(theirs) == CATALOGUE[model].parameters


@pytest.mark.parametrize(("size", "numbers"), [(227, 58_327_818), (128, 24_773_386)])
def test_alexnet_bn_with_moving_statistics_counts_as_in_keras(size: int, numbers: int) -> None:
    network = on_meta("alexnet_bn", 10, size)
    moving = sum(b.numel() for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var")))
    assert (moving, count(network) + moving) == (2_752, numbers)


def test_alexnet_bn_l2_is_on_convolutions_2_to_5() -> None:
    assert on_meta("alexnet_bn", 10).l2 == {"conv2": 1e-4, "conv3": 1e-4, "conv4": 1e-4, "conv5": 1e-4}


def test_alexnet_lrn_count_is_the_papers_sum() -> None:
    # Kernels as the paper gives them: those of conv 2, 4 and 5 see the maps of one of the two groups only.
    kernels = [(96, 11, 3), (256, 5, 48), (384, 3, 256), (384, 3, 192), (256, 3, 192)]
    convolutions = sum(filters * (side * side * depth + 1) for filters, side, depth in kernels)
    dense = sum((ins + 1) * outs for ins, outs in [(6 * 6 * 256, 4096), (4096, 4096), (4096, 1000)])
    assert count(on_meta("alexnet_lrn")) == convolutions + dense == CATALOGUE["alexnet_lrn"].parameters


def test_vgg16_without_top_counts_14_714_688() -> None:
    assert count(on_meta("vgg16").stages) == 14_714_688


def test_vgg16_with_own_head_splits_into_learning_and_frozen() -> None:
    network = on_meta("vgg16", 3, head="128,64,32")
    learning = count(network.head) + count(network.stages.get_submodule("block5_conv3"))
    assert (count(network), learning, count(network) - learning) == (17_936_515, 5_581_635, 12_354_880)


@pytest.mark.parametrize(("head", "weights"), [("gap:512", 262_656), ("512", 4_194_816)])
def test_vgg16_dense_512_behind_pooling_needs_a_sixteenth(head: str, weights: int) -> None:
    assert count(on_meta("vgg16", 10, 128, head).head.get_submodule("fc1")) == weights


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnet_cifar_differs_from_its_sister_in_the_stem_alone(depth: int) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(f"resnet{depth}", num_classes=10)
    expected = count(theirs) - 64 * 3 * 7 * 7 + 64 * 3 * 3 * 3
    assert count(on_meta(f"resnet{depth}_cifar", 10)) == expected == CATALOGUE[f"resnet{depth}_cifar"].parameters


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_narrow_resnets_count_as_in_table_6_of_the_paper(depth: int, millions: float) -> None:
    # 6n + 2 layers: one convolution from the picture, 2n at each of three widths, one linear layer; shortcuts are free.
    pairs = [(3, 16)]
    for width in (16, 32, 64):
        pairs += [(pairs[-1][1], width)] + [(width, width)] * ((depth - 2) // 3 - 1)
    total = sum(9 * before * after + 2 * after for before, after in pairs) + 64 * 10 + 10
    assert len(pairs) + 1 == depth
    assert count(on_meta(f"resnet{depth}_cifar", 10)) == total == CATALOGUE[f"resnet{depth}_cifar"].parameters
    assert math.isclose(total, millions * 1e6, rel_tol=0.03)


def test_shortcut_of_a_narrow_resnet_drops_places_and_adds_zeros() -> None:
    network = build_network(NetworkSpec("resnet20_cifar", 10, 32), seed=0).eval()
    block = network.stages.get_submodule("layer2_0")
    for name in ("bn1", "bn2"):
        torch.nn.init.zeros_(getattr(block, name).weight)  # the convolutions add nothing
    maps = torch.rand(2, 16, 8, 6)
    found = block(maps).detach().numpy()
    assert found.shape == (2, 32, 4, 3)
    np.testing.assert_array_equal(found[:, :16], maps.numpy()[:, :, ::2, ::2])
    assert not found[:, 16:].any()


def test_densenet_cifar_count_is_the_papers_sum() -> None:
    # DenseNet-BC, L = 100, k = 12: table 2 of the paper says 0.8 million.
    total, channels, growth = 24 * 3 * 9, 24, 12
    for block in range(3):
        for _ in range((100 - 4) // 6):
            total += 2 * channels + channels * 4 * growth + 2 * 4 * growth + 4 * growth * growth * 9
            channels += growth
        if block < 2:
            total, channels = total + 2 * channels + channels * (channels // 2), channels // 2
    total += 2 * channels + channels * 10 + 10
    assert count(on_meta("densenet_cifar", 10)) == total == CATALOGUE["densenet_cifar"].parameters
    assert math.isclose(total, 0.8e6, rel_tol=0.05)
