"""`saccade compare`: recipes side by side on the same pictures."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.commands.judge import write_pages
from saccade.commands.terminal import screen_for, terminal_width
from saccade.errors import UsageError
from saccade.recipe import Recipe

if TYPE_CHECKING:
    from saccade.compare import Compared, Progress
    from saccade.evaluation.standings import Comparison
    from saccade.plan import Plan


def compare(**given: Any) -> None:
    """Train recipes side by side on the same pictures; one table, with intervals and tests.

    Every recipe learns from the same training pictures and is judged by the
    same test pictures; what the runs share is computed once. The table is
    sorted by accuracy and says which differences are more than chance. A
    comparison that was stopped goes on with --resume.

    With the folders of finished runs it compares those and writes the page
    into a folder of its own; runs that differ only in their seed are one row.

    Examples:

      saccade compare animals/ --model resnet18

      saccade compare animals/ --model cnn4,vgg16 --recipe scratch,features,finetune --seeds 3

      saccade compare animals/ --model resnet18 --recipe finetune --fractions 0.1,0.25,0.5,1

      saccade compare animals/ --model resnet18 --folds 5

      saccade compare runs/animals runs/animals-2

      saccade compare --resume
    """
    from saccade.runs import RunFolder

    pictures = given["pictures"] or []
    if pictures and all(RunFolder(Path(path)).is_begun for path in pictures):
        return _finished(pictures, given)
    if given["output"] is not None:
        raise UsageError(
            "a comparison that trains its runs has a folder of its own",
            where=f"--output {given['output']}",
            remedy="--project and --name say where that is made",
        )
    if len(pictures) > 1:
        raise UsageError(
            "a comparison has one set of pictures, or several finished runs",
            where=", ".join(pictures),
            remedy="saccade compare PICTURES, or saccade compare runs/a runs/b",
        )
    compared = _train(_plan(given), pictures[0] if pictures else None, given)
    _print(compared, given)
    return None


def _finished(paths: list[str], given: dict[str, Any]) -> None:
    from saccade.compare import compare_finished, keep_finished
    from saccade.resuming import Place

    found = compare_finished(paths, screen_for(given["quiet"]).say)
    _print(keep_finished(found, paths, given["output"], Place(given["project"], given["name"])), given)


def _plan(given: dict[str, Any]) -> Plan:
    from saccade.plan import Plan

    fields = ("model", "recipe", "folds", "fold", "fraction")
    changes = {name: given[name] for name in Recipe.model_fields if name not in fields and given.get(name) is not None}
    models, recipes = (tuple(filter(None, given[name].split(","))) for name in ("model", "recipe"))
    try:
        fractions = tuple(sorted({float(share) for share in given["fractions"].split(",")}))
    except ValueError:
        fractions = ()
    if not fractions or fractions[0] <= 0 or fractions[-1] > 1:
        raise UsageError(
            f"{given['fractions']!r} are no shares of the training pictures",
            where="--fractions",
            remedy="numbers above 0 and up to 1, with commas between: --fractions 0.1,0.25,0.5,1",
        )
    return Plan(models, recipes, changes, given["seeds"], given["folds"], fractions)


def _train(plan: Plan, pictures: str | None, given: dict[str, Any]) -> Compared:
    from saccade.compare import compare
    from saccade.resuming import Place

    place = Place(given["project"], given["name"], given["resume"], False)
    screen = screen_for(given["quiet"])
    with LiveProgress(screen) if not given["quiet"] else nullcontext(None) as live:
        return compare(plan, pictures, place, screen, None if live is None else live.show)


def _print(compared: Compared, given: dict[str, Any]) -> None:
    from saccade.use.comparison_table import comparison_in_words, write_comparison_csv

    table = write_comparison_csv(compared.folder / "compare.csv", compared.comparison)
    screen = screen_for(given["quiet"] or given["as_json"])
    page = write_pages(compared.folder, screen)
    if given["as_json"]:
        curves = [curve.to_json() for curve in compared.curves]
        about = compared.comparison.to_json() | {"folder": str(compared.folder), "learning_curves": curves}
        print(json.dumps(about))
        return
    print(comparison_in_words(compared.comparison, terminal_width()))
    for curve in compared.curves:
        print(f"\n{curve.in_words()}")
    screen.say(f"page: {page}")
    screen.say(f"table: {table}")


class LiveProgress(AbstractContextManager["LiveProgress"]):
    """The table so far and what is being done, on stderr; without a terminal a line per finished run."""

    def __init__(self, screen: Any) -> None:
        from rich.live import Live

        self._screen, self._done = screen, -1
        self._live = (
            Live(console=screen.console, transient=True, auto_refresh=False) if screen.console.is_terminal else None
        )

    def __enter__(self) -> LiveProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """The state of now."""
        from rich.console import Group
        from rich.text import Text

        from saccade.use.comparison_table import comparison_table

        line = f"{progress.done} of {progress.total} runs done" + (f"; {progress.now}" if progress.now else "")
        if self._live is not None:
            table = [] if progress.so_far is None else [comparison_table(progress.so_far, self._screen.console.width)]
            self._live.update(Group(*table, Text(line)), refresh=True)
        elif progress.done != self._done:
            self._done = progress.done
            self._screen.say(line + (_leader(progress.so_far) if progress.now else ""))  # at the end the table says it


def _leader(so_far: Comparison | None) -> str:
    if so_far is None:
        return ""
    best = so_far.standings[0]
    return f" (so far {best.label} leads with {best.accuracy:.1%})"
