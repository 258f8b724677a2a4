"""In which mode a run computes: timed on a copy of what it trains, and said. modes.py chooses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from saccade.data.cache import cache_folder
from saccade.errors import ran_out
from saccade.keeping import Way
from saccade.models.summary import layer_table
from saccade.modes import PLAIN, Asked, Mode, Notes, Trial, choose_mode
from saccade.recipe import Recipe
from saccade.resuming import Begun
from saccade.screen import Screen
from saccade.training.distributed import decided, num_processes
from saccade.training.exchange import share_of
from saccade.training.in_mode import InMode, trial_step

_WORTH_TIMING = 1e9  # multiply-adds of a batch


def in_best_mode(way: Way, recipe: Recipe, begun: Begun, screen: Screen) -> Way:
    """The same way, computed in the mode that was asked for or was measured to be the fastest safe one here.

    Small networks are not timed: below a thousand million multiply-adds in a batch there is nothing to win. What is
    timed is a step on a copy, once per machine; which mode was taken is said. A run that goes on computes as before.
    """
    mode, why = decided(lambda: _mode(way, recipe, begun, screen))
    if mode == PLAIN:
        return way
    screen.say(f"layers compute in {mode} ({why}); weights, loss and BatchNorm's statistics stay float32")
    device = way.network.normalise.mean.device
    return way._replace(learner=InMode(way.learner, device, mode, _at_once(recipe)))


def _at_once(recipe: Recipe) -> int:
    """Pictures that go through the network of a process at once."""
    return -(-recipe.batch_size // max(num_processes(), recipe.accumulate))


def _mode(way: Way, recipe: Recipe, begun: Begun, screen: Screen) -> tuple[Mode, str]:
    asked = Asked(recipe.precision, recipe.layout, recipe.compile)
    then = _mode_of(begun)
    if asked.is_open and then is not None and asked.admits(then):
        return then, "as before it was interrupted"
    work = recipe.batch_size * layer_table(way.network).multiply_adds * way.share
    if work < _WORTH_TIMING:
        return asked.untimed, "as asked for"
    device, images = way.network.normalise.mean.device, next(iter(share_of(way.train).epoch(1))).images
    images = images[: _at_once(recipe)]
    stages = sum(any(p.requires_grad for p in stage.parameters()) for stage in way.network.stages)
    key = f"training {way.network.spec.model}, {stages} stages, {tuple(images.shape)} on {device.type}"
    notes = Notes(cache_folder() / "engine.json", key)
    num_steps = recipe.epochs * way.train.num_batches
    try:
        trial = _announced(partial(trial_step, way.learner, images), screen)
        mode = choose_mode(asked, trial, notes, device, num_steps)
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):  # a copy of the network needs more than the training itself, which may well have room
            raise
        return asked.untimed, "memory ran out while others were timed"
    return mode, "timed: the fastest here" if asked.is_open else "as asked for"


def _announced(trial: Trial, screen: Screen) -> Trial:
    """The same trial, and a line before the one that takes long."""

    def told(mode: Mode) -> Callable[[], Tensor]:
        if mode.compiled:
            screen.say(
                "this run would take more than an hour, so torch.compile is tried: a minute or more (--compile off)"
            )
        return trial(mode)

    return told


def _mode_of(begun: Begun) -> Mode | None:
    """How the steps before an interruption were computed."""
    if begun.checkpoint is None:
        return None
    return Mode.read(str(begun.checkpoint.values["about"]["computed_in"]["training"]))
