"""Muon against its definition, and the groups that a recipe makes for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.modes import Mode
from saccade.presets import make_recipe
from saccade.training.in_mode import InMode
from saccade.training.muon import OTHERS_MOMENTUM, Muon, orthogonalised
from saccade.training.optimizer import make_optimizer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(64, 216), (256, 64)])
def test_orthogonalised_matrix_has_the_singular_vectors_of_svd_and_values_near_one(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
    found = left.T @ orthogonalised(matrix, dtype).numpy() @ right.T
    values = np.diag(found)
    assert 0.3 < values.min() < values.max() < 1.3  # after three applications the smallest are still on their way
    assert np.abs(found - np.diag(values)).max() < 0.05


def test_what_is_no_convolution_moves_as_torchs_sgd_moves_it() -> None:
    start = torch.randn(10, 256, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    muon = Muon([{"params": [ours], "lr": 0.1, "weight_decay": 0.02}], 0.3, 0.6)
    sgd = torch.optim.SGD([theirs], lr=0.1, momentum=OTHERS_MOMENTUM, nesterov=True, weight_decay=0.02)
    for step in range(4):
        gradient = torch.randn(10, 256, generator=torch.Generator().manual_seed(step))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        sgd.step()
    torch.testing.assert_close(ours, theirs)


def test_convolution_keeps_its_norm_and_moves_by_the_rate() -> None:
    weight = nn.Parameter(torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0)))
    before = weight.detach() * 4 / weight.detach().norm()  # sqrt(16)
    weight.grad = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(1))
    Muon([{"params": [weight], "weight_decay": 0.5}], 0.01, 0.6).step()
    moved = (weight.detach() - before).flatten(1)
    expected = -0.01 * orthogonalised((weight.grad * 1.6).flatten(1))
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_steps_are_made_orthogonal_in_what_the_layers_compute_in(precision: str, dtype: torch.dtype) -> None:
    recipe = make_recipe("sprint", {}).resolved()
    network, seen = build_network(NetworkSpec("sprint", 10, 32)), []
    learner = network if precision == "float32" else InMode(network, torch.device("cpu"), Mode("bfloat16"), 4)
    optimizer = make_optimizer(learner, recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saccade.training.muon.orthogonalised", lambda step, dtype: (seen.append(dtype), step)[1])
        learner.training_outputs(torch.rand(4, 3, 32, 32)).logits.sum().backward()
        optimizer.step()
    assert set(seen) == {dtype}


def test_groups_have_the_rates_of_the_recipe() -> None:
    changes = {"learning_rate": 0.2, "bias_rate": 100.0, "head_rate": 0.1, "weight_decay": 0.004}
    recipe = make_recipe("sprint", changes).resolved()
    network = build_network(NetworkSpec("sprint", 10, 32))
    rates = {p: group["lr"] for group in make_optimizer(network, recipe).param_groups for p in group["params"]}
    wanted = {1: 20.0, 2: 0.02, 4: 0.2}
    assert {p.ndim: pytest.approx(rate) for p, rate in rates.items()} == wanted


def test_bias_and_head_rates_hold_for_other_optimizers_too() -> None:
    recipe = make_recipe("scratch", {"bias_rate": 2.0, "head_rate": 3.0, "learning_rate": 1e-3}).resolved()
    network = build_network(NetworkSpec("cnn1", 10, 28, 1))
    rates = {p: group["lr"] for group in make_optimizer(network, recipe).param_groups for p in group["params"]}
    found = {name: round(rates[p], 9) for name, p in network.named_parameters()}
    assert found == {
        "stages.block1_conv1.conv.weight": 1e-3,
        "stages.block1_conv1.conv.bias": 2e-3,
        "head.logits.weight": 3e-3,
        "head.logits.bias": 3e-3,
    }
