"""Random numbers that are a function of (seed, epoch, picture), a stream for each purpose."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What random numbers are for; a purpose of its own never shifts the numbers of another."""

    ORDER = 0
    MOVES = 1
    COLOURS = 2
    POLICY = 3
    ERASING = 4
    MIXING = 5
    OWN = 6
    BALANCE = 7


def generator_for(seed: int, epoch: int, stream: int, batch: int | None = None) -> torch.Generator:
    """A CPU generator for one purpose in one epoch (and one batch of it). They are independent of each other."""
    entropy = (seed, epoch, stream) if batch is None else (seed, epoch, stream, batch)
    state = np.random.SeedSequence(entropy).generate_state(1, dtype=np.uint64)[0]
    # manual_seed takes a signed 64-bit number
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def numpy_generator_for(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """The same of numpy's kind, which knows more distributions."""
    return np.random.default_rng(np.random.SeedSequence((seed, epoch, stream)))


def uniform(num_pictures: int, num_columns: int, generator: torch.Generator) -> Tensor:
    """float32 (num_pictures, num_columns) in [0, 1), on the CPU; a picture's row does not depend on how many follow."""
    return torch.rand(num_pictures, num_columns, generator=generator)
