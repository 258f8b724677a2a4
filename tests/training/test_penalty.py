"""L2 of single stages and layers, asked for by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from saccade.errors import RecipeError
from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.training.loss import Objective, loss_of
from saccade.training.penalty import choose_penalties


def _network(head: str | None = "16,8") -> Network:
    return build_network(NetworkSpec("lenet5", 3, 32, 3, head), seed=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, {}),
        ("block1_conv1=1e-3", {"block1_conv1": 1e-3}),
        ("block1=1e-3, block2=2e-3", {"block1_conv1": 1e-3, "block2_conv1": 2e-3}),
        ("block*_conv1=0.5", {"block1_conv1": 0.5, "block2_conv1": 0.5}),
        ("fc1=1e-3,head.logits=0.1", {"head.fc1": 1e-3, "head.logits": 0.1}),
        ("head=1e-4", {"head": 1e-4}),
    ],
)
def test_penalties_are_found_by_stage_pattern_and_layer(text: str | None, expected: dict[str, float]) -> None:
    assert choose_penalties(_network(), text) == expected


@pytest.mark.parametrize("text", ["fc9=1e-3", "blok1_conv1=1e-3", "=1", ""])
def test_penalty_of_nothing_names_the_nearest(text: str) -> None:
    if not text:
        assert choose_penalties(_network(), text) == {}
        return
    with pytest.raises(RecipeError, match="no stage or layer of the head") as caught:
        choose_penalties(_network(), text)
    if text != "=1":
        assert {"fc9=1e-3": "or fc1?", "blok1_conv1=1e-3": "did you mean block1_conv1"}[text] in str(caught.value)


@pytest.mark.parametrize("text", ["fc1", "fc1=much", "fc1=-1", "fc1=inf", "fc1=nan", "fc1="])
def test_penalty_without_a_strength_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        choose_penalties(_network(), text)


def test_loss_has_the_penalties_asked_for_and_gradients_of_twice_the_weights() -> None:
    network = _network().train()
    network.l2 = choose_penalties(network, "block2=1e-2,fc1=1e-3,head.logits=1e-4")
    labels = torch.tensor([0, 2])
    outputs = network.training_outputs(torch.zeros(2, 3, 32, 32))
    kernel = dict(network.stages.named_parameters())["block2_conv1.conv.weight"]
    layers = dict(network.head.named_parameters())
    penalty = 1e-2 * kernel.square().sum() + 1e-3 * layers["fc1.weight"].square().sum()
    penalty = penalty + 1e-4 * layers["logits.weight"].square().sum()
    expected = F.cross_entropy(outputs.logits, labels) + penalty
    torch.testing.assert_close(loss_of(network, outputs, labels, Objective()), expected)
