"""The sprint network: its whitening against numpy, what begins as the identity, what never learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.models.sprint import OffsetNorm, Whiten, sprint
from saccade.training.freeze import freeze


def pictures(num: int, side: int = 32) -> Tensor:
    """Smooth ones, whose neighbouring pixels are alike as in photographs: white noise would be white already."""
    coarse = torch.rand(num, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 255
    return F.interpolate(coarse, size=(side, side), mode="bilinear").round().to(torch.uint8)


@pytest.fixture(scope="module")
def network() -> Network:
    network = build_network(NetworkSpec("sprint", 10, 32), seed=3)
    network.normalise.set([120.0] * 3, [60.0] * 3)
    network.prepare_from(lambda num: pictures(40))
    return network


def whitening(network: Network) -> Whiten:
    return next(layer for layer in network.modules() if isinstance(layer, Whiten))


def test_whitening_is_that_of_numpys_eigenvectors(network: Network) -> None:
    normal = network.normalise(pictures(40)).numpy().astype(np.float64)
    patches = np.lib.stride_tricks.sliding_window_view(normal, (2, 2), axis=(2, 3))  # (N, C, 31, 31, 2, 2)
    rows = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    variances, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    expected = (vectors / np.sqrt(variances + 5e-4)).T
    found = whitening(network).weight.flatten(1).numpy()
    # An eigenvector's sign is nobody's to choose; both are there.
    signs = np.sign((found[:12] * expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found[:12], signs * expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(found[12:], -found[:12])


def test_whitened_patches_are_uncorrelated_and_of_equal_size(network: Network) -> None:
    outputs = F.conv2d(network.normalise(pictures(40)), whitening(network).weight)[:, :12]
    rows = outputs.transpose(0, 1).flatten(1).double()
    covariance = rows @ rows.T / rows.shape[1]
    sizes = covariance.diagonal()
    between = covariance - torch.diag(sizes)
    assert between.abs().max() < 1e-3
    assert sizes.max() <= 1.0
    assert sizes.max() > 0.99


def test_whitening_does_not_learn_and_is_kept_with_the_weights(network: Network) -> None:
    freeze(network, "all")
    assert not any("whiten" in name for name, _ in network.named_parameters())
    assert any(name.endswith("whiten.weight") for name in network.state_dict())


def test_first_filters_hand_their_input_on() -> None:
    conv = sprint(NetworkSpec("sprint", 10, 32)).stages.get_submodule("block2.conv1")
    assert isinstance(conv, nn.Conv2d)
    x = torch.randn(2, 64, 5, 5)
    torch.testing.assert_close(conv(x)[:, :64], x)


def test_batch_norm_learns_offsets_and_no_scales(network: Network) -> None:
    freeze(network, "all")
    norms = [layer for layer in network.modules() if isinstance(layer, OffsetNorm)]
    assert len(norms) == 6
    for norm in norms:
        assert [name for name, _ in norm.named_parameters()] == ["bias"]
    x = torch.randn(8, 64, 4, 4)
    expected = nn.BatchNorm2d(64).train()
    torch.testing.assert_close(norms[0].train()(x), expected(x))


def test_another_head_can_be_asked_for() -> None:
    head = build_network(NetworkSpec("sprint", 10, 32, head="gap:20")).head
    assert [type(layer).__name__ for layer in head] == ["GlobalAveragePool", "Linear", "ReLU", "Linear"]  # type: ignore[arg-type]
