"""Before the first epoch of a transfer: the head is found first, and what looks like a mistake is said.

training/probe.py solves, training/linear_head.py feeds it; here is decided when.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

import torch

from saccade.data.batches import Batches
from saccade.keeping import Way
from saccade.recipe import Recipe
from saccade.screen import Screen
from saccade.training.callbacks import Callback, EpochResult
from saccade.training.convex import Search
from saccade.training.distributed import decided, share_state
from saccade.training.freeze import FreezeReport, freeze
from saccade.training.linear_head import HeadInputs, LinearHead, find_linear_head, head_inputs
from saccade.training.loop import fit
from saccade.training.probe import solve_logistic
from saccade.training.sources import Parts
from saccade.training.validation import validate

# A head of several layers cannot be solved: so many epochs, at the usual rate of new layers, come before fine-tuning.
_HEAD_EPOCHS, _HEAD_RATE = 5, 1e-3
# Rates above these took pretrained weights apart: docs/transfer.md, "A rate that destroys".
HIGHEST_RATES = MappingProxyType({"adamw": 3e-3, "adam": 3e-3, "rmsprop": 3e-3, "sgd": 1e-1})
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
        head = None if _is_balanced(recipe) else find_linear_head(way.learner, sample)
        if head is not None:
            result = decided(lambda: _solve(head, way, recipe, screen))
            share_state(way.network)
            for callback in callbacks:
                callback.after_epoch(result)
        elif recipe.train != "head":
            _train_alone(way, recipe, screen)
        else:
            screen.say(f"the head is not solved but trained by epochs: {_why_not_solved(recipe)}")
        return head is not None
    finally:
        freeze(way.network, recipe.train, keep_statistics=recipe.batch_norm == "keep")


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
    rate, highest = recipe.learning_rate or 0.0, HIGHEST_RATES.get(recipe.optimizer, math.inf)
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


def _is_balanced(recipe: Recipe) -> bool:
    """A solved head counts every picture once."""
    return recipe.class_weights != "none" or recipe.sampling != "plain"


def _why_not_solved(recipe: Recipe) -> str:
    return "a solved one counts every picture once" if _is_balanced(recipe) else "it has several layers"


def _train_alone(way: Way, recipe: Recipe, screen: Screen) -> None:
    # Of fixed views as many are kept as epochs follow, so a short training has a short beginning.
    epochs = min(_HEAD_EPOCHS, recipe.epochs) if recipe.views else _HEAD_EPOCHS
    changes: dict[str, object] = {
        "epochs": epochs,
        "optimizer": "adamw",
        "learning_rate": _HEAD_RATE,
        "schedule": "onecycle",
    }
    changes |= {"warmup": None, "ema": 0.0}
    history = fit(way.learner, Parts(way.train, way.val), recipe.model_copy(update=changes))
    screen.say(
        f"head: {_why_not_solved(recipe)}, so it was trained alone for {epochs} epoch{'s' if epochs > 1 else ''} "
        f"first; val accuracy {history[-1].val_accuracy:.2%}"
    )
