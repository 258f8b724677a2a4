"""What several commands need of the terminal."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from saccade.errors import UsageError

if TYPE_CHECKING:
    from saccade.screen import Screen


def screen_for(quiet: bool) -> Screen:
    """Where a command talks."""
    from saccade.screen import QuietScreen, RichScreen

    return QuietScreen() if quiet else RichScreen()


def terminal_width() -> int | None:
    """Characters in a line of the terminal that is written to; None where that is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def how_to_be_found() -> str:
    """What to type once where the shell does not find `saccade`, as after `make demo`; empty where it does."""
    activate = Path(sys.prefix, "bin", "activate")
    if shutil.which("saccade") or not activate.exists():
        return ""
    near = activate.relative_to(Path.cwd()) if activate.is_relative_to(Path.cwd()) else activate
    return f"Your shell does not find `saccade` yet; once in every new terminal, type: source {shlex.quote(str(near))}"


def check_output(output: Path | None) -> None:
    """A mistyped place is said before the work, not after it."""
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        what = "is a folder" if output.is_dir() else "would lie in a folder that does not exist"
        raise UsageError(f"the file to write {what}", where=f"--output {output}", remedy="name a file to write")
