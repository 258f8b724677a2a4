"""What a run says about how it computes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from saccade.modes import Mode
from saccade.screen import QuietScreen
from saccade.speed import _announced


class _Said(QuietScreen):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_compiling_is_announced_before_it_begins_and_other_ways_are_not() -> None:
    screen, begun = _Said(), []

    def trial(mode: Mode) -> Callable[[], Tensor]:
        begun.append((mode.compiled, len(screen.lines)))
        return lambda: torch.ones(1)

    announced = _announced(trial, screen)
    assert [float(announced(mode)()) for mode in (Mode(), Mode("bfloat16"), Mode(compiled=True))] == [1.0, 1.0, 1.0]
    assert begun == [(False, 0), (False, 0), (True, 1)]
    assert "torch.compile" in screen.lines[0]
    assert "--compile off" in screen.lines[0]
