"""Balanced epochs: every class equally often, no picture twice before all of its class."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from saccade.data.augment import Augmentation
from saccade.data.batches import Batches
from saccade.data.sampling import balanced_order

LABELS = np.repeat([0, 1, 3], [70, 9, 22])  # class 2 has no pictures
ROWS = np.random.default_rng(0).permutation(200)[: len(LABELS)]


def _orders(epochs: int, seed: int = 5) -> list[np.ndarray]:
    return [balanced_order(ROWS, LABELS, seed, epoch) for epoch in range(1, epochs + 1)]


def test_balanced_epoch_is_as_long_as_a_plain_one_and_shows_every_class_equally_often() -> None:
    label_of = dict(zip(ROWS.tolist(), LABELS.tolist(), strict=True))
    for order in _orders(5):
        counts = Counter(label_of[row] for row in order.tolist())
        assert len(order) == len(ROWS)
        assert set(counts) == {0, 1, 3}
        assert max(counts.values()) - min(counts.values()) <= 1


def test_no_picture_comes_again_before_all_of_its_class_did() -> None:
    seen = Counter(row for order in _orders(7) for row in order.tolist())
    for label in (0, 1, 3):
        times = [seen[row] for row in ROWS[label == LABELS].tolist()]
        assert max(times) - min(times) <= 1


def test_balanced_order_is_a_function_of_seed_and_epoch() -> None:
    first = _orders(3)
    assert all(np.array_equal(one, other) for one, other in zip(first, _orders(3), strict=True))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], _orders(1, seed=6)[0])
    assert np.array_equal(balanced_order(ROWS, LABELS, 5, 3), first[2]), "without the epochs before it"


def _batches(*, balanced: bool, augmentation: Augmentation | None) -> Batches:
    images = np.zeros((200, 8, 8, 1), dtype=np.uint8)
    labels = np.full(200, -1)
    labels[ROWS] = LABELS
    how = (16, 8, torch.device("cpu"), 5, augmentation)
    return Batches(images, labels, ROWS, *how, num_classes=5, balanced=balanced)


def test_batches_are_balanced_where_they_are_shuffled() -> None:
    batches = _batches(balanced=True, augmentation=Augmentation())
    shown = np.concatenate([batch.rows for batch in batches.epoch(2)])
    assert np.array_equal(shown, balanced_order(ROWS, LABELS, 5, 2))
    assert np.array_equal(_batches(balanced=True, augmentation=None).order(2), ROWS)


@pytest.mark.parametrize("first", [1, 4])
def test_balanced_epoch_goes_on_behind_the_first_batches(first: int) -> None:
    batches = _batches(balanced=True, augmentation=Augmentation(shift=0.1))
    whole = [batch.rows for batch in batches.epoch(3)]
    rest = [batch.rows for batch in batches.epoch(3, first)]
    assert all(np.array_equal(one, other) for one, other in zip(whole[first:], rest, strict=True))


def test_class_counts_are_those_of_the_part_for_every_class() -> None:
    assert _batches(balanced=True, augmentation=None).class_counts == [70, 9, 0, 22, 0]
