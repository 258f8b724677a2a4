"""The report: one HTML page that shows a run to people, self-contained and silent (no request, no script).

A section of the page is a record made here and a template of the same name under templates/sections; to add one,
write both and name it in `_SECTIONS`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import numpy.typing as npt

from saccade.data.pack import Pack
from saccade.data.packing import Work
from saccade.engine import num_cores
from saccade.errors import SaccadeError
from saccade.evaluation.evaluate import reopen_pictures
from saccade.recipe import Metric, Recipe
from saccade.runs import RunFolder
from saccade.use.figures import best_epoch, curve, themed_svg, thumbnail
from saccade.use.found import found_in

_SECTIONS = ("headline", "pictures", "learning", "classes", "mistakes", "making")
_MOST_MISTAKES = 24
_MOST_PAIRS = 15
_WIDEST_MATRIX = 30  # classes; above, the matrix is mostly zeros and no longer readable
_MOST_EPOCHS = 100  # rows of the table of epochs
_MOST_SKIPPED = 50


class ClassRow(NamedTuple):
    """A class of the test pictures: shares 0..1, and how many pictures show it."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


class Pair(NamedTuple):
    """Pictures of one class that were taken for another; `share` is of all pictures of the true class."""

    true: str
    predicted: str
    num_pictures: int
    share: float


class Judged(NamedTuple):
    """What metrics.json says about the test pictures, arranged for the page; `matrix` is None above 30 classes."""

    values: Mapping[str, Any]
    biggest_class: str
    classes: tuple[ClassRow, ...]
    averages: tuple[ClassRow, ...]
    matrix: tuple[tuple[str, tuple[Pair, ...]], ...] | None
    pairs: tuple[Pair, ...]


class Mistake(NamedTuple):
    """A test picture that was named wrongly; `image` is a data URI, or None where the picture is gone."""

    name: str
    true: str
    predicted: str
    probability: float
    image: str | None


class Mistakes(NamedTuple):
    """The most confident mistakes, and a sentence about their pictures where there is something to say."""

    total: int
    shown: tuple[Mistake, ...]
    remark: str


class Learning(NamedTuple):
    """The epochs: figures as SVG, and the rows of the table (all, or every n-th, the best and the last).

    A head that was solved stands in the rows as epoch 0 and is not counted.
    """

    best: int
    num_epochs: int
    all_shown: bool
    figures: tuple[str, ...]
    rows: tuple[Mapping[str, float], ...]


def write_report(run: RunFolder) -> Path:
    """Write report.html; returns where it lies. A run that was not finished gets a page that says so."""
    return run.write_report(render_report(run))


def render_report(run: RunFolder) -> str:
    """The page as text."""
    metrics, recipe = run.metrics, run.recipe
    judged = _judge(metrics["test"], run.class_names) if "test" in metrics else None
    return (
        page_templates()
        .get_template("report.html")
        .render(
            sections=_SECTIONS,
            name=run.path.resolve().name,
            recipe=recipe,
            recipe_rows=_recipe_rows(recipe),
            judged=judged,
            val=metrics.get("val"),
            tta=metrics.get("test_tta"),
            data=run.data_report,
            skipped=run.skipped[:_MOST_SKIPPED],
            found=found_in(run.data_report),
            remarks=[*run.data_report["notes"], *_warnings(run)],
            learning=_learn(run.results, run.recipe.best_by),
            mistakes=_find_mistakes(run) if judged else None,
            seconds=metrics.get("seconds", {}),
            environment=run.environment,
            command=[shlex.quote(argument) for argument in run.environment["command"]],
        )
    )


def _judge(test: Mapping[str, Any], class_names: Sequence[str]) -> Judged:
    counts = np.array(test["confusion"], dtype=np.int64)
    rows = tuple(
        (true, tuple(_pairs(true, class_names, row))) for true, row in zip(class_names, counts.tolist(), strict=True)
    )
    confused = [pair for true, row in rows for pair in row if pair.num_pictures and pair.predicted != true]
    return Judged(
        values=test,
        biggest_class=class_names[int(counts.sum(axis=1).argmax())],
        classes=tuple(_class_rows(counts, class_names)),
        averages=tuple(_average(f"{kind} avg", test["report"]) for kind in ("macro", "weighted")),
        matrix=rows if len(class_names) <= _WIDEST_MATRIX else None,
        pairs=tuple(sorted(confused, key=lambda pair: (-pair.num_pictures, -pair.share))[:_MOST_PAIRS]),
    )


def _pairs(true: str, class_names: Sequence[str], row: Sequence[int]) -> Iterator[Pair]:
    total = max(sum(row), 1)
    for predicted, num_pictures in zip(class_names, row, strict=True):
        yield Pair(true, predicted, num_pictures, num_pictures / total)


def _class_rows(counts: npt.NDArray[np.int64], class_names: Sequence[str]) -> Iterator[ClassRow]:
    """From the counts, not from the report of metrics.json: there a class called `accuracy` would be overwritten."""
    right, true, predicted = (each.tolist() for each in (np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)))
    for index, name in enumerate(class_names):
        hits, num_true, num_said = right[index], true[index], predicted[index]
        f1 = 2 * hits / max(num_true + num_said, 1)
        yield ClassRow(name, hits / max(num_said, 1), hits / max(num_true, 1), f1, num_true)


def _average(name: str, report: Mapping[str, Any]) -> ClassRow:
    row = report[name]
    return ClassRow(name, row["precision"], row["recall"], row["f1-score"], int(row["support"]))


def _learn(results: Sequence[Mapping[str, float]], by: Metric | None) -> Learning | None:
    if not results:
        return None
    best, every = best_epoch(results, by), -(-len(results) // _MOST_EPOCHS)
    kept = {best, results[-1]["epoch"]}
    rows = tuple(row for index, row in enumerate(results) if index % every == 0 or row["epoch"] in kept)
    num_epochs, all_shown = sum(row["epoch"] > 0 for row in results), len(rows) == len(results)
    if num_epochs == 0:
        return Learning(best, num_epochs, all_shown, (), rows)
    loss = themed_svg(curve(results, "loss", by), "Loss over the epochs, in training and validation")
    accuracy = themed_svg(curve(results, "accuracy", by), "Accuracy over the epochs, in training and validation")
    return Learning(best, num_epochs, all_shown, (loss, accuracy), rows)


def _find_mistakes(run: RunFolder) -> Mistakes:
    """The most confident ones first, with their pictures as long as these are where the run found them."""
    wrong = [row for row in run.predictions if row["label"] != row["predicted"]]
    wrong.sort(key=lambda row: -float(row["probability"]))
    shown = wrong[:_MOST_MISTAKES]
    images, remark = _thumbnails(run, {row["path"] for row in shown}) if shown else ({}, "")
    mistakes = (
        Mistake(row["path"], row["label"], row["predicted"], float(row["probability"]), images.get(row["path"]))
        for row in shown
    )
    return Mistakes(len(wrong), tuple(mistakes), remark)


def _thumbnails(run: RunFolder, names: set[str]) -> tuple[dict[str, str], str]:
    """Data URIs by name, as the network saw the pictures, and what a reader must know about them."""
    work = Work(num_cores(), strict=False, progress=lambda done, total: None)
    try:
        pack, rows, _ = reopen_pictures(run, run.load(), None, work)
    except SaccadeError as error:
        return {}, f"They are listed without their pictures: {error.what} ({error.where})."
    chosen = [row for row in rows.tolist() if pack.names[row] in names]
    images = {pack.names[row]: thumbnail(pack.images[row], size_before(pack, row)) for row in chosen}
    if pack.fingerprint != run.data_report["fingerprint"]:
        return images, "The pictures, or the library that decodes them, have changed since: this is what is there now."
    return images, ""


def size_before(pack: Pack, row: int) -> tuple[int, int] | None:
    """Width and height of a picture that was squashed into a square; None where it kept its proportions."""
    look = pack.looks[row]
    return (int(look["width"]), int(look["height"])) if pack.preparation.fit == "squash" else None


def _warnings(run: RunFolder) -> list[str]:
    """What the run warned of, out of its log."""
    if not run.log_path.exists():
        return []
    lines = run.log_path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]


def _recipe_rows(recipe: Recipe) -> list[tuple[str, object, str | None]]:
    """Field, value, and what the field means."""
    return [(name, getattr(recipe, name), field.description) for name, field in Recipe.model_fields.items()]


def page_templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("saccade.use", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "duration": duration, "moment": moment}
    return environment


def percent(share: float, digits: int = 1) -> str:
    """`98.6%`; what is almost all or almost nothing is never rounded to it: `>99.9%`, `<0.1%`."""
    smallest = 10.0**-digits
    text = f"{share:.{digits}%}"
    if share < 1 and text == f"{1:.{digits}%}":
        return f">{100 - smallest:.{digits}f}%"
    return f"<{smallest:.{digits}f}%" if share > 0 and text == f"{0:.{digits}%}" else text


def duration(seconds: float) -> str:
    """`12.3 s`, `4 min 12 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment(text: str) -> str:
    """An ISO time as `2026-11-22 04:10 UTC`."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
