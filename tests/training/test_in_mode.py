"""training/in_mode.py: rounded or compiled layers, exact weights."""

from __future__ import annotations

import copy

import pytest
import torch

from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.modes import Mode
from saccade.training.in_mode import InMode, trial_step
from saccade.training.loss import Objective, loss_of
from saccade.training.step import Manner, update

IMAGES = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3
CPU = torch.device("cpu")


def _network(model: str = "resnet18_cifar") -> torch.nn.Module:
    return build_network(NetworkSpec(model, 3, 32, 3), seed=1)


def test_rounded_logits_are_float32_and_close_and_not_the_same() -> None:
    network = _network()
    network.eval()
    with torch.no_grad():
        exact, rounded = network(IMAGES), InMode(network, CPU, Mode("bfloat16"), 8)(IMAGES)
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert float((exact - rounded).norm() / exact.norm()) < 0.03


def test_step_in_bfloat16_leaves_weights_gradients_and_statistics_in_float32_and_close() -> None:
    networks = [_network(), _network()]
    for network, rounded in zip(networks, (False, True), strict=True):
        learner = InMode(network, CPU, Mode("bfloat16"), 8) if rounded else network
        network.train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        loss = update(learner, optimizer, IMAGES, LABELS, Manner()).loss
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
    outputs = InMode(network, CPU, Mode("bfloat16"), 8).training_outputs(images)
    assert outputs.auxiliary
    assert all(logits.dtype == torch.float32 for logits in outputs.auxiliary.values())
    assert torch.isfinite(loss_of(network, outputs, LABELS, Objective(0.1)))


@pytest.mark.parametrize("mode", [Mode(), Mode("bfloat16"), Mode("bfloat16", "contiguous")], ids=str)
def test_trial_step_changes_neither_the_learner_nor_random_numbers(mode: Mode) -> None:
    network = build_network(NetworkSpec("alexnet_bn", 3, 80), seed=1).train()  # BatchNorm and dropout
    images = torch.nn.functional.interpolate(IMAGES.float(), 80)
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    first, second = trial_step(network, images, mode)(), trial_step(network, images, mode)()
    assert torch.equal(first, second), "dropout is the same in every trial"
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_compiled_step_is_the_eager_one_to_rounding_and_small_batches_stay_eager() -> None:
    networks = [build_network(NetworkSpec("lenet5", 3, 32), seed=1).train() for _ in range(2)]
    compiled = InMode(networks[1], CPU, Mode(compiled=True), len(IMAGES))
    for images, labels in ((IMAGES, LABELS), (IMAGES[:5], LABELS[:5])):
        outputs = networks[0].training_outputs(images), compiled.training_outputs(images)
        losses = [loss_of(network, each, labels, Objective()) for network, each in zip(networks, outputs, strict=True)]
        for loss in losses:
            loss.backward()
        assert torch.allclose(losses[0], losses[1], atol=1e-6)
    for exact, close in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert exact.grad is not None
        assert close.grad is not None
        assert torch.allclose(exact.grad, close.grad, atol=1e-6)


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_layout_changes_where_weights_lie_and_nothing_else(layout: str) -> None:
    exact, network = _network(), _network()
    learner = InMode(network, CPU, Mode(layout=layout), 8)
    format_of = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    kernels = [each.weight for each in network.modules() if isinstance(each, torch.nn.Conv2d)]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=format_of) for kernel in kernels)
    exact.eval(), network.eval()
    with torch.no_grad():
        assert torch.allclose(exact(IMAGES), learner(IMAGES), atol=1e-4)
