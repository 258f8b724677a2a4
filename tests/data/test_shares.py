"""Shares of a batch: together they are the batch, whatever is done to its pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from saccade.data.augment import augmentation_of
from saccade.data.batches import Batches, Share
from saccade.data.mixing import Mixing
from saccade.recipe import Recipe


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_hold_every_picture_once_and_none_holds_a_single_one(size: int) -> None:
    for num_pictures in range(1, 40):
        spans = [Share(rank, size).of(num_pictures) for rank in range(size)]
        pictures = np.arange(num_pictures)
        np.testing.assert_array_equal(np.concatenate([pictures[span] for span in spans]), pictures)
        lengths = [span.stop - span.start for span in spans]
        assert num_pictures == 1 or 1 not in lengths
        taken = [length for length in lengths if length]
        assert max(taken) - min(taken) <= 1
        assert lengths[0] > 0


def _batches(mixing: Mixing | None) -> Batches:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (23, 9, 9, 3), dtype=np.uint8)
    recipe = Recipe(model="lenet5", augment="standard").resolved()
    labels = rng.integers(0, 4, 23)
    cpu = torch.device("cpu")
    return Batches(images, labels, np.arange(23), 7, 12, cpu, 3, augmentation_of(recipe, None), 0, mixing)


@pytest.mark.parametrize("mixing", [None, Mixing(0.4, 1.0)])
@pytest.mark.parametrize("size", [2, 3])
def test_shares_put_together_are_the_batches_of_one_process(mixing: Mixing | None, size: int) -> None:
    whole = _batches(mixing)
    shares = [whole.shared(rank, size) for rank in range(size)]
    assert {each.num_batches for each in shares} == {whole.num_batches} == {4}
    for batch, *parts in zip(whole.epoch(2), *(each.epoch(2) for each in shares), strict=True):
        filled = [part for part in parts if len(part.labels)]
        np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), batch.rows)
        torch.testing.assert_close(torch.cat([part.images for part in filled]), batch.images)
        assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
        if batch.mixed is not None:
            mixed = [part.mixed for part in filled if part.mixed is not None]
            assert torch.equal(torch.cat([each.partners for each in mixed]), batch.mixed.partners)
            torch.testing.assert_close(torch.cat([each.shares for each in mixed]), batch.mixed.shares)


def test_share_of_a_batch_of_two_is_empty_for_the_second_process() -> None:
    whole = replace(_batches(None), rows=np.arange(9))  # 7 and 2
    *_, last = whole.shared(1, 2).epoch(1)
    assert last.images.shape == (0, 3, 12, 12)
    assert len(last.labels) == len(last.rows) == 0
