"""The page of a comparison: where recipes stand, what can be told apart, what more pictures and more work would buy."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from saccade.errors import RunError, SaccadeError
from saccade.runs import RunFolder
from saccade.use.comparison_figures import curves_figure, price_figure
from saccade.use.comparison_table import seeds_in_words
from saccade.use.figures import PAGE_COLOURS, themed_svg
from saccade.use.report import write_report
from saccade.use.report_page import page_templates
from saccade.whole import whole_file

PAGE, RESULT, PLAN = "compare.html", "compare.json", "plan.json"
_CURVES = "Accuracy over the number of training pictures"
_WIDEST_PAIRS = 12  # recipes of which every pair is shown


class RunLink(NamedTuple):
    """A run of a comparison, its accuracy, and the address of its own page; "" where there is none."""

    name: str
    accuracy: float
    address: str


class Place(NamedTuple):
    """A recipe's row: its rank, the record of compare.json, and its runs."""

    rank: int
    values: Mapping[str, Any]
    runs: tuple[RunLink, ...]


def is_comparison(folder: Path) -> bool:
    """Whether a folder is that of a comparison, finished or not."""
    return (folder / PLAN).is_file() or (folder / RESULT).is_file()


def write_comparison(folder: Path) -> Path:
    """Write compare.html beside compare.json; returns where it lies.

    Raises:
        RunError: the comparison is not finished, or cannot be read.
    """
    with whole_file(folder / PAGE) as partial:
        partial.write_text(render_comparison(folder), encoding="utf-8", errors="backslashreplace")
    return folder / PAGE


def write_missing_reports(folder: Path, progress: Callable[[int, int], None]) -> int:
    """Write the page of every run in the table that has none, so that the table can lead there; returns how many.

    Args:
        folder: of a finished comparison.
        progress: told how many pages of how many are written.

    Raises:
        RunError: the comparison is not finished, or cannot be read.
    """
    found = _read(folder / RESULT)
    if "folders" in found:
        return 0  # of runs that were there before; what is in their folders is not the comparison's
    runs = [RunFolder(folder / name) for each in found["standings"] for name in each["runs"]]
    missing = [run for run in runs if run.is_finished and not run.report_path.exists()]
    for done, run in enumerate(missing, start=1):
        write_report(run)
        progress(done, len(missing))
    return len(missing)


def render_comparison(folder: Path) -> str:
    """The page as text, from compare.json, plan.json and the folders of the runs.

    Raises:
        RunError: the comparison is not finished, or cannot be read.
    """
    found = _read(folder / RESULT)
    plan = _read(folder / PLAN) if (folder / PLAN).exists() else {}
    try:
        homes = found.get("folders", {})
        places = tuple(_place(folder, rank, values, homes) for rank, values in enumerate(found["standings"], start=1))
        ranks = {place.values["label"]: place.rank for place in places}
        curves = sorted(found.get("learning_curves", []), key=lambda curve: ranks.get(curve["label"], len(ranks)))
        about = _about(folder)
        numbers = sorted({each.get("num_seeds", found["num_seeds"]) for each in found["standings"]})
        return (
            page_templates()
            .get_template("comparison.html")
            .render(
                name=folder.resolve().name,
                found=found,
                places=places,
                pairs=_pairs(found),
                curves=curves,
                curves_svg=themed_svg(curves_figure(curves), _CURVES) if curves else "",
                colours=PAGE_COLOURS,
                prices=_prices(found["standings"]),
                left_out=plan.get("left_out", []),
                pictures=plan.get("pictures", ""),
                num_seeds=numbers,
                seeds=seeds_in_words(numbers),
                num_runs=sum(len(place.runs) for place in places),
                scale=_scale(found["standings"], found["baseline"]),
                version=version("saccade"),
                environment=about,
                command=[shlex.quote(argument) for argument in about.get("command", [])],
            )
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"the comparison cannot be read: {type(error).__name__}: {error}", where=str(folder / RESULT)
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RunError(
            "the comparison is not finished: it has no table yet",
            where=str(path.parent),
            remedy=f"go on with it: saccade compare --resume {path.parent}",
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path.name} cannot be read: {error}", where=str(path.parent)) from None


def _place(folder: Path, rank: int, values: Mapping[str, Any], homes: Mapping[str, str]) -> Place:
    """Its runs lie in the comparison's folder; those that were there before lie in `homes`, seen from there."""
    runs = []
    for name, accuracy in values["runs"].items():
        place = homes.get(name) or homes.get(values["label"]) or name  # by label where there was a run to each
        has_page = (folder / place / "report.html").is_file()
        runs.append(RunLink(name, accuracy, f"{quote(place)}/report.html" if has_page else ""))
    return Place(rank, values, tuple(runs))


def _about(folder: Path) -> Mapping[str, Any]:
    """environment.json, its own or the first run's: the comparison's command, when and where it ran."""
    for path in (folder / "environment.json", *sorted(folder.glob("*/environment.json"))):
        try:
            return RunFolder(path.parent).environment
        except SaccadeError:
            continue
    return {}


def _pairs(found: Mapping[str, Any]) -> list[tuple[str, list[float | None]]]:
    """Of every two recipes how often chance would make such a difference, in the order of the table."""
    labels = [each["label"] for each in found["standings"]]
    if not 2 < len(labels) <= _WIDEST_PAIRS:
        return []
    known = {frozenset((each["first"], each["second"])): float(each["p"]) for each in found["pairwise"]}
    return [(label, [known.get(frozenset((label, other))) for other in labels]) for label in labels]


def _prices(standings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Accuracy over what it costs to train and, where that was measured, to predict."""
    if len(standings) < 2:
        return ()
    drawn = [themed_svg(price_figure(standings, "seconds"), "Accuracy over the seconds of one training")]
    if all(each.get("pictures_per_second") for each in standings):
        speed = price_figure(standings, "pictures_per_second")
        drawn.append(themed_svg(speed, "Accuracy over pictures per second when predicting"))
    return tuple(drawn)


def _scale(standings: Sequence[Mapping[str, Any]], baseline: float) -> tuple[float, float]:
    """Where the bars of the intervals begin and end: whole tenths around all of them."""
    lows, highs = zip(*(each["interval"] for each in standings), strict=True)
    low, high = math.floor(min(*lows, baseline) * 10) / 10, math.ceil(max(highs) * 10) / 10
    return low, min(1.0, max(high, low + 0.1))
