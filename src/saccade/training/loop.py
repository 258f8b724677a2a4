"""Epochs: train, validate, tell the callbacks, stop when one of them says so."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saccade.errors import DivergedError
from saccade.metrics import Tally
from saccade.recipe import Recipe
from saccade.training.callbacks import Callback, EpochResult, StepPosition
from saccade.training.optimizer import make_optimizer
from saccade.training.progress import BatchPlace, Keeper, Progress, Sums, Training, own_generators
from saccade.training.schedule import make_schedule, scale_rates
from saccade.training.step import MixedLabels, StepResult, Trainable, update
from saccade.training.stopping import StopRequest, listening

NOT_FINITE = "their loss was no finite number"
_MOST_IN_A_ROW = 3


class LabelledBatch(Protocol):
    """A batch on its device: images (B, C, H, W) in 0..255 and labels (B,), or those of mixed pictures."""

    @property
    def images(self) -> Tensor:
        """(B, C, H, W), 0..255."""

    @property
    def labels(self) -> Tensor:
        """int64 (B,)."""

    @property
    def mixed(self) -> MixedLabels | None:
        """What is learned instead of `labels` where pictures were mixed."""


class BatchSource(Protocol):
    """Something that shows every picture of a part once per epoch; `data.batches.Batches` is one."""

    @property
    def num_pictures(self) -> int:
        """In an epoch."""

    @property
    def num_batches(self) -> int:
        """In an epoch."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[LabelledBatch]:
        """All pictures once, without those of the `first` batches; the order is a function of the epoch."""


class Parts(NamedTuple):
    """The pictures that are learnt from and those that watch."""

    train: BatchSource
    val: BatchSource


def fit(
    network: Trainable,
    parts: Parts,
    recipe: Recipe,
    callbacks: Sequence[Callback] = (),
    keeper: Keeper | None = None,
) -> list[EpochResult]:
    """Train a network in place.

    A step whose loss is no finite number is not applied. After three in a row the last good state is brought back and
    the rate halved, once.

    Args:
        network: on the device of the batches.
        parts: batches to learn from and to validate with.
        recipe: resolved; epochs, optimizer, schedule, label smoothing and seed are read from it.
        callbacks: asked after every step and every epoch, in order.
        keeper: keeps the state, so that the training can go on where it was interrupted; None to keep nothing.

    Returns:
        A record per epoch that was finished now.

    Raises:
        DivergedError: the loss is no longer a finite number.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; the last step was finished and the state kept.
    """
    optimizer = make_optimizer(network, recipe)
    schedule = make_schedule(optimizer, recipe, parts.train.num_batches)
    training = Training(network.train(), optimizer, schedule, callbacks, Progress(), parts.train.num_batches)
    history: list[EpochResult] = []
    with own_generators(recipe.seed, training.device), listening() as stop:
        trainer = _Trainer(network, parts, recipe, training, keeper or Keeper(), stop)
        trainer.keeper.begin(training)
        while not training.progress.finished and training.progress.epoch <= recipe.epochs:
            try:
                history.append(trainer.epoch())
            except _NotFiniteError:
                trainer.go_back_or_give_up()
            trainer.leave_if_asked()
    return history


@torch.no_grad()
def validate(network: Trainable, batches: BatchSource) -> Tally:
    """Loss and accuracy over a part, in inference mode; each picture counts once."""
    return _validate(network, batches.epoch(0))


def _validate(network: Trainable, batches: Iterable[LabelledBatch]) -> Tally:
    network.eval()
    sums = Sums()
    for batch in batches:
        logits = network(batch.images)
        loss = F.cross_entropy(logits, batch.labels)
        sums.add(StepResult(loss, (logits.argmax(dim=1) == batch.labels).sum()), len(batch.labels))
    return sums.read()


class _NotFiniteError(Exception):
    """Step after step, or on val, the loss is no finite number."""


class _Trainer(NamedTuple):
    """What an epoch needs, held together."""

    network: Trainable
    parts: Parts
    recipe: Recipe
    training: Training
    keeper: Keeper
    stop: StopRequest

    def epoch(self) -> EpochResult:
        """The rest of the epoch that `progress` stands in; then callbacks are told and the state is kept."""
        progress = self.training.progress
        began = time.perf_counter() - progress.seconds
        self._train(began)
        trained, seconds = progress.sums.read(), progress.seconds
        validated = self._watch(began)
        self.training.schedule.after_epoch(validated.loss)
        progress.seconds = time.perf_counter() - began
        result = EpochResult(
            epoch=progress.epoch,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            val_loss=validated.loss,
            val_accuracy=validated.accuracy,
            learning_rate=self.training.optimizer.param_groups[0]["lr"],
            seconds=progress.seconds,
            pictures_per_second=trained.num_pictures / max(seconds, 1e-9),
        )
        if progress.num_skipped:
            self.keeper.say(f"epoch {progress.epoch}: {progress.num_skipped} steps not applied, {NOT_FINITE}")
        wishes = [callback.after_epoch(result) for callback in self.training.callbacks]
        progress.finished = any(wishes) or progress.epoch == self.recipe.epochs
        progress.next_epoch()
        self.keeper.after_epoch(self.training)
        return result

    def _train(self, began: float) -> None:
        progress, source = self.training.progress, self.parts.train
        self.network.train()
        statistics = _Statistics(self.training.module)
        for batch in source.epoch(progress.epoch, progress.batch):
            statistics.keep()
            labels = batch.labels if batch.mixed is None else batch.mixed
            result = update(self.network, self.training.optimizer, batch.images, labels, self.recipe.label_smoothing)
            progress.batch += 1
            progress.seconds = time.perf_counter() - began
            if result.applied:
                self.training.schedule.after_step()
                progress.sums.add(result, len(batch.labels))
                progress.not_finite.clear()
            else:
                statistics.bring_back()
                self._not_finite()
            position = StepPosition(progress.epoch, self.recipe.epochs, progress.sums.num_pictures, source.num_pictures)
            for callback in self.training.callbacks:
                callback.after_step(position, progress.sums.read)
            self.leave_if_asked()
            self.keeper.after_step(self.training)

    def _watch(self, began: float) -> Tally:
        """Validate; a wish to stop is heard between batches, and the epoch is then validated when it goes on."""

        def batches() -> Iterator[LabelledBatch]:
            for batch in self.parts.val.epoch(0):
                self.training.progress.seconds = time.perf_counter() - began
                self.leave_if_asked()
                yield batch

        with torch.no_grad():
            validated = _validate(self.network, batches())
        if not math.isfinite(validated.loss) or self.training.progress.sums.num_pictures == 0:
            raise _NotFiniteError
        return validated

    def _not_finite(self) -> None:
        progress = self.training.progress
        progress.num_skipped += 1
        progress.not_finite.append(BatchPlace(progress.epoch, progress.batch))
        if len(progress.not_finite) >= _MOST_IN_A_ROW:
            raise _NotFiniteError

    def go_back_or_give_up(self) -> None:
        """The last good state at half the rate, once; then it is the end.

        Raises:
            DivergedError: it was tried before, or there is no good state.
        """
        progress, rate = self.training.progress, self.recipe.learning_rate or 0.0
        epoch, accused = progress.epoch, list(progress.not_finite)
        if not progress.halved and self.keeper.go_back(self.training):
            scale_rates(self.training.optimizer, self.training.schedule, 0.5)
            progress.halved = True
            self.keeper.say(
                f"epoch {epoch}: {NOT_FINITE} for {_MOST_IN_A_ROW} steps in a row; back to the last good state "
                f"(epoch {progress.epoch}, batch {progress.batch}), with half the learning rate from there on"
            )
            return
        where = self.keeper.accuse(accused)
        raise DivergedError(
            "the training loss is no finite number: the weights have left the finite numbers",
            where=f"epoch {epoch}, highest learning rate {rate:g}" + (f"; the last batches: {where}" if where else ""),
            remedy=f"start again with a lower rate: --learning-rate {rate / 10:g}",
        )

    def leave_if_asked(self) -> None:
        if self.stop:
            self.keeper.stopped(self.training, self.stop.name)
            self.stop.leave()


class _Statistics:
    """Means and deviations of BatchNorm, which a forward pass changes even where its step is not applied after all."""

    def __init__(self, module: nn.Module) -> None:
        norms = [each for each in module.modules() if isinstance(each, _BatchNorm) and each.training]
        self.live = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
        self.kept = [buffer.clone() for buffer in self.live]

    @torch.no_grad()
    def keep(self) -> None:
        if self.live:
            torch._foreach_copy_(self.kept, self.live)

    @torch.no_grad()
    def bring_back(self) -> None:
        if self.live:
            torch._foreach_copy_(self.live, self.kept)
