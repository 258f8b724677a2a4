"""Which pictures an epoch shows where every class is to come equally often."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from saccade.data.draws import Stream, generator_for


def balanced_order(
    rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """As many rows as there are, every class equally often to within one, shuffled; a function of (seed, epoch).

    Each class is an endless row of its pictures, shuffled anew for every pass, of which the epochs take one stretch
    after the other: no picture comes again before all of its class have come, within an epoch and across epochs. Of a
    large class an epoch thus shows a part, and the next one goes on behind it.

    Args:
        rows: the pictures of the part.
        labels: int64, their classes, in the same order.
        seed: with the epoch it decides everything.
        epoch: from 1.
    """
    classes = np.unique(labels)
    taken = [
        _stretch(rows[labels == each], _bounds(len(rows), epoch, number, len(classes)), (seed, int(each)))
        for number, each in enumerate(classes)
    ]
    together = np.concatenate(taken)
    order = torch.randperm(len(together), generator=generator_for(seed, epoch, Stream.ORDER)).numpy()
    return np.asarray(together[order], dtype=np.int64)


def _bounds(total: int, epoch: int, number: int, num_classes: int) -> tuple[int, int]:
    # floor((m + c) / K) summed over c = 0..K-1 is m (Hermite), so the classes' stretches add up to an epoch.
    first, last = (((each * total) + number) // num_classes for each in (epoch - 1, epoch))
    return first, last


def _stretch(rows: npt.NDArray[np.int64], bounds: tuple[int, int], source: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Some places of the endless row of a class: pass after pass over its pictures, each in an order of its own."""
    seed, label = source
    first, last = bounds
    begin = first // len(rows)
    passes = [
        torch.randperm(len(rows), generator=generator_for(seed, number, Stream.BALANCE, label)).numpy()
        for number in range(begin, -(-last // len(rows)))
    ]
    if not passes:
        return rows[:0]
    endless = np.concatenate(passes)
    return np.asarray(rows[endless[first - begin * len(rows) : last - begin * len(rows)]], dtype=np.int64)
