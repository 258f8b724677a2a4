"""How the learning rate changes, step by step, with torch's own schedulers; shapes.py has those it does not have."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from saccade.metrics import Tally
from saccade.recipe import Metric, Recipe
from saccade.training.shapes import RISING_SHARE, OwnShape, Steps, shape_of, warmed_up, warmup_steps

PLATEAU_FACTOR = 0.2
PLATEAU_PATIENCE = 5


class Schedule(Protocol):
    """Told after every update and after every epoch; changes the optimizer's rate when its time has come."""

    def after_step(self) -> None:
        """An update was made."""

    def after_epoch(self, validated: Tally) -> None:
        """An epoch ended with this validation."""

    @property
    def schedulers(self) -> Mapping[str, LRScheduler]:
        """torch's own, which have the state, by the names under which a checkpoint keeps them."""


class StepSchedule:
    """A torch scheduler that moves with every update."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self.schedulers: Mapping[str, LRScheduler] = {"": scheduler}
        self._scheduler = scheduler

    def after_step(self) -> None:
        """Move on by one update."""
        self._scheduler.step()

    def after_epoch(self, validated: Tally) -> None:
        """Nothing: this schedule does not look at results."""


class PlateauSchedule:
    """×0.2 after 5 epochs without a better validation; epochs that end within the warm-up do not count.

    Args:
        optimizer: whose rate is changed.
        warmup: updates during which the rate rises.
        by: what is looked at, val_loss or val_accuracy.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, warmup: int = 0, by: Metric = "val_loss") -> None:
        mode: Literal["min", "max"] = "min" if by == "val_loss" else "max"
        plateau = ReduceLROnPlateau(optimizer, mode, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE - 1)
        self._plateau, self._by, self._num_steps = plateau, by, warmup
        self._rising = LambdaLR(optimizer, warmed_up(lambda step: 1.0, warmup)) if warmup else None
        self.schedulers: Mapping[str, LRScheduler] = {"": plateau}
        if self._rising is not None:
            self.schedulers = {"": plateau, "warmup": self._rising}

    def after_step(self) -> None:
        """Rise during the warm-up; behind it, this schedule looks at whole epochs."""
        if self._rising is not None and self._is_rising:
            self._rising.step()

    def after_epoch(self, validated: Tally) -> None:
        """Compare with the best validation so far."""
        if not self._is_rising:
            self._plateau.step(validated.loss if self._by == "val_loss" else validated.accuracy)

    @property
    def _is_rising(self) -> bool:
        return self._rising is not None and self._rising.last_epoch < self._num_steps


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int, own: OwnShape | None = None
) -> Schedule:
    """The recipe's schedule for a whole training.

    `onecycle` warms up for a fifth of the updates and falls along a cosine to nearly zero (Smith and Topin 2017,
    https://arxiv.org/abs/1708.07120), `triangle` does so along straight lines, `cosine` only falls, `step` falls at
    once after some epochs, `plateau` waits for results, `constant` stays; `own` is a function of the caller's.

    Args:
        optimizer: its rates are the highest ones.
        recipe: resolved.
        steps_per_epoch: updates.
        own: where the recipe's schedule is `own`.

    Raises:
        RecipeError: the recipe's `step_epochs` cannot be read, or its schedule is `own` and there is none.
    """
    # One more than is used: OneCycleLR counts its own first step.
    steps = recipe.epochs * steps_per_epoch + 1
    if recipe.schedule == "onecycle":
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        # A warm-up shorter than one step would divide by zero inside; it only happens in trainings of a few steps.
        share = RISING_SHARE if recipe.warmup is None else min(recipe.warmup / recipe.epochs, 1 - 1.5 / steps)
        return StepSchedule(OneCycleLR(optimizer, rates, total_steps=steps, pct_start=max(share, 1.5 / steps)))
    if recipe.schedule == "plateau":
        return PlateauSchedule(optimizer, round(warmup_steps(recipe, steps_per_epoch)), recipe.best_by or "val_loss")
    if recipe.schedule == "cosine" and not recipe.warmup:
        return StepSchedule(CosineAnnealingLR(optimizer, T_max=steps))
    return StepSchedule(LambdaLR(optimizer, shape_of(recipe, Steps(recipe.epochs, steps_per_epoch), own)))


def schedule_state(schedule: Schedule) -> dict[str, Any]:
    """What a checkpoint keeps of it, as plain JSON values."""
    state = {name: scheduler.state_dict() for name, scheduler in schedule.schedulers.items()}
    return {**state.pop(""), **state}


def set_schedule_state(schedule: Schedule, state: Mapping[str, Any]) -> None:
    """Bring it to where `schedule_state` was taken."""
    for name, scheduler in schedule.schedulers.items():
        own = state[name] if name else {key: each for key, each in state.items() if key not in schedule.schedulers}
        scheduler.load_state_dict(dict(own))


def advance(schedule: Schedule, num_steps: int) -> None:
    """Bring a new schedule to where it would be after so many updates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of steps of a schedule without those of its optimizer
        for _ in range(num_steps):
            schedule.after_step()


def scale_rates(optimizer: torch.optim.Optimizer, schedule: Schedule, factor: float) -> None:
    """Multiply the rate by a factor, now and in all that the schedule still has in store."""
    for group in optimizer.param_groups:
        for name in ("lr", "initial_lr", "max_lr", "min_lr"):
            if name in group:
                group[name] *= factor
    for scheduler in schedule.schedulers.values():
        known: dict[str, Any] = scheduler.__dict__
        for name in ("base_lrs", "_last_lr"):
            if name in known:
                known[name] = [rate * factor for rate in known[name]]
