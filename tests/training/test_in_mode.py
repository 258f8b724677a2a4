"""training/precision.py: rounded layers, exact weights."""

from __future__ import annotations

import copy

import pytest
import torch

from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.training.precision import Rounded, trial_step
from saccade.training.step import loss_of, update

IMAGES = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3
CPU = torch.device("cpu")


def _network(model: str = "resnet18_cifar") -> torch.nn.Module:
    return build_network(NetworkSpec(model, 3, 32, 3), seed=1)


def test_rounded_logits_are_float32_and_close_and_not_the_same() -> None:
    network = _network()
    network.eval()
    with torch.no_grad():
        exact, rounded = network(IMAGES), Rounded(network, CPU, torch.bfloat16)(IMAGES)
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert float((exact - rounded).norm() / exact.norm()) < 0.03


def test_step_in_bfloat16_leaves_weights_gradients_and_statistics_in_float32_and_close() -> None:
    networks = [_network(), _network()]
    for network, rounded in zip(networks, (False, True), strict=True):
        learner = Rounded(network, CPU, torch.bfloat16) if rounded else network
        network.train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        loss = update(learner, optimizer, IMAGES, LABELS, 0.0).loss
        assert loss.dtype == torch.float32
    exact, close = (network.state_dict() for network in networks)
    for name, value in exact.items():
        assert close[name].dtype == value.dtype
        if value.is_floating_point():
            assert torch.allclose(close[name], value, rtol=0.05, atol=2e-3), name
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in networks[1].parameters())


def test_auxiliary_classifiers_reach_the_loss_in_float32() -> None:
    network = build_network(NetworkSpec("googlenet", 3, 64), seed=1).train()
    images = torch.nn.functional.interpolate(IMAGES.float(), 64)
    outputs = Rounded(network, CPU, torch.bfloat16).training_outputs(images)
    assert outputs.auxiliary
    assert all(logits.dtype == torch.float32 for logits in outputs.auxiliary.values())
    assert torch.isfinite(loss_of(network, outputs, LABELS, 0.1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_trial_step_changes_neither_the_learner_nor_random_numbers(dtype: torch.dtype) -> None:
    network = build_network(NetworkSpec("alexnet_bn", 3, 80), seed=1).train()  # BatchNorm and dropout
    images = torch.nn.functional.interpolate(IMAGES.float(), 80)
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    first, second = trial_step(network, images, dtype), trial_step(network, images, dtype)
    assert torch.equal(first, second), "dropout is the same in every trial"
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
