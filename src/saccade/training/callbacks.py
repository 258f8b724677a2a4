"""Callbacks: what happens beside the training itself. A callback may look at everything and may ask to stop.

To write one, subclass `Callback` and override what is needed:

    class StopAtNinety(Callback):
        def after_epoch(self, result: EpochResult) -> bool:
            return result.val_accuracy >= 0.90

    saccade.train("animals/", callbacks=[StopAtNinety()])

One that remembers something also overrides `state` and `set_state`, so that it still knows after an interruption.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from saccade.metrics import Tally
from saccade.recipe import Metric

_REFRESH_SECONDS = 0.2


class StepPosition(NamedTuple):
    """Where a training stands after an update: epochs count from 1, pictures within the epoch.

    `step` counts the updates of the whole training, from 1; `learning_rate` is that of the update.
    """

    epoch: int
    num_epochs: int
    pictures_done: int
    num_pictures: int
    step: int = 0
    learning_rate: float = 0.0


class EpochResult(NamedTuple):
    """A row of results.csv. Losses in nats per picture, accuracies 0..1, the rate after the epoch's last update."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    pictures_per_second: float


class Callback:
    """Does nothing and never stops; the parent of those that do."""

    def begin(self, network: nn.Module, step: int) -> None:
        """Training begins, or goes on, after so many updates; the network is the one that learns, in place."""

    def after_step(self, position: StepPosition, read: Callable[[], Tally]) -> None:
        """An update was made. `read` gives the epoch's sums so far; on a GPU that waits for it, so call it seldom."""

    def after_epoch(self, result: EpochResult) -> bool:
        """An epoch was trained and validated. True asks to stop."""
        return False

    def end(self) -> None:
        """No step will follow, whether the training is finished or was interrupted."""

    def state(self) -> dict[str, Any]:
        """What it remembers, as plain JSON values; a checkpoint keeps it."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Remember again what `state` gave."""


class EarlyStopping(Callback):
    """Stop after `patience` epochs in a row without a better validation: a lower loss, or a higher accuracy."""

    def __init__(self, patience: int, by: Metric = "val_loss") -> None:
        self.patience = patience
        self.by: Metric = by
        self.best = math.inf  # lower is better: an accuracy is counted down from zero
        self.waited = 0

    def after_epoch(self, result: EpochResult) -> bool:
        """Count the epochs since the last improvement."""
        reached = result.val_loss if self.by == "val_loss" else -result.val_accuracy
        if reached < self.best:
            self.best, self.waited = reached, 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """The best so far, and the epochs since."""
        return {"best": self.best, "waited": self.waited, "by": self.by}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """The best so far, and the epochs since; what another metric said is forgotten."""
        if state.get("by", "val_loss") == self.by:
            self.best, self.waited = state["best"], state["waited"]


class KeepWeights(Callback):
    """Have the weights written: `last` after every epoch, `best` when validation was better than ever before.

    Better means a higher validation accuracy, or the same accuracy at a lower loss; by val_loss it is the other way
    round. Where nothing independent watches, `last_is_best`: then every epoch's weights are the best so far.
    """

    def __init__(self, save: Callable[[str], None], by: Metric = "val_accuracy", *, last_is_best: bool = False) -> None:
        self.save = save
        self.last_is_best = last_is_best
        self.by: Metric = by
        self.best = (-math.inf, -math.inf)
        self.best_epoch = 0

    def after_epoch(self, result: EpochResult) -> bool:
        """Write what is due."""
        self.save("last")
        reached = (result.val_accuracy, -result.val_loss)
        if self.by == "val_loss":
            reached = (reached[1], reached[0])
        if reached > self.best or self.last_is_best:
            self.best, self.best_epoch = reached, result.epoch
            self.save("best")
        return False

    def state(self) -> dict[str, Any]:
        """What was reached, and when."""
        return {"best": list(self.best), "best_epoch": self.best_epoch, "by": self.by}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """What was reached, and when; what another metric said is forgotten."""
        if state.get("by", "val_accuracy") == self.by:
            first, second = state["best"]
            self.best, self.best_epoch = (first, second), state["best_epoch"]


class Log(Callback):
    """Hand every epoch's record to somebody: results.csv, a screen, a list."""

    def __init__(self, write: Callable[[EpochResult], None]) -> None:
        self.write = write

    def after_epoch(self, result: EpochResult) -> bool:
        """Pass it on."""
        self.write(result)
        return False


class Show(Callback):
    """A line per finished epoch and, while one runs, a bar with loss, accuracy, speed and the time left."""

    def __init__(self, say: Callable[[str], None], bar: Callable[[int, str], None], num_epochs: int) -> None:
        self.say = say
        self.bar = bar
        self.num_epochs = num_epochs
        self._began = time.perf_counter()
        self._first: int | None = None  # pictures that were done before: an interrupted training goes on here
        self._epochs_told = 0
        self._shown = 0.0

    def after_step(self, position: StepPosition, read: Callable[[], Tally]) -> None:
        """Move the bar, a few times a second."""
        now = time.perf_counter()
        if now - self._shown < _REFRESH_SECONDS:
            return
        self._shown = now
        done = (position.epoch - 1) * position.num_pictures + position.pictures_done
        if self._first is None:
            self._began, self._first = now, done
        tally = read()
        speed = (done - self._first) / max(now - self._began, _REFRESH_SECONDS)
        self.bar(
            done,
            f"epoch {position.epoch}/{position.num_epochs}  loss {tally.loss:.3f}  "
            f"accuracy {tally.accuracy:.1%}  {speed:,.0f} pictures/s",
        )

    def after_epoch(self, result: EpochResult) -> bool:
        """Say how the epoch went, in a line for a terminal of 80 characters: accuracy and loss of each part."""
        self._epochs_told += 1
        spent = max(result.seconds, (time.perf_counter() - self._began) / self._epochs_told)
        left = spent * (self.num_epochs - result.epoch)
        self.say(
            f"epoch {result.epoch:>{len(str(self.num_epochs))}}/{self.num_epochs}  "
            f"train {result.train_accuracy:.1%} loss {result.train_loss:#.3g}  "
            f"val {result.val_accuracy:.1%} loss {result.val_loss:#.3g}  "
            f"{result.pictures_per_second:,.0f}/s  {_clock(left)} left"
        )
        return False


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
