"""Epochs: train, validate, tell the callbacks, stop when one of them says so."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import DivergedError
from saccade.metrics import Tally
from saccade.recipe import Recipe
from saccade.training.callbacks import Callback, EpochResult, StepPosition
from saccade.training.optimizer import make_optimizer
from saccade.training.schedule import Schedule, make_schedule
from saccade.training.step import StepResult, Trainable, update


class LabelledBatch(Protocol):
    """A batch on its device: images (B, C, H, W) in 0..255 and labels (B,)."""

    @property
    def images(self) -> Tensor:
        """(B, C, H, W), 0..255."""

    @property
    def labels(self) -> Tensor:
        """int64 (B,)."""


class BatchSource(Protocol):
    """Something that shows every picture of a part once per epoch; `data.batches.Batches` is one."""

    @property
    def num_pictures(self) -> int:
        """In an epoch."""

    @property
    def num_batches(self) -> int:
        """In an epoch."""

    def epoch(self, epoch: int) -> Iterator[LabelledBatch]:
        """All pictures once; the order is a function of the epoch."""


class Parts(NamedTuple):
    """The pictures that are learnt from and those that watch."""

    train: BatchSource
    val: BatchSource


def fit(network: Trainable, parts: Parts, recipe: Recipe, callbacks: Sequence[Callback] = ()) -> list[EpochResult]:
    """Train a network in place.

    Args:
        network: on the device of the batches.
        parts: batches to learn from and to validate with.
        recipe: resolved; epochs, optimizer, schedule and label smoothing are read from it.
        callbacks: asked after every step and every epoch, in order.

    Returns:
        A record per epoch that was finished.

    Raises:
        DivergedError: the loss is no longer a finite number.
    """
    optimizer = make_optimizer(network, recipe)
    schedule = make_schedule(optimizer, recipe, parts.train.num_batches)
    trainer = _Trainer(network, optimizer, schedule, recipe, callbacks)
    history: list[EpochResult] = []
    for epoch in range(1, recipe.epochs + 1):
        began = time.perf_counter()
        trained = trainer.epoch(parts.train, epoch)
        seconds = time.perf_counter() - began
        validated = validate(network, parts.val)
        schedule.after_epoch(validated.loss)
        result = EpochResult(
            epoch=epoch,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            val_loss=validated.loss,
            val_accuracy=validated.accuracy,
            learning_rate=optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - began,
            pictures_per_second=trained.num_pictures / seconds,
        )
        history.append(result)
        wishes = [callback.after_epoch(result) for callback in callbacks]
        if any(wishes):
            break
    return history


@torch.no_grad()
def validate(network: Trainable, batches: BatchSource) -> Tally:
    """Loss and accuracy over a part, in inference mode; each picture counts once."""
    network.eval()
    sums = _Sums()
    for batch in batches.epoch(0):
        logits = network(batch.images)
        loss = F.cross_entropy(logits, batch.labels)
        sums.add(StepResult(loss, (logits.argmax(dim=1) == batch.labels).sum()), len(batch.labels))
    return sums.read()


class _Trainer(NamedTuple):
    """What an epoch needs, held together."""

    network: Trainable
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    recipe: Recipe
    callbacks: Sequence[Callback]

    def epoch(self, batches: BatchSource, epoch: int) -> Tally:
        self.network.train()
        sums = _Sums()
        for batch in batches.epoch(epoch):
            result = update(self.network, self.optimizer, batch.images, batch.labels, self.recipe.label_smoothing)
            self.schedule.after_step()
            sums.add(result, len(batch.labels))
            position = StepPosition(epoch, self.recipe.epochs, sums.num_pictures, batches.num_pictures)
            for callback in self.callbacks:
                callback.after_step(position, sums.read)
        return self._finite(sums.read(), epoch)

    def _finite(self, tally: Tally, epoch: int) -> Tally:
        if math.isfinite(tally.loss):
            return tally
        rate = self.recipe.learning_rate or 0.0
        raise DivergedError(
            f"the training loss became {tally.loss}: the weights have left the finite numbers",
            where=f"epoch {epoch}, highest learning rate {rate:g}",
            remedy=f"start again with a lower rate: --learning-rate {rate / 10:g}",
        )


class _Sums:
    """Sums that stay on the device until somebody reads them."""

    def __init__(self) -> None:
        self.num_pictures = 0
        self.loss_sum: Tensor | None = None
        self.num_correct: Tensor | None = None

    def add(self, result: StepResult, num_pictures: int) -> None:
        self.num_pictures += num_pictures
        loss = result.loss.double() * num_pictures
        self.loss_sum = loss if self.loss_sum is None else self.loss_sum + loss
        self.num_correct = result.num_correct if self.num_correct is None else self.num_correct + result.num_correct

    def read(self) -> Tally:
        if self.loss_sum is None or self.num_correct is None:
            return Tally()
        return Tally(int(self.num_correct), self.num_pictures, float(self.loss_sum))
