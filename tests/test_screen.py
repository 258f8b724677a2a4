"""screen.py: lines for people end between words, and what is to be copied stays whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from saccade.screen import RichScreen

SENTENCE = (
    "test accuracy 61.90% (95 % interval 40.88% to 79.25%) on 21 pictures; always saying the biggest class: 47.62%"
)


def _said(text: str, width: int, *, terminal: bool) -> list[str]:
    screen, written = RichScreen(), io.StringIO()
    screen.console = Console(file=written, width=width, force_terminal=terminal, color_system=None, soft_wrap=True)
    screen.say(text)
    return written.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80])
def test_say_in_a_terminal_ends_lines_between_words(width: int) -> None:
    lines = _said(SENTENCE, width, terminal=True)
    assert len(lines) > 1
    assert max(map(len, lines)) <= width
    assert " ".join(line.strip() for line in lines).split() == SENTENCE.split()


def test_say_in_a_terminal_leaves_a_long_path_whole() -> None:
    path = "/" + "folder/" * 20 + "report.html"
    assert _said(f"report: {path}", 80, terminal=True) == ["report:", path]


def test_say_into_a_file_is_one_line() -> None:
    assert _said(SENTENCE, 40, terminal=False) == [SENTENCE]


def test_warn_keeps_what_looks_like_markup() -> None:
    screen, written = RichScreen(), io.StringIO()
    screen.console = Console(file=written, width=80, force_terminal=True, color_system=None, soft_wrap=True)
    screen.warn("[bold]cats[/bold]")
    assert written.getvalue().strip() == "warning: [bold]cats[/bold]"
