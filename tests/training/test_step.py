"""One update on mixed labels, against cross-entropy on probabilities."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.training.step import loss_of, update


class _Mixed(NamedTuple):
    labels: Tensor
    partners: Tensor
    shares: Tensor


MIXED = _Mixed(torch.tensor([0, 1, 2, 2]), torch.tensor([1, 1, 0, 1]), torch.tensor([0.9, 0.5, 0.25, 1.0]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("model", ["lenet5", "googlenet"])  # the second has auxiliary classifiers
def test_loss_on_mixed_labels_equals_cross_entropy_on_their_probabilities(model, smoothing):
    side = 32 if model == "lenet5" else 64
    network = build_network(NetworkSpec(model, 3, side, 3), 0).train()
    torch.manual_seed(0)
    outputs = network.training_outputs(torch.rand(4, 3, side, side) * 255)
    shares = MIXED.shares[:, None]
    probabilities = shares * F.one_hot(MIXED.labels, 3) + (1 - shares) * F.one_hot(MIXED.partners, 3)
    expected = F.cross_entropy(outputs.logits, probabilities, label_smoothing=smoothing)
    for logits in outputs.auxiliary.values():
        expected = expected + 0.3 * F.cross_entropy(logits, probabilities, label_smoothing=smoothing)
    plain = loss_of(network, outputs, MIXED.labels, smoothing)
    found = loss_of(network, outputs, MIXED, smoothing)
    l2 = loss_of(network, outputs, MIXED._replace(partners=MIXED.labels), smoothing) - plain
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(l2, torch.tensor(0.0), atol=1e-5)


def test_update_on_mixed_labels_counts_the_larger_share_as_right():
    network = build_network(NetworkSpec("lenet5", 3, 32, 3), 0)
    images = torch.rand(4, 3, 32, 32) * 255
    predicted = network.train()(images).argmax(dim=1)
    others = (predicted + 1) % 3
    mixed = _Mixed(predicted, others, torch.tensor([0.9, 0.6, 0.4, 0.1]))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    assert update(network, optimizer, images, mixed, 0.0).num_correct == 2
