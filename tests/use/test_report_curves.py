"""The report's ROC and precision-recall curves: against scikit-learn, and what is drawn against what is known."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from saccade.evaluation.evidence import Evidence
from saccade.use.figures import COLOURS, PAGE_COLOURS
from saccade.use.report_curves import separate


def _found(num_classes: int, num_pictures: int = 600) -> Evidence:
    """A judge who tells the first classes from the rest less well than the last ones."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_pictures) % num_classes
    scores = rng.normal(size=(num_pictures, num_classes))
    scores[np.arange(num_pictures), labels] += 1 + labels / 4
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    names = tuple(f"class {index:02}" for index in range(num_classes))
    return Evidence("test", names, labels, probabilities, tuple(map(str, range(num_pictures))))


def _written(found: Evidence) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"classes": [each.to_json() for each in found.classes]}, found.curves_to_json(30)


def test_classes_with_the_smallest_areas_are_drawn_and_the_others_counted() -> None:
    found = _found(12)
    shown = separate(*_written(found))
    assert shown is not None
    areas = {"roc": roc_auc_score, "precision_recall": average_precision_score}
    for kind, area in areas.items():
        known = [(float(area(found.labels == k, found.probabilities[:, k])), f"class {k:02}") for k in range(12)]
        lines = getattr(shown, kind).lines
        assert [line.class_name for line in lines] == [name for _, name in sorted(known)[: len(COLOURS)]]
        assert [line.area for line in lines] == pytest.approx([value for value, _ in sorted(known)[: len(COLOURS)]])
        assert [line.colour for line in lines] == list(PAGE_COLOURS)
    assert shown.num_others == 4
    assert len(shown.rows) == 12
    assert [row.roc for row in shown.rows] == sorted(row.roc for row in shown.rows if row.roc is not None)


@pytest.mark.parametrize("kind", ["roc", "precision_recall"])
def test_lines_of_a_figure_lie_where_their_points_do(kind: str) -> None:
    test, curves = _written(_found(4))
    shown = separate(test, curves)
    assert shown is not None
    drawn = getattr(shown, kind)
    paths = dict(re.findall(r'<path d="([^"]*)"[^>]*stroke: ([^;"]*)', drawn.svg)[::-1])
    colours = {colour: path for path, colour in paths.items()}
    for line in drawn.lines:
        points = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", colours[line.colour]), dtype=float)
        (curve,) = (each for each in curves[kind] if each["class"] == line.class_name)
        ends = np.array([[curve["across"][at], curve["up"][at]] for at in (0, -1)])
        scale = (points[-1] - points[0]) / (ends[1] - ends[0])
        where = (points - points[0]) / scale + ends[0]
        distance = (
            np.abs(where[:, None] - np.column_stack([curve["across"], curve["up"]])[None]).sum(axis=2).min(axis=1)
        )
        assert distance.max() < 0.002


def test_two_classes_have_one_line_in_each_figure_of_the_same_class() -> None:
    found = _found(2)
    shown = separate(*_written(found))
    assert shown is not None
    precise = [average_precision_score(found.labels == k, found.probabilities[:, k]) for k in (0, 1)]
    assert shown.two == f"class 0{int(np.argmin(precise))}"
    assert [line.class_name for line in (*shown.roc.lines, *shown.precision_recall.lines)] == [shown.two] * 2
    assert shown.rows[0].roc == pytest.approx(shown.rows[1].roc)
    assert shown.num_others == 0


def test_curves_that_a_run_keeps_are_those_with_the_smallest_areas() -> None:
    found = _found(12)
    kept = found.curves_to_json(5)
    every = found.curves_to_json()
    for kind in ("roc", "precision_recall"):
        smallest = sorted(every[kind], key=lambda curve: curve["area"])[:5]
        assert sorted(kept[kind], key=lambda curve: curve["area"]) == smallest


def test_runs_of_before_and_one_class_alone_have_no_curves() -> None:
    test, curves = _written(_found(3))
    assert separate(test, {}) is None
    assert separate({}, curves) is None
    alone = _found(3).only(np.arange(600) % 3 == 0, "test")
    found = Evidence("test", alone.class_names, alone.labels, alone.probabilities, alone.names)
    assert separate(*_written(found)) is None
