"""The parent's end of the process that holds the network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

import numpy as np

from saccade.data.child import receive, send
from saccade.errors import ResourceError, SaccadeError
from saccade.use.serve_messages import Answer, AskAnswers, AskHeat, Facts, HeatPicture, Refused, Source, Squares

# A batch of 32 pictures of 224 pixels is 4.8 MB; with 64 kB, the usual size of a pipe, both sides take turns 75 times.
_PIPE_BYTES = 2**20
_START = (
    "import sys; sys.path[:] = {path!r}; from saccade.threads import calm_threads; calm_threads(); "
    "from saccade.use.serve_child import main; main()"
)


class WorkerError(ResourceError):
    """The process that held the network is gone; another one takes its place."""


class Worker:
    """One process with one network. Its methods wait for an answer and are called by one thread at a time.

    Raises:
        SaccadeError: the run cannot be served.
    """

    def __init__(self, source: Source) -> None:
        self._is_lost = False
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", _START.format(path=sys.path)]
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, own code
            command, stdin=pipe, stdout=pipe, pipesize=_PIPE_BYTES
        )
        try:
            self.facts: Facts = self._ask(source)
        except BaseException:
            self.release()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs and talks: its pipe ends a moment before the system says that it died."""
        return not self._is_lost and self._process.poll() is None

    def answer(self, squares: Sequence[Squares], top: int) -> list[Answer | SaccadeError]:
        """An answer per square of uint8 (side, side, C), or why there is none.

        Raises:
            WorkerError: the process has died.
        """
        found: list[Answer | SaccadeError] = self._ask(AskAnswers(np.stack(squares), top))
        return found

    def heat(self, asked: AskHeat) -> HeatPicture:
        """Where the network looks.

        Raises:
            UsageError: there is no such class, or this network gives no map.
            WorkerError: the process has died.
        """
        found: HeatPicture = self._ask(asked)
        return found

    def close(self) -> None:
        """End the process; whoever waits for it is told that it died."""
        self._process.kill()
        self._process.wait()

    def release(self) -> None:
        """Give the pipes back too, when nobody waits any more."""
        self.close()
        for pipe in self._pipes():
            with suppress(OSError):
                pipe.close()

    def _ask(self, message: object) -> Any:
        to, from_ = self._pipes()
        try:
            send(to, message)
            found = receive(from_)
        except (EOFError, OSError, ValueError):
            self._is_lost = True
            raise WorkerError(
                "the process that held the network has ended; another one is being started",
                remedy="ask again in a few seconds",
            ) from None
        if isinstance(found, Refused):
            raise found.error
        return found

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        to, from_ = self._process.stdin, self._process.stdout
        if to is None or from_ is None:
            raise ValueError("a worker is always started with pipes")
        return to, from_
