"""Which learning rate suits: a short training whose rate rises from update to update, and what its losses say.

Smith 2015, https://arxiv.org/abs/1506.01186; the two ways of reading the curve are those of fastai.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from saccade.recipe import Recipe
from saccade.training.loss import objective_of
from saccade.training.optimizer import make_optimizer
from saccade.training.progress import own_generators
from saccade.training.sources import BatchSource, LabelledBatch
from saccade.training.step import Manner, update
from saccade.training.trainable import Trainable

LOWEST, HIGHEST = 1e-7, 10.0
NUM_UPDATES = 100
_REMEMBERED = 0.98  # of the losses so far, as fastai and Smith have it
_DIVERGED = 4.0  # times the lowest smoothed loss: nothing is to be learnt from going on
_FEWEST = 10  # below this many updates a curve says nothing
_LAST = 5


class Trial(NamedTuple):
    """An update at one rate: the loss of its batch, in nats, and that averaged with those before it."""

    rate: float
    loss: float
    smoothed: float


class Suggestion(NamedTuple):
    """Two ways of reading the curve.

    Attributes:
        valley: half way through the longest stretch over which the loss falls: the rate that is suggested.
        steepest: where the loss falls fastest.
    """

    valley: float
    steepest: float


def sweep(
    network: Trainable, source: BatchSource, recipe: Recipe, progress: Callable[[int], None] = lambda done: None
) -> list[Trial]:
    """Train a copy while the rate rises exponentially, until the loss is four times its lowest or no finite number.

    Args:
        network: what would be trained; it stays as it is.
        source: the pictures it would learn from; their epochs follow each other where one is too short.
        recipe: resolved; its optimizer, loss and accumulation count, its rate and schedule do not.
        progress: told how many updates were made.

    Returns:
        A record per update.
    """
    tried = copy.deepcopy(network)
    module = tried.train()
    optimizer = make_optimizer(tried, recipe.model_copy(update={"learning_rate": 1.0}))
    shares = [float(group["lr"]) for group in optimizer.param_groups]
    device = next(module.parameters()).device
    pieces = -(-recipe.batch_size // recipe.accumulate) if recipe.accumulate > 1 else 0
    manner = Manner(objective_of(recipe, source, device), pieces, recipe.clip_norm)
    trials: list[Trial] = []
    average = 0.0
    with own_generators(recipe.seed, device):
        for rate, batch in zip(_rates(), _endless(source), strict=False):
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share
            labels = batch.labels if batch.mixed is None else batch.mixed
            result = update(tried, optimizer, batch.images, labels, manner)
            if not result.applied:
                break
            loss = float(result.loss)
            average = _REMEMBERED * average + (1 - _REMEMBERED) * loss
            trials.append(Trial(rate, loss, average / (1 - _REMEMBERED ** (len(trials) + 1))))
            progress(len(trials))
            if trials[-1].smoothed > _DIVERGED * min(each.smoothed for each in trials):
                break
    return trials


def suggest(trials: Sequence[Trial]) -> Suggestion | None:
    """Read a curve; None where it is too short, or falls nowhere."""
    # As fastai: the average has to get going, and the end is where it all falls apart.
    read = trials[len(trials) // 10 : -_LAST] if len(trials) > _FEWEST + _LAST else trials
    rates, losses = [trial.rate for trial in read], [trial.smoothed for trial in read]
    if len(read) < _FEWEST or min(losses[1:]) >= losses[0]:
        return None
    slopes = np.gradient(np.asarray(losses), np.log(rates))
    return Suggestion(rates[_valley(losses)], rates[int(slopes.argmin())])


def _valley(losses: Sequence[float]) -> int:
    """The middle of the longest falling subsequence, as fastai's `valley` has it: a third and half of the next."""
    length = [1] * len(losses)
    for last in range(1, len(losses)):
        length[last] += max((length[before] for before in range(last) if losses[last] < losses[before]), default=0)
    end = int(np.argmax(length))
    start = max(end - length[end], 0)
    section = (end - start) / 3
    return start + int(section) + int(section / 2)


def _rates() -> Iterator[float]:
    for number in range(NUM_UPDATES):
        yield LOWEST * math.pow(HIGHEST / LOWEST, number / (NUM_UPDATES - 1))


def _endless(source: BatchSource) -> Iterator[LabelledBatch]:
    epoch = 1
    while True:
        yield from source.epoch(epoch)
        epoch += 1
