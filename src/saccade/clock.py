"""Where the time of a run goes."""

from __future__ import annotations

import time


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str, before: float = 0.0) -> None:
        """A stage has ended; `before` is what an earlier process spent on it."""
        now = time.perf_counter()
        self.laps[stage] = round(before + now - self._last, 3)
        self._last = now
