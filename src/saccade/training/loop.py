"""Epochs: train, validate, tell the callbacks, stop when one of them says so."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch

from saccade.errors import DivergedError, ran_out
from saccade.metrics import Tally
from saccade.recipe import Recipe
from saccade.training.average import Average
from saccade.training.callbacks import Callback, EpochResult, StepPosition
from saccade.training.distributed import decided, largest, let_leader_say
from saccade.training.exchange import seed_step, share_parts, sum_tally
from saccade.training.follow import share_training
from saccade.training.loss import objective_of
from saccade.training.norms import Statistics
from saccade.training.optimizer import make_optimizer, shown_group
from saccade.training.pieces import piece_size, take_smaller
from saccade.training.progress import (
    BatchPlace,
    Keeper,
    Progress,
    Training,
    generator_states,
    own_generators,
    set_generator_states,
)
from saccade.training.schedule import make_schedule, scale_rates
from saccade.training.shapes import OwnShape
from saccade.training.sources import LabelledBatch, Parts
from saccade.training.step import Manner, StepResult, update
from saccade.training.stopping import StopRequest, listening
from saccade.training.trainable import Trainable
from saccade.training.validation import validate_batches

NOT_FINITE = "their loss was no finite number"
_MOST_IN_A_ROW = 3


class Beside(NamedTuple):
    """What goes along with a training.

    Attributes:
        callbacks: asked after every step and every epoch, in order.
        keeper: keeps the state, so that the training can go on where it was interrupted; None to keep nothing.
        schedule: the caller's own, where the recipe's is `own`.
    """

    callbacks: Sequence[Callback] = ()
    keeper: Keeper | None = None
    schedule: OwnShape | None = None


def fit(network: Trainable, parts: Parts, recipe: Recipe, beside: Beside | None = None) -> list[EpochResult]:
    """Train a network in place.

    A step whose loss is no finite number is not applied. After three in a row the last good state is brought back and
    the rate halved, once. Where memory runs out, batches go through the network in twice as many pieces from there on.

    Args:
        network: on the device of the batches; with a recipe that averages it ends with the averaged weights.
        parts: batches to learn from and to validate with.
        recipe: resolved; all that concerns epochs, updates, rates and the loss is read from it.
        beside: what goes along; None for nothing.

    Returns:
        A record per epoch that was finished now.

    Raises:
        DivergedError: the loss is no longer a finite number.
        ResourceError: memory does not suffice for a single picture.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; the last step was finished and the state kept.
    """
    beside, parts = beside or Beside(), share_parts(parts)
    steps, module = parts.train.num_batches, network.train()
    optimizer = make_optimizer(network, recipe)
    shown = shown_group(optimizer, recipe)
    schedule = make_schedule(optimizer, recipe, steps, beside.schedule)
    average = Average(module, recipe.ema) if recipe.ema else None
    progress = Progress(pieces=recipe.accumulate)
    training = Training(module, optimizer, schedule, beside.callbacks, progress, steps, average)
    history: list[EpochResult] = []
    with own_generators(recipe.seed, training.device), listening() as stop:
        trainer = _Trainer(network, parts, recipe, training, beside.keeper or Keeper(), stop, shown)
        trainer.keeper.begin(training)
        share_training(training)
        try:
            for callback in training.callbacks:
                callback.begin(module, (progress.epoch - 1) * steps + progress.batch)
            while not progress.finished and progress.epoch <= recipe.epochs:
                try:
                    history.append(trainer.epoch())
                except _NotFiniteError:
                    trainer.go_back_or_give_up()
                except _AskedToStop:
                    pass
                trainer.leave_if_asked()
        finally:
            for callback in training.callbacks:
                callback.end()
    if average is not None:
        average.take_over()
    return history


class _NotFiniteError(Exception):
    """Step after step, or on val, the loss is no finite number."""


class _AskedToStop(Exception):  # noqa: N818 (nothing went wrong)
    """Ctrl-C or SIGTERM came while the network had other weights than those that learn."""


class _Trainer(NamedTuple):
    """What an epoch needs, held together."""

    network: Trainable
    parts: Parts
    recipe: Recipe
    training: Training
    keeper: Keeper
    stop: StopRequest
    shown: int  # the group of parameters whose rate is told

    def epoch(self) -> EpochResult:
        """The rest of the epoch that `progress` stands in; then callbacks are told and the state is kept."""
        progress = self.training.progress
        began = time.perf_counter() - progress.seconds
        self._train(began)
        trained, seconds = progress.sums.read(), progress.seconds
        with self._averaged():
            validated = self._watch(began)
            self.training.schedule.after_epoch(validated)
            progress.seconds = time.perf_counter() - began
            result = EpochResult(
                epoch=progress.epoch,
                train_loss=trained.loss,
                train_accuracy=trained.accuracy,
                val_loss=validated.loss,
                val_accuracy=validated.accuracy,
                learning_rate=self._rate(),
                seconds=progress.seconds,
                pictures_per_second=trained.num_pictures / max(seconds, 1e-9),
            )
            if progress.num_skipped:
                self.keeper.say(f"epoch {progress.epoch}: {progress.num_skipped} steps not applied, {NOT_FINITE}")
            wishes = [callback.after_epoch(result) for callback in self.training.callbacks]
        progress.finished = bool(largest(any(wishes))) or progress.epoch == self.recipe.epochs
        progress.next_epoch()
        self.keeper.after_epoch(self.training)
        return result

    def _train(self, began: float) -> None:
        progress, source = self.training.progress, self.parts.train
        self.network.train()
        statistics, manner = Statistics(self.training.module), self._manner()
        for batch in source.epoch(progress.epoch, progress.batch):
            statistics.keep()
            seed_step(self.recipe.seed, progress.epoch, progress.batch)
            rate = self._rate()
            result = self._update(batch, manner, statistics)
            progress.batch += 1
            progress.seconds = time.perf_counter() - began
            if result.applied:
                if result.whole is not None:
                    statistics.average(result.whole.share)
                self.training.schedule.after_step()
                if self.training.average is not None:
                    self.training.average.update()
                progress.sums.add(result, len(batch.labels) if result.whole is None else result.whole.num_pictures)
                progress.not_finite.clear()
            else:
                statistics.bring_back()
                self._not_finite()
            self._tell(rate)
            self.leave_if_asked()
            self.keeper.after_step(self.training)

    def _manner(self) -> Manner:
        recipe = self.recipe
        objective = objective_of(recipe, self.parts.train, self.training.device)
        return Manner(objective, 0, recipe.clip_norm)

    def _update(self, batch: LabelledBatch, manner: Manner, statistics: Statistics) -> StepResult:
        """One update, made again in smaller pieces where memory runs out."""
        labels = batch.labels if batch.mixed is None else batch.mixed
        generators = generator_states(self.training.device)
        while True:
            try:
                now = manner._replace(piece_size=piece_size(self.training, self.recipe.batch_size))
                return update(self.network, self.training.optimizer, batch.images, labels, now)
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                # Its frames hold all that the pass through the network had kept.
                said = error.with_traceback(None)
            statistics.bring_back()
            set_generator_states(generators, self.training.device)
            take_smaller(self.training, self.recipe.batch_size, self.keeper, said)

    def _rate(self) -> float:
        return float(self.training.optimizer.param_groups[self.shown]["lr"])

    def _tell(self, rate: float) -> None:
        progress, source = self.training.progress, self.parts.train
        step = (progress.epoch - 1) * self.training.steps_per_epoch + progress.batch
        done = progress.sums.num_pictures
        position = StepPosition(progress.epoch, self.recipe.epochs, done, source.num_pictures, step, rate)
        for callback in self.training.callbacks:
            callback.after_step(position, progress.sums.read)

    def _averaged(self) -> AbstractContextManager[None]:
        """Where weights are averaged the network has the average within: that is what is judged and written."""
        return nullcontext() if self.training.average is None else self.training.average.shown()

    def _watch(self, began: float) -> Tally:
        """Validate; a wish to stop is heard between batches, and the epoch is then validated when it goes on."""

        def batches() -> Iterator[LabelledBatch]:
            for batch in self.parts.val.epoch(0):
                self.training.progress.seconds = time.perf_counter() - began
                if self._is_asked():
                    raise _AskedToStop
                yield batch

        at_once = piece_size(self.training, self.recipe.batch_size)
        with torch.no_grad():
            validated = sum_tally(validate_batches(self.network, batches(), at_once))
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
        if not progress.halved and decided(lambda: self.keeper.go_back(self.training)):
            share_training(self.training)
            scale_rates(self.training.optimizer, self.training.schedule, 0.5)
            progress.halved = True
            self.keeper.say(
                f"epoch {epoch}: {NOT_FINITE} for {_MOST_IN_A_ROW} steps in a row; back to the last good state "
                f"(epoch {progress.epoch}, batch {progress.batch}), with half the learning rate from there on"
            )
            return
        where = self.keeper.accuse(accused)
        let_leader_say()
        raise DivergedError(
            "the training loss is no finite number: the weights have left the finite numbers",
            where=f"epoch {epoch}, highest learning rate {rate:g}" + (f"; the last batches: {where}" if where else ""),
            remedy=f"start again with a lower rate: --learning-rate {rate / 10:g}",
        )

    def leave_if_asked(self) -> None:
        """Keep the state and leave, where Ctrl-C or SIGTERM came.

        Raises:
            KeyboardInterrupt, SystemExit: it did.
        """
        if self._is_asked():
            self.keeper.stopped(self.training, self.stop.name)
            self.stop.leave()

    def _is_asked(self) -> bool:
        """Whether any of the processes was asked to stop: all of them then stop at the same place."""
        self.stop.number = largest(self.stop.number)
        return bool(self.stop)
