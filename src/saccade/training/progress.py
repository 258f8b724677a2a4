"""Where a training stands, and everything that moves while it runs: what a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from saccade.metrics import Tally
from saccade.training.average import Average
from saccade.training.callbacks import Callback
from saccade.training.schedule import Schedule
from saccade.training.step import StepResult

_GENERATOR_STREAM = 1_000  # apart from those that data/ draws from with the same seed


class Sums:
    """Sums over an epoch that stay on the device until somebody reads them."""

    def __init__(self) -> None:
        self.num_pictures = 0
        self.loss_sum: Tensor | None = None
        self.num_correct: Tensor | None = None

    def add(self, result: StepResult, num_pictures: int) -> None:
        """One batch more."""
        self.num_pictures += num_pictures
        loss = result.loss.double() * num_pictures
        self.loss_sum = loss if self.loss_sum is None else self.loss_sum + loss
        self.num_correct = result.num_correct if self.num_correct is None else self.num_correct + result.num_correct

    def read(self) -> Tally:
        """On a GPU this waits for it."""
        if self.loss_sum is None or self.num_correct is None:
            return Tally()
        return Tally(int(self.num_correct), self.num_pictures, float(self.loss_sum))


class BatchPlace(NamedTuple):
    """A batch by its number within an epoch; both count from 1."""

    epoch: int
    batch: int


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        epoch: the one that runs, or is next; from 1.
        batch: how many batches of it are done.
        seconds: that were spent on it.
        seconds_before: that were spent on all epochs before it.
        finished: nothing is left to do.
        sums: of the epoch so far.
        not_finite: the batches in a row, up to now, whose loss was no finite number.
        num_skipped: how many of them there were in this epoch.
        halved: the rate was halved because of them.
        pieces: in how many parts a batch goes through the network; more when memory has run out.
    """

    epoch: int = 1
    batch: int = 0
    seconds: float = 0.0
    seconds_before: float = 0.0
    finished: bool = False
    sums: Sums = field(default_factory=Sums)
    not_finite: list[BatchPlace] = field(default_factory=list)
    num_skipped: int = 0
    halved: bool = False
    pieces: int = 1

    def next_epoch(self) -> None:
        """The epoch is over."""
        self.seconds_before += self.seconds
        self.epoch += 1
        self.begin_epoch_anew()

    def begin_epoch_anew(self) -> None:
        """As if none of its batches had been shown."""
        self.batch, self.seconds, self.num_skipped, self.sums = 0, 0.0, 0, Sums()


class Training(NamedTuple):
    """Everything that moves while a training runs.

    Attributes:
        module: the whole network, with what is frozen.
        steps_per_epoch: how many batches an epoch has.
        average: of the weights; None where only the weights themselves count.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    callbacks: Sequence[Callback]
    progress: Progress
    steps_per_epoch: int
    average: Average | None = None

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.module.parameters()).device


class Keeper:
    """Keeps the state of a training somewhere; this one keeps it nowhere. disk_keeper.py has one that does."""

    def begin(self, training: Training) -> None:
        """Before the first step: bring back what was kept, or keep the beginning."""

    def after_step(self, training: Training) -> None:
        """Keep the state, if it is time."""

    def after_epoch(self, training: Training) -> None:
        """Keep the state, if it is time."""

    def stopped(self, training: Training, name: str) -> None:
        """Keep the state now: the process is about to leave, for the reason of that name."""

    def keep_now(self, training: Training) -> None:
        """Keep the state now: how the training goes on has changed."""

    def go_back(self, training: Training) -> bool:
        """Bring back the last good state; False where there is none."""
        return False

    def accuse(self, batches: Sequence[BatchPlace]) -> str:
        """Write down which pictures were in these batches; returns where, "" for nowhere."""
        return ""

    def say(self, text: str) -> None:
        """Something happened that should not be overlooked."""


@contextmanager
def own_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Randomness inside the network (dropout) becomes a function of the seed; the caller's generators are kept."""
    state = np.random.SeedSequence((seed, _GENERATOR_STREAM)).generate_state(1, dtype=np.uint64)[0]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(state >> np.uint64(1)))  # torch takes a signed 64-bit number
        yield


def generator_states(device: torch.device) -> dict[str, Tensor]:
    """The state of every generator that a network on this device draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generator_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Bring them back; those of a device that is not used are left alone."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
