"""`saccade report`: what a run has to say, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saccade.commands.terminal import screen_for
from saccade.flags import Debug, Quiet
from saccade.screen import Screen


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or that of a comparison.")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a run's report again: one HTML page that opens offline; or the page of a comparison.

    Examples:

      saccade report runs/animals

      saccade report runs/compare-animals
    """
    from saccade.runs import RunFolder
    from saccade.use.comparison_page import is_comparison
    from saccade.use.report import write_report

    folder = Path(run)
    if is_comparison(folder):
        print(write_pages(folder, screen_for(quiet)))
    else:
        print(write_report(RunFolder.open(folder)))


def write_pages(folder: Path, screen: Screen) -> Path:
    """The page of a comparison, and those of its runs that are missing; returns where the first one lies."""
    from saccade.use.comparison_page import write_comparison, write_missing_reports

    with screen.bar("reports", 1) as bar:
        write_missing_reports(folder, lambda done, total: bar(0, f"{done} of {total}"))
    return write_comparison(folder)
