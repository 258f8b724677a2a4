"""Keeps the state of a training on the disk: when, and what happens when the disk refuses."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from saccade.errors import ResourceError, RunError
from saccade.training.checkpoint import Checkpoint, CheckpointFolder, Snapshot
from saccade.training.progress import BatchPlace, Keeper, Training
from saccade.training.resume import gather, restore

_NO_PLACE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS))
_AT_MOST = 0.05  # the share of the time that saving after epochs may take


class Listener(Protocol):
    """What is told; `screen.Screen` is one."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def warn(self, text: str) -> None:
        """A line that stays and should not be overlooked."""


class Surroundings(NamedTuple):
    """What a keeper needs of the run folder.

    Attributes:
        about: plain JSON values that a checkpoint names as its origin: recipe, pictures.
        best: the file of the best weights; it travels with a checkpoint once it exists.
        ready: writes what must be on the disk before a checkpoint may count; an OSError says that it is not.
        rewind: (checkpoint, number of finished epochs): whatever was written after it is taken back.
        accuse: (batches) -> where their pictures were listed.
        screen: told what happens.
    """

    about: Mapping[str, Any]
    best: Path
    ready: Callable[[], None]
    rewind: Callable[[Checkpoint, int], None]
    accuse: Callable[[Sequence[BatchPlace]], str]
    screen: Listener


@dataclass
class DiskKeeper(Keeper):
    """Keeps checkpoints in a folder: at the beginning, after epochs, every few minutes, and when asked to leave.

    After an epoch nothing is written while the last checkpoint is so young that saving would take more than a
    twentieth of the time.

    Attributes:
        resumed: what to begin with; None for the beginning.
        changed: the recipe or the pictures are no longer those of `resumed`, so its epoch begins anew.
        num_saved: checkpoints written.
        num_failed: checkpoints that could not be.
    """

    folder: CheckpointFolder
    minutes: float
    around: Surroundings
    resumed: Checkpoint | None = None
    changed: bool = False
    num_saved: int = 0
    num_failed: int = 0
    _last: float = field(default_factory=time.monotonic)
    _cost: float = 0.0
    _refusal: int = 0

    def begin(self, training: Training) -> None:
        """Go on from the checkpoint, or keep the beginning: who has no place for it learns so before the first step.

        Raises:
            ResourceError: the folder is read-only or gone. A full disk is warned about.
        """
        if self.resumed is None:
            if not self._save(training) and self._refusal in _NO_PLACE:
                raise ResourceError(
                    f"nothing can be written there: {os.strerror(self._refusal)}",
                    where=str(self.folder.folder),
                    remedy="choose a folder that is there and that you may write to: --project DIR",
                )
            return
        self._restore(training, self.resumed)
        progress = training.progress
        if not progress.finished:
            place = f"epoch {progress.epoch}" + (f", after batch {progress.batch}" if progress.batch else "")
            self.around.screen.say(f"going on with {place}")
        self._last = time.monotonic()

    def after_step(self, training: Training) -> None:
        """Every few minutes."""
        if time.monotonic() - self._last >= self.minutes * 60 and not training.progress.not_finite:
            self._save(training)

    def after_epoch(self, training: Training) -> None:
        """Unless the last checkpoint is too young; the last epoch always."""
        age = time.monotonic() - self._last
        if training.progress.finished or age * _AT_MOST >= self._cost or age >= self.minutes * 60:
            self._save(training)

    def stopped(self, training: Training, name: str) -> None:
        """Now, and say so."""
        progress = training.progress
        saved = self._save(training)
        self.around.screen.say(
            f"stopped by {name} in epoch {progress.epoch}, after batch {progress.batch}; "
            + ("the state is saved" if saved else "the last checkpoint stays as it is")
        )

    def keep_now(self, training: Training) -> None:
        """Now."""
        if not training.progress.not_finite:
            self._save(training)

    def go_back(self, training: Training) -> bool:
        """To the newest checkpoint."""
        try:
            checkpoint = self.folder.newest(self.around.screen.warn)
        except RunError:
            checkpoint = None
        if checkpoint is None:
            return False
        self._restore(training, checkpoint)
        return True

    def accuse(self, batches: Sequence[BatchPlace]) -> str:
        """In the run folder."""
        return self.around.accuse(batches)

    def say(self, text: str) -> None:
        """As a warning."""
        self.around.screen.warn(text)

    def _save(self, training: Training) -> bool:
        began = self._last = time.monotonic()
        snapshot = gather(training)
        average = () if training.average is None else training.average.kept.values()
        if not all(bool(tensor.isfinite().all()) for tensor in (*training.module.state_dict().values(), *average)):
            return False  # the next step will notice, and go back to a checkpoint that is better than this one
        try:
            self.around.ready()
            best = [self.around.best] if self.around.best.exists() else []
            values = {**snapshot.values, "about": dict(self.around.about)}
            self.folder.write(Snapshot(snapshot.tensors, values, best))
        except OSError as error:
            self.num_failed += 1
            self._refusal = error.errno or 0
            reason = error.strerror or str(error)
            self.around.screen.warn(
                f"no checkpoint could be written ({reason}; {self.folder.folder}); "
                + ("the last one is intact, and " if self.num_saved or self.resumed else "")
                + "the training goes on"
            )
            return False
        self.num_saved += 1
        self._last = time.monotonic()
        self._cost = self._last - began
        return True

    def _restore(self, training: Training, checkpoint: Checkpoint) -> None:
        restore(training, checkpoint, exact=not self.changed)
        self.around.rewind(checkpoint, training.progress.epoch - 1)
