"""training/linear_head.py: the linear layer of a head is found whatever the network is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.training.linear_head import find_linear_head, head_inputs


class _Batch(NamedTuple):
    images: Tensor
    labels: Tensor


class _Batches(NamedTuple):
    """Two batches of pictures."""

    images: Tensor
    labels: Tensor

    @property
    def num_pictures(self) -> int:
        return len(self.labels)

    @property
    def num_batches(self) -> int:
        return 2

    def epoch(self, epoch: int) -> Iterator[_Batch]:
        for part in (slice(0, 4), slice(4, None)):
            yield _Batch(self.images[part], self.labels[part])


def _images(side: int, num: int = 6) -> Tensor:
    return torch.randint(0, 256, (num, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("model", "size", "head", "width"),
    [
        ("resnet18", 64, None, 512),
        ("googlenet", 64, None, 1024),  # dropout in front of it
        ("densenet_cifar", 32, None, 342),
        ("cnn1", 32, None, 32 * 15 * 15),
        ("vgg11", 32, "gap", 512),
        ("vgg11", 32, "flatten", 512),
        ("timm/resnet18", 64, None, 512),
        ("timm/vit_tiny_patch16_224", 64, None, 192),
        ("timm/convnext_atto", 64, None, 320),  # a LayerNorm in front of it
    ],
)
def test_linear_head_is_found_and_its_inputs_times_its_weights_are_the_logits(
    model: str, size: int, head: str | None, width: int
) -> None:
    network = build_network(NetworkSpec(model, 4, size, 3, head))
    images, labels = _images(size), torch.arange(6) % 4
    found = find_linear_head(network, images[:2])
    assert found is not None
    inputs = head_inputs(network, found, _Batches(images, labels), range(2))
    assert inputs.features.shape == (12, width), "six pictures in two epochs"
    with torch.no_grad():
        logits = network.eval()(images)
    expected = F.linear(inputs.features[:6], found.layer.weight, found.layer.bias)
    assert torch.allclose(expected, logits, atol=1e-5)
    assert torch.equal(inputs.labels, torch.cat([labels, labels]))


@pytest.mark.parametrize(
    ("model", "size", "head"),
    [("lenet5", 32, None), ("vgg11", 32, "128,64"), ("vgg11", 64, None), ("timm/mobilenetv3_small_100", 64, None)],
)
def test_head_of_several_layers_is_no_linear_head(model: str, size: int, head: str | None) -> None:
    assert find_linear_head(build_network(NetworkSpec(model, 3, size, 3, head)), _images(size)) is None


def test_average_of_two_linear_layers_is_no_linear_head() -> None:
    network = build_network(NetworkSpec("timm/deit_tiny_distilled_patch16_224", 3, 64))
    assert find_linear_head(network, _images(64)) is None


def test_sigmoid_unit_takes_the_difference_of_two_classes_and_answers_the_same() -> None:
    network = build_network(NetworkSpec("densenet_cifar", 2, 32, 3, "gap:sigmoid"))
    images = _images(32)
    found = find_linear_head(network, images)
    assert found is not None
    assert found.one_unit
    inputs = head_inputs(network, found, _Batches(images, torch.tensor([0, 1, 0, 1, 0, 1])), range(1))
    weight, bias = torch.randn(2, inputs.features.shape[1]), torch.randn(2)
    found.set(weight, bias)
    with torch.no_grad():
        ours = torch.softmax(network(images), dim=1)
    assert torch.allclose(ours, torch.softmax(F.linear(inputs.features, weight, bias), dim=1), atol=1e-5)


@pytest.mark.parametrize("head", ["gap", "gap:sigmoid"])
def test_judge_gives_the_loss_and_accuracy_of_the_whole_network(head: str) -> None:
    network = build_network(NetworkSpec("densenet_cifar", 2, 32, 3, head))
    images, labels = _images(32), torch.tensor([0, 1, 1, 1, 0, 1])
    found = find_linear_head(network, images)
    assert found is not None
    tally = found.judge(head_inputs(network, found, _Batches(images, labels), range(1)))
    with torch.no_grad():
        logits = network(images)
    assert tally.loss == pytest.approx(float(F.cross_entropy(logits, labels)), abs=1e-5)
    assert tally.accuracy == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
