"""One update: mixed and weighted labels, pieces, clipping, against torch and scikit-learn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.training.loss import Objective, balanced_weights, loss_of
from saccade.training.step import Manner, StepResult, update


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
    plain = loss_of(network, outputs, MIXED.labels, Objective(smoothing))
    found = loss_of(network, outputs, MIXED, Objective(smoothing))
    l2 = loss_of(network, outputs, MIXED._replace(partners=MIXED.labels), Objective(smoothing)) - plain
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(l2, torch.tensor(0.0), atol=1e-5)


def test_update_on_mixed_labels_counts_the_larger_share_as_right():
    network = build_network(NetworkSpec("lenet5", 3, 32, 3), 0)
    images = torch.rand(4, 3, 32, 32) * 255
    predicted = network.train()(images).argmax(dim=1)
    others = (predicted + 1) % 3
    mixed = _Mixed(predicted, others, torch.tensor([0.9, 0.6, 0.4, 0.1]))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    assert update(network, optimizer, images, mixed, Manner()).num_correct == 2


def _learn(
    images: Tensor, labels: Tensor | _Mixed, manner: Manner, model: str = "lenet5"
) -> tuple[Network, StepResult]:
    network = build_network(NetworkSpec(model, 3, 32, 3), 0)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    return network, update(network, optimizer, images, labels, manner)


IMAGES = torch.rand(11, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255
LABELS = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2])
ELEVEN = _Mixed(LABELS, LABELS.roll(1), torch.linspace(0, 1, 11))


@pytest.mark.parametrize("piece_size", [1, 2, 3, 4, 10, 11, 12])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labels", [LABELS, ELEVEN], ids=["whole", "mixed"])
def test_update_in_uneven_pieces_equals_that_of_the_whole_batch(
    labels: Tensor | _Mixed, weighted: bool, piece_size: int
) -> None:
    weights = balanced_weights([7, 2, 2]) if weighted else None
    whole = Manner(Objective(0.1, weights))
    (expected, once), (found, often) = (
        _learn(IMAGES, labels, manner) for manner in (whole, whole._replace(piece_size=piece_size))
    )
    assert often.applied
    torch.testing.assert_close(often.loss, once.loss)
    assert often.num_correct == once.num_correct
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_pieces_are_never_larger_than_asked_and_of_one_length_but_for_one() -> None:
    network, seen = build_network(NetworkSpec("lenet5", 3, 32, 3), 0).train(), []
    network.normalise.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    update(network, torch.optim.SGD(network.parameters(), lr=0.1), IMAGES, LABELS, Manner(piece_size=4))
    assert seen == [4, 4, 3]


def test_update_with_a_piece_that_is_not_finite_changes_nothing() -> None:
    images = IMAGES.clone()
    images[7] = torch.inf
    network, result = _learn(images, LABELS, Manner(piece_size=2))
    fresh = build_network(NetworkSpec("lenet5", 3, 32, 3), 0)
    assert not result.applied
    assert all(torch.equal(one, other) for one, other in zip(network.parameters(), fresh.parameters(), strict=True))


@pytest.mark.parametrize("longest", [1e-3, 1e3])
def test_clipped_gradient_equals_torchs(longest: float) -> None:
    clipped, _ = _learn(IMAGES, LABELS, Manner(clip_norm=longest))
    by_hand = build_network(NetworkSpec("lenet5", 3, 32, 3), 0).train()
    F.cross_entropy(by_hand(IMAGES), LABELS).backward()
    length = torch.nn.utils.clip_grad_norm_(by_hand.parameters(), longest)
    assert 1e-3 < length < 1e3, "the first is shortened, the second is not"
    torch.optim.SGD(by_hand.parameters(), lr=0.1).step()
    for one, other in zip(clipped.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_balanced_weights_are_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    weights = balanced_weights([7, 2, 2])
    assert weights.numpy() == pytest.approx(expected)
    assert weights[LABELS].mean().item() == pytest.approx(1.0)
    assert balanced_weights([7, 0, 2, 2]).tolist() == pytest.approx([expected[0], 1.0, *expected[1:]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_loss_equals_cross_entropy_on_weighted_probabilities(smoothing: float) -> None:
    network = build_network(NetworkSpec("lenet5", 3, 32, 3), 0).train()
    outputs, weights = network.training_outputs(IMAGES), balanced_weights([7, 2, 2])
    shares = ELEVEN.shares[:, None]
    mixed = shares * F.one_hot(ELEVEN.labels, 3) + (1 - shares) * F.one_hot(ELEVEN.partners, 3)
    for labels, probabilities in ((LABELS, F.one_hot(LABELS, 3).float()), (ELEVEN, mixed)):
        smooth = (1 - smoothing) * probabilities + smoothing / 3
        expected = -(weights * smooth * outputs.logits.log_softmax(1)).sum(dim=1).mean()
        torch.testing.assert_close(loss_of(network, outputs, labels, Objective(smoothing, weights)), expected)


def test_weighted_loss_without_smoothing_is_scikit_learns_log_loss_with_sample_weights() -> None:
    network = build_network(NetworkSpec("lenet5", 3, 32, 3), 0).train()
    outputs, weights = network.training_outputs(IMAGES), balanced_weights([7, 2, 2])
    found = loss_of(network, outputs, LABELS, Objective(0.0, weights)).item()
    probabilities = outputs.logits.detach().double().softmax(1).numpy()
    expected = log_loss(LABELS.numpy(), probabilities, sample_weight=weights[LABELS].numpy())
    assert found == pytest.approx(expected, rel=1e-5)
