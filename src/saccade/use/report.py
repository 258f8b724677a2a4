"""The report: one HTML page that shows a run to people, self-contained and silent (no request, no script).

A section of the page is a record made here (or in report_tables.py, report_pictures.py, doctor.py) and a template of
the same name under templates/sections; to add one, write both and name it in `_SECTIONS`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from saccade.data.cells import printable
from saccade.data.listing import TEST, TRAIN, VAL
from saccade.errors import SaccadeError
from saccade.models.certainty import Certainty
from saccade.recipe import Recipe
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork
from saccade.use.batch_norm import Drift, measure_drift, num_needed
from saccade.use.doctor import LOOKED_FOR, Patient, examine
from saccade.use.figures import themed_svg
from saccade.use.found import found_in
from saccade.use.recipe_words import recipe_in_words
from saccade.use.report_curves import separate
from saccade.use.report_figures import coverage, reliability
from saccade.use.report_page import page_templates
from saccade.use.report_pictures import Seen, fill_cells, find_mistakes, look_again
from saccade.use.report_tables import judge, learn

_SECTIONS = (
    *("headline", "doctor", "asked", "pictures", "learning", "classes", "curves", "mistakes", "trust", "weaker"),
    "making",
)
_MOST_SKIPPED = 50
_MOST_LEAKED = 50


class Trust(NamedTuple):
    """How far the confidence can be trusted: what metrics.json says, two figures as SVG, and sentences."""

    values: Mapping[str, Any]
    figures: tuple[str, str]
    words: tuple[str, ...]


class Leaked(NamedTuple):
    """Test pictures that were learned from too: how many, some names, and what the others say (None: not known)."""

    num_pictures: int
    names: tuple[str, ...]
    without: Mapping[str, Any] | None


def write_report(run: RunFolder) -> Path:
    """Write report.html; returns where it lies. A run that was not finished gets a page that says so."""
    return run.write_report(render_report(run))


def render_report(run: RunFolder) -> str:
    """The page as text, below 3 MB: pictures are at most 160 pixels wide, and there are at most 228 of them."""
    metrics, recipe, data, predictions = run.metrics, run.recipe, run.data_report, run.predictions
    test, num_val = metrics.get(TEST), sum(parts[VAL] for parts in data["classes"].values())
    trained, trouble = _load(run) if test else (None, "")
    seen, remark = look_again(run, trained) if trained else (None, trouble)
    drift = _drift(run, seen) if seen else None
    return (
        page_templates()
        .get_template("report.html")
        .render(
            sections=_SECTIONS,
            name=run.path.resolve().name,
            recipe=recipe,
            recipe_rows=_recipe_rows(recipe),
            asked=recipe_in_words(recipe),
            judged=judge(test, run.class_names) if test else None,
            separation=separate(test, run.curves) if test else None,
            val=metrics.get(VAL),
            tta=metrics.get(f"{TEST}_tta"),
            data=data,
            num_val=num_val,
            skipped=run.skipped[:_MOST_SKIPPED],
            found=found_in(data),
            remarks=[*data["notes"], *_warnings(run)],
            learning=learn(run.results, recipe.best_by, is_watched=num_val > 0),
            complaints=examine(Patient(run.results, metrics, data, recipe, run.class_names, drift)) if test else None,
            looked_for=LOOKED_FOR,
            mistakes=find_mistakes(predictions, seen, remark) if test else None,
            cells=fill_cells(predictions, run.class_names, seen),
            trust=_trust(test, trained.certainty if trained else None) if test and "reliability" in test else None,
            slices=_slices(test or {}),
            leaked=_leaked(metrics, predictions),
            seconds=metrics.get("seconds", {}),
            environment=run.environment,
            command=[shlex.quote(argument) for argument in run.environment["command"]],
        )
    )


def _load(run: RunFolder) -> tuple[TrainedNetwork | None, str]:
    """The best weights, or a sentence why they cannot be had: the page then does without what they would show."""
    try:
        return run.load(), ""
    except SaccadeError as error:
        return None, f"They are listed without their pictures: {error.what} ({error.where})."


def _drift(run: RunFolder, seen: Seen) -> Drift | None:
    """Of BatchNorm, on training pictures, the classes taking turns."""
    pack, names = seen.pack, {name: index for index, name in enumerate(seen.trained.class_names)}
    learned = {name for name, part in run.splits.items() if part == TRAIN}
    by_class: dict[int, list[int]] = {}
    for row in pack.usable.tolist():
        label = names.get(pack.class_names[pack.labels[row]])
        if label is not None and printable(pack.names[row]) in learned:
            by_class.setdefault(label, []).append(row)
    turns = zip_longest(*([(row, label) for row in rows] for label, rows in by_class.items()))
    mixed = (each for turn in turns for each in turn if each is not None)
    chosen = list(islice(mixed, num_needed(pack.preparation.side)))
    return measure_drift(seen.trained, [pack.images[row] for row, _ in chosen], [label for _, label in chosen])


def _trust(test: Mapping[str, Any], certainty: Certainty | None) -> Trust:
    figures = (
        themed_svg(reliability(test), "Reliability: the share that is right at each confidence"),
        themed_svg(coverage(test), "Coverage: the share that is right among the surest pictures"),
    )
    return Trust(test, figures, tuple(_trust_in_words(test, certainty)))


def _trust_in_words(test: Mapping[str, Any], certainty: Certainty | None) -> Iterator[str]:
    before, chosen = test["uncalibrated"], test["not_sure"]
    if certainty is not None and certainty.remark:
        yield f"The probabilities are the network's own: {certainty.remark}."
    elif test["temperature"] != 1:
        of = f" on {certainty.num_pictures:,} validation pictures" if certainty else ""
        way = "calmer" if test["temperature"] > 1 else "bolder"
        yield (
            f"The probabilities were made {way} by a temperature of {test['temperature']:.3g}, fitted{of}. On the test "
            f"pictures the mean distance between confidence and accuracy (ECE) went from {before['ece']:.1%} to "
            f"{test['ece']:.1%}, the Brier score from {before['brier']:.3f} to {test['brier']:.3f}. Which class is the "
            "most likely never changes."
        )
    if certainty is not None and (words := certainty.in_words()):
        yield f"{words[0].upper()}{words[1:]}."
        answered, right = chosen["num_answered"], chosen["num_correct"]
        share = f", {right / answered:.1%} of them rightly" if answered else ""
        yield f"Of the {test['num_pictures']:,} test pictures {answered:,} are answered{share}."
    else:
        yield (
            "Every picture is answered. To have the answers right more often and the rest called “not sure”: "
            "saccade predict --min-accuracy 0.95."
        )


def _slices(test: Mapping[str, Any]) -> list[tuple[str, str, Sequence[Mapping[str, Any]]]]:
    """Title, how to write the bounds, and the groups; runs of older versions have none."""
    kinds = (("Size in pixels", "%.0f", "by_size"), ("Sharpness", "%.2f", "by_sharpness"))
    return [(title, how, test[key]) for title, how, key in kinds if test.get(key)]


def _leaked(metrics: Mapping[str, Any], predictions: Sequence[Mapping[str, str]]) -> Leaked | None:
    names = [row["path"] for row in predictions if row.get("leaked") == "yes"]
    if not names:
        return None
    return Leaked(len(names), tuple(names[:_MOST_LEAKED]), metrics.get(f"{TEST}_without_leaks"))


def _warnings(run: RunFolder) -> list[str]:
    """What the run warned of, out of its log."""
    if not run.log_path.exists():
        return []
    lines = run.log_path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]


def _recipe_rows(recipe: Recipe) -> list[tuple[str, object, str | None]]:
    """Field, value, and what the field means."""
    return [(name, getattr(recipe, name), field.description) for name, field in Recipe.model_fields.items()]
