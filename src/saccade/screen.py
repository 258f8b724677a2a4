"""Where a run talks: lines for people and one live bar at a time, always on stderr, or nowhere at all."""

from __future__ import annotations

import html
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Protocol

_NOTEBOOK_PAUSE = 0.2  # seconds between two pictures of a bar: each goes through the notebook's server

Bar = Callable[[int, str], None]
"""Called with (how many are done, words to the right of the bar)."""


class Screen(Protocol):
    """What the stages of a run talk to."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def warn(self, text: str) -> None:
        """A line that stays and should not be overlooked."""

    def bar(self, label: str, total: int) -> AbstractContextManager[Bar]:
        """A live bar that disappears when it is done."""


class QuietScreen:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """A bar nobody sees."""
        yield lambda done, words: None


def in_lines(text: str, width: int) -> str:
    """The text in lines that end between words; a path that is longer than a line stays whole, to be copied."""
    whole = (textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) for line in text.splitlines())
    return "\n".join("\n".join(lines) for lines in whole)


class RichScreen:
    """A terminal (or a notebook, or a log file: without a terminal no bars are drawn)."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A plain line."""
        self._print(text)

    def warn(self, text: str) -> None:
        """A yellow line."""
        self._print(f"warning: {text}", style="yellow")

    def _print(self, text: str, style: str | None = None) -> None:
        if self.console.is_terminal and not self.console.is_jupyter:
            text = in_lines(text, self.console.width)
        self.console.print(text, style=style, markup=False)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """A bar with the share done and the time left."""
        if self.console.is_jupyter:
            with _notebook_bar(label, total) as show:
                yield show
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),  # the bar gives way
            TextColumn("{task.fields[words]}", markup=False),
        )
        shown = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        with shown:
            task = shown.add_task(label, total=total, words="")
            yield lambda done, words: shown.update(task, completed=done, words=words)


@contextmanager
def _notebook_bar(label: str, total: int) -> Iterator[Bar]:
    """A bar in a notebook, drawn by the browser: rich's own needs ipywidgets, and without them shows nothing."""
    display = import_module("IPython.display")
    place = display.display(display.HTML(""), display_id=True)
    last = 0.0

    def show(done: int, words: str) -> None:
        nonlocal last
        if time.monotonic() - last > _NOTEBOOK_PAUSE:
            last = time.monotonic()
            bar = f'<progress max="{max(total, 1)}" value="{min(done, max(total, 1))}"></progress>'
            place.update(display.HTML(f"{html.escape(label)} {bar} {html.escape(words)}"))

    try:
        yield show
    finally:
        place.update(display.HTML(""))


class RecordingScreen:
    """Another screen whose lines are also written to a file, from the first one on, once the file is known."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self._waiting: list[str] = []
        self._path: Path | None = None

    def write_to(self, path: Path) -> None:
        """From now on append to this file, beginning with what was said before."""
        self._path = path
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            self._record(line)

    def say(self, text: str) -> None:
        """Say and record."""
        self.screen.say(text)
        self._record(text)

    def warn(self, text: str) -> None:
        """Warn and record."""
        self.screen.warn(text)
        self._record(f"warning: {text}")

    def bar(self, label: str, total: int) -> AbstractContextManager[Bar]:
        """Bars are not recorded."""
        return self.screen.bar(label, total)

    def _record(self, line: str) -> None:
        if self._path is None:
            self._waiting.append(line)
            return
        # A full disk must not end a run that was about to say so.
        with suppress(OSError), self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line + "\n")
