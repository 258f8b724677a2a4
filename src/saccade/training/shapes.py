"""The course of the learning rate as a function: update -> share of the highest rate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from saccade.errors import RecipeError
from saccade.recipe import Recipe

Shape = Callable[[int], float]
"""Updates made so far -> share of the highest rate for the next one."""

OwnShape = Callable[[float], float]
"""Epochs done so far, 2.5 in the middle of the third -> share of the highest rate for the next update."""

RISING_SHARE = 0.2  # of a training with a schedule that rises by itself: onecycle, triangle
_FIRST_SHARE = 0.01  # of the rate, where a warm-up begins; that of torchvision's training script
_EVERY = "every-"


class Steps(NamedTuple):
    """How long a training is."""

    epochs: int
    per_epoch: int

    @property
    def total(self) -> int:
        """Updates."""
        return self.epochs * self.per_epoch


def warmup_steps(recipe: Recipe, steps_per_epoch: int) -> float:
    """How many updates the rate rises for: `warmup` epochs or, where that is not said, as the schedule has it."""
    if recipe.warmup is not None:
        return min(recipe.warmup, recipe.epochs) * steps_per_epoch
    return RISING_SHARE * recipe.epochs * steps_per_epoch if recipe.schedule in ("onecycle", "triangle") else 0.0


def shape_of(recipe: Recipe, steps: Steps, own: OwnShape | None = None) -> Shape:
    """The course of the schedules cosine, step, triangle, constant and own, with their warm-up.

    Raises:
        RecipeError: `step_epochs` cannot be read, or there is no function where the schedule is `own`.
    """
    warmup = round(warmup_steps(recipe, steps.per_epoch))
    if recipe.schedule == "triangle":
        return triangle(warmup, steps.total)
    if recipe.schedule == "step":
        # Milestones are epochs of the whole training, whether it was warmed up or not.
        return warmed_up(falling(milestones(recipe), recipe.step_factor, steps.per_epoch), warmup, shifted=False)
    if recipe.schedule == "cosine":
        length = max(steps.total - warmup, 1)
        return warmed_up(lambda step: (1 + math.cos(math.pi * step / length)) / 2, warmup)
    if recipe.schedule == "own":
        return warmed_up(_checked(own, steps.per_epoch), warmup, shifted=False)
    return warmed_up(lambda step: 1.0, warmup)


def warmed_up(shape: Shape, warmup: int, *, shifted: bool = True) -> Shape:
    """First a straight line up from a hundredth; behind it the shape, from its beginning where it is shifted."""
    if not warmup:
        return shape

    def whole(step: int) -> float:
        if step < warmup:
            return (_FIRST_SHARE + (1 - _FIRST_SHARE) * step / warmup) * (1.0 if shifted else shape(step))
        return shape(step - warmup if shifted else step)

    return whole


def triangle(rising: int, total: int) -> Shape:
    """Straight up for so many updates, then straight down; the last update of `total` still has a little."""

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return max(total - step, 0) / max(total - rising, 1)

    return share


def falling(after: list[float], factor: float, steps_per_epoch: int) -> Shape:
    """One, times the factor after each of these epochs."""
    steps = [round(epoch * steps_per_epoch) for epoch in after]
    return lambda step: factor ** bisect_right(steps, step)


def milestones(recipe: Recipe) -> list[float]:
    """The epochs after which the schedule `step` falls, ascending: `30,60`, `every-30`, or after each third.

    Raises:
        RecipeError: it is written otherwise.
    """
    text = recipe.step_epochs
    if text is None:
        return [recipe.epochs / 3, recipe.epochs * 2 / 3]
    try:
        if text.startswith(_EVERY):
            stride = float(text.removeprefix(_EVERY))
            found = [stride * number for number in range(1, math.ceil(recipe.epochs / stride))] if stride > 0 else [0.0]
        else:
            found = [float(part) for part in text.split(",")]
        if min(found, default=1.0) <= 0 or not all(map(math.isfinite, found)):
            raise ValueError
    except (ValueError, ZeroDivisionError, OverflowError):
        raise RecipeError(
            f"the epochs {text!r} cannot be read",
            where="step_epochs",
            remedy="write epochs with commas between them, such as 30,60,80, or every-30",
        ) from None
    return sorted(found)


def _checked(own: OwnShape | None, steps_per_epoch: int) -> Shape:
    """A caller's function, whose answers are looked at."""
    if own is None:
        raise RecipeError(
            "the schedule of this recipe is a function of the one who called, and none was given",
            where="schedule own",
            remedy="go on from Python: saccade.train(..., schedule=FUNCTION), or choose another --schedule",
        )

    def share(step: int) -> float:
        epoch = step / steps_per_epoch
        found = own(epoch)
        if not isinstance(found, int | float) or not math.isfinite(found) or found < 0:
            raise RecipeError(
                f"a schedule returns the share of the highest rate, a number of 0 or more; after {epoch:g} epochs this "
                f"one returned {found!r}",
                where="schedule",
            )
        return float(found)

    return share
