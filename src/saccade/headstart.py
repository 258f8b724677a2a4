"""Before the first epoch of a transfer: the head is found first, and what looks like a mistake is said.

training/probe.py solves, training/linear_head.py feeds it; here is decided when.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import torch

from saccade.data.batches import Batches
from saccade.data.cache import cache_folder
from saccade.engine import choose_precision
from saccade.keeping import Way
from saccade.models.summary import layer_table
from saccade.recipe import Recipe
from saccade.screen import Screen
from saccade.training.callbacks import Callback, EpochResult
from saccade.training.convex import Search
from saccade.training.freeze import FreezeReport, freeze
from saccade.training.linear_head import HeadInputs, LinearHead, find_linear_head, head_inputs
from saccade.training.loop import Parts, fit, validate
from saccade.training.precision import Rounded, trial_step
from saccade.training.probe import solve_logistic

# A head of several layers cannot be solved: so many epochs, at the usual rate of new layers, come before fine-tuning.
_HEAD_EPOCHS, _HEAD_RATE = 5, 1e-3
# Rates above these took pretrained weights apart: docs/transfer.md, "A rate that destroys".
HIGHEST_RATES = MappingProxyType({"adamw": 3e-3, "adam": 3e-3, "rmsprop": 3e-3, "sgd": 1e-1})
_WORTH_TIMING = 1e9  # multiply-adds of a batch
_MOST_VALUES = 2**28  # of the features that the head is solved on: 1 GiB


def head_first(way: Way, recipe: Recipe, callbacks: Sequence[Callback], screen: Screen) -> bool:
    """Solve the head on the frozen features or, where it has several layers, train it alone for a few epochs.

    Callbacks are told of a solved head as of epoch 0, so its weights are kept when no epoch does better.

    Returns:
        Whether it was solved; a head that alone learns then needs no epochs.
    """
    freeze(way.network, "head")
    try:
        sample = next(iter(way.val.epoch(0))).images[:2]
        head = find_linear_head(way.learner, sample)
        if head is not None:
            result = _solve(head, way, recipe, screen)
            for callback in callbacks:
                callback.after_epoch(result)
        elif recipe.train != "head":
            _train_alone(way, recipe, screen)
        else:
            screen.say("the head has several layers, so it is not solved but trained by epochs")
        return head is not None
    finally:
        freeze(way.network, recipe.train, keep_statistics=recipe.batch_norm == "keep")


def rounded(way: Way, recipe: Recipe, screen: Screen) -> Way:
    """The same way, with layers that compute in bfloat16 where that was asked for or was measured to be faster here.

    Small networks are not timed: below a thousand million multiply-adds in a batch there is nothing to win. What is
    timed is a step on a copy, once per machine; which way was taken is said.
    """
    work = recipe.batch_size * layer_table(way.network).multiply_adds * way.share
    if isinstance(way.learner, Rounded) or (recipe.precision == "auto" and work < _WORTH_TIMING):
        return way
    learner, device = way.learner, way.network.normalise.mean.device
    images = next(iter(way.train.epoch(1))).images
    stages = sum(any(p.requires_grad for p in stage.parameters()) for stage in way.network.stages)
    key = f"training {way.network.spec.model}, {stages} stages, {tuple(images.shape)} on {device.type}"
    dtype = choose_precision(
        recipe.precision, partial(trial_step, learner, images), key, cache_folder() / "engine.json"
    )
    if dtype == torch.float32:
        return way
    why = "as asked for" if recipe.precision != "auto" else "timed: faster than float32 here"
    screen.say(f"layers compute in bfloat16 ({why}); weights, loss and BatchNorm's statistics stay float32")
    return way._replace(learner=Rounded(learner, device, dtype))


def doubts(recipe: Recipe, frozen: FreezeReport) -> list[str]:
    """Sentences about what is likely to go wrong with these weights; nothing is said when all is well."""
    found = []
    if recipe.weights == "none":
        if frozen.frozen:
            found.append(
                "the frozen stages have random weights, which see little; "
                "give them pretrained ones: --weights default, or a file"
            )
        return found
    rate, highest = recipe.learning_rate or 0.0, HIGHEST_RATES[recipe.optimizer]
    if frozen.learning and rate > highest:
        found.append(
            f"a learning rate of {rate:g} is likely to destroy the pretrained weights of {frozen.learning_in_words()}: "
            f"the first steps are larger than what the weights hold; --learning-rate {highest / 10:g} keeps them"
        )
    return found


def _solve(head: LinearHead, way: Way, recipe: Recipe, screen: Screen) -> EpochResult:
    began = time.perf_counter()
    num_classes = way.network.spec.num_classes
    inputs = _inputs(head, way, recipe)
    # Views of one picture look alike: what one of them taught must not be asked of another, so one view is judged.
    first = HeadInputs(*(tensor[: way.train.num_pictures] for tensor in inputs))
    solved = solve_logistic(*first, num_classes, recipe.label_smoothing, Search(seed=recipe.seed))
    if len(inputs.labels) > len(first.labels):
        # They count as so many pictures, and teach little more than one: the pull of L2 grows with them.
        strength = solved.strength * len(inputs.labels) / len(first.labels)
        only = Search((strength,), num_pictures=2, seed=recipe.seed)
        refined = solve_logistic(*inputs, num_classes, recipe.label_smoothing, only)
        head.set(refined.weight, refined.bias)
    else:
        head.set(solved.weight, solved.bias)
    trained, seen = head.judge(inputs), time.perf_counter() - began
    validated = validate(way.learner, way.val)
    seconds = time.perf_counter() - began
    screen.say(
        f"head: solved on {len(inputs.labels):,} × {inputs.features.shape[1]:,} features in {seconds:.1f} s, "
        f"L2 of {solved.strength:.2g} by cross-validation ({solved.cv_accuracy:.1%} right); "
        f"train accuracy {trained.accuracy:.2%}, val accuracy {validated.accuracy:.2%}"
    )
    return EpochResult(
        epoch=0,
        train_loss=trained.loss,
        train_accuracy=trained.accuracy,
        val_loss=validated.loss,
        val_accuracy=validated.accuracy,
        learning_rate=0.0,
        seconds=seconds,
        pictures_per_second=len(inputs.labels) / seen,
    )


def _inputs(head: LinearHead, way: Way, recipe: Recipe) -> HeadInputs:
    """What the head is given for the training pictures, in as many of their views as there are and as fit."""
    # A solved head knows whole labels alone: pictures are not mixed for it.
    train = replace(way.train, mixing=None) if isinstance(way.train, Batches) else way.train
    once = head_inputs(way.learner, head, train, range(1, 2))
    views = min(recipe.views, recipe.epochs, _MOST_VALUES // once.features.numel())
    if views < 2 or recipe.augment == "none":
        return once
    others = head_inputs(way.learner, head, train, range(2, views + 1))
    return HeadInputs(torch.cat([once.features, others.features]), torch.cat([once.labels, others.labels]))


def _train_alone(way: Way, recipe: Recipe, screen: Screen) -> None:
    changes = {"epochs": _HEAD_EPOCHS, "optimizer": "adamw", "learning_rate": _HEAD_RATE, "schedule": "onecycle"}
    history = fit(way.learner, Parts(way.train, way.val), recipe.model_copy(update=changes))
    screen.say(
        f"head: it has several layers, so it was trained alone for {_HEAD_EPOCHS} epochs first; "
        f"val accuracy {history[-1].val_accuracy:.2%}"
    )
