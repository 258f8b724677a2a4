"""How the learning rate changes, step by step, with torch's own schedulers."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, ReduceLROnPlateau

from saccade.recipe import Recipe

PLATEAU_FACTOR = 0.2
PLATEAU_PATIENCE = 5
WARMUP_SHARE = 0.2


class Schedule(Protocol):
    """Told after every update and after every epoch; changes the optimizer's rate when its time has come."""

    def after_step(self) -> None:
        """An update was made."""

    def after_epoch(self, val_loss: float) -> None:
        """An epoch ended with this validation loss."""

    @property
    def scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        """torch's own, which has the state."""


class StepSchedule:
    """A torch scheduler that moves with every update."""

    def __init__(self, scheduler: torch.optim.lr_scheduler.LRScheduler) -> None:
        self._scheduler = scheduler

    @property
    def scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        """torch's own, which has the state."""
        return self._scheduler

    def after_step(self) -> None:
        """Move on by one update."""
        self._scheduler.step()

    def after_epoch(self, val_loss: float) -> None:
        """Nothing: this schedule does not look at results."""


class PlateauSchedule:
    """×0.2 after 5 epochs without a better validation loss."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._scheduler = ReduceLROnPlateau(optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE - 1)

    @property
    def scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        """torch's own, which has the state."""
        return self._scheduler

    def after_step(self) -> None:
        """Nothing: this schedule looks at whole epochs."""

    def after_epoch(self, val_loss: float) -> None:
        """Compare with the best validation loss so far."""
        self._scheduler.step(val_loss)


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """The recipe's schedule for a whole training.

    `onecycle` warms up for a fifth of the updates and falls along a cosine to nearly zero (Smith and Topin 2017,
    https://arxiv.org/abs/1708.07120), `cosine` only falls, `plateau` waits for results, `constant` stays.
    """
    # One more than is used: OneCycleLR counts its own first step.
    steps = recipe.epochs * steps_per_epoch + 1
    if recipe.schedule == "onecycle":
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        # A warm-up shorter than one step would divide by zero inside; it only happens in trainings of a few steps.
        warmup = max(WARMUP_SHARE, 1.5 / steps)
        return StepSchedule(OneCycleLR(optimizer, rates, total_steps=steps, pct_start=warmup))
    if recipe.schedule == "cosine":
        return StepSchedule(CosineAnnealingLR(optimizer, T_max=steps))
    if recipe.schedule == "plateau":
        return PlateauSchedule(optimizer)
    return StepSchedule(LambdaLR(optimizer, lambda step: 1.0))


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
    known: dict[str, Any] = schedule.scheduler.__dict__
    for name in ("base_lrs", "_last_lr"):
        if name in known:
            known[name] = [rate * factor for rate in known[name]]
