"""Who is in charge of a run: one process holds its lock, writes its log, and takes it up where it was interrupted."""

from __future__ import annotations

import shlex
from contextlib import ExitStack

from saccade.locking import locked
from saccade.resuming import Begun, Place
from saccade.runs import RunFolder
from saccade.screen import RecordingScreen
from saccade.training.checkpoint import CheckpointFolder
from saccade.training.distributed import decided, leads


class Charge:
    """Being the one process that trains a run: its lock, its log, and a word on how to go on for who interrupts it.

    Args:
        place: where runs are made.
        log: every line of it goes into the run's log.txt too, once there is one.
    """

    def __init__(self, place: Place, log: RecordingScreen) -> None:
        self.place = place
        self.log = log
        self._run: RunFolder | None = None
        self._held = ExitStack()

    def __enter__(self) -> Charge:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyboardInterrupt | SystemExit) and self._run is not None and self._run.is_begun:
            self.log.say(f"go on with it: saccade train --resume {shlex.quote(str(self._run.path))}")
        self._held.close()

    def take(self, run: RunFolder) -> None:
        """From now on.

        Raises:
            ResourceError: another process is training this run.
        """
        if not leads():
            return
        self._held.enter_context(locked(run.lock_path))
        self._run = run
        self.log.write_to(run.log_path)

    def take_up(self, begun: Begun | None) -> Begun | None:
        """A run that was begun before: look for its newest whole checkpoint, and say what will happen.

        Raises:
            ResourceError: another process is training this run.
            RunError: all checkpoints are damaged, or one was written by a newer version.
        """
        return decided(lambda: None if begun is None else self._take_up(begun))

    def _take_up(self, begun: Begun) -> Begun:
        self.take(begun.run)
        for change in begun.changes:
            self.log.warn(f"going on although: {change}")
        checkpoint = CheckpointFolder(begun.run.checkpoint_path).newest(self.log.warn)
        if checkpoint is None:
            self.log.say(f"{begun.run.path} was interrupted before its first checkpoint: it begins anew")
        else:
            self.log.say(f"{begun.run.path} goes on from {checkpoint.path.name}")
        return begun._replace(checkpoint=checkpoint)
