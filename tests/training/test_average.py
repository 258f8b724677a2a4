"""The moving average of the weights, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.training.average import Average

IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


def _network() -> Network:
    return build_network(NetworkSpec("resnet18_cifar", 3, 32, 3), seed=1).train()


def _step(network: Network) -> None:
    """Something that moves weights and BatchNorm's statistics."""
    network(IMAGES)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(0.9).add_(0.01)


def _warmed_up(averaged: list[torch.Tensor], current: list[torch.Tensor], num_averaged: torch.Tensor) -> None:
    # torch counts the first copy too
    number = int(num_averaged) - 1
    decay = min(0.3, (1 + number) / (10 + number))
    for mine, theirs in zip(averaged, current, strict=True):
        if mine.is_floating_point():
            mine.copy_(decay * mine + (1 - decay) * theirs)


def test_average_equals_torchs_averaged_model_with_buffers() -> None:
    network = _network()
    ours = Average(network, 0.3)
    theirs = AveragedModel(network, multi_avg_fn=_warmed_up, use_buffers=True)
    theirs.update_parameters(network)
    for _ in range(6):
        _step(network)
        ours.update()
        theirs.update_parameters(network)
    expected = dict(theirs.module.state_dict())
    assert any("running_mean" in name for name in ours.kept)
    for name, kept in ours.kept.items():
        torch.testing.assert_close(kept, expected[name])


def test_average_begins_fast_and_then_keeps_its_decay() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = Average(network, 0.5)
    with torch.no_grad():
        network.weight.fill_(1.0)
        average.kept["weight"].zero_()
    average.update()
    assert average.kept["weight"].item() == pytest.approx(0.9)
    for _ in range(30):
        average.update()
    average.kept["weight"].zero_()
    average.update()
    assert average.kept["weight"].item() == pytest.approx(0.5)


def test_average_is_shown_within_and_the_weights_come_back_to_the_bit() -> None:
    network = _network()
    average = Average(network, 0.9)
    _step(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kept = {name: value.clone() for name, value in average.kept.items()}
    with average.shown():
        assert all(torch.equal(network.state_dict()[name], value) for name, value in kept.items())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(average.kept[name], value) for name, value in kept.items())


def test_frozen_weights_are_not_averaged() -> None:
    network = _network()
    network.stages.requires_grad_(False)
    assert {
        name for name in Average(network, 0.9).kept if name.startswith("stages") and name.endswith("weight")
    } == set()


def test_average_of_other_weights_begins_anew() -> None:
    network = _network()
    average = Average(network, 0.9)
    _step(network)
    average.set_state({}, 17)
    assert average.num_updates == 0
    assert torch.equal(average.kept["head.logits.weight"], network.state_dict()["head.logits.weight"])
