"""Ctrl-C and SIGTERM while training: the step is finished and the state saved, then the process leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_HEARD = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """What was heard.

    Attributes:
        number: of the signal; 0 while there was none. Of several processes one may hear it for all.
    """

    def __init__(self) -> None:
        self.number = 0
        self._heard = False

    def __bool__(self) -> bool:
        return self.number != 0

    @property
    def name(self) -> str:
        """For people."""
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name

    def hear(self, number: int, frame: FrameType | None) -> None:
        """The first signal is noted; a second one is obeyed at once."""
        again, self._heard, self.number = self._heard, True, number
        if again:
            self.leave()

    def leave(self) -> NoReturn:
        """End as this signal ends a program: exit code 130 for Ctrl-C, 143 for SIGTERM."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.number)


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Hear both signals until the block ends; outside the main thread, where Python lets nobody, hear none."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.hear) for number in _HEARD}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
