"""What a class gains and costs as its threshold moves: ROC and precision-recall curves, one class against the rest."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from saccade.metrics import Evaluation

MOST_CURVES = 30  # of each kind that a run keeps
MOST_POINTS = 201  # of a curve that is written or drawn; more of them cannot be seen


class Curve(NamedTuple):
    """A line of points, both coordinates 0..1, and the area under it.

    Attributes:
        class_name: against all others.
        across: of a ROC curve the share of other classes' pictures that are taken for this one; else the recall.
        up: of a ROC curve the recall; else the precision.
        area: under all points; `average_precision` of a precision-recall curve.
    """

    class_name: str
    across: tuple[float, ...]
    up: tuple[float, ...]
    area: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"class": self.class_name, "across": list(self.across), "up": list(self.up), "area": self.area}


def roc_curves(found: Evaluation, only: Collection[str] | None = None) -> tuple[Curve, ...]:
    """One per class that some pictures show and others do not; scikit-learn's `roc_curve`, thinned to 201 points.

    Args:
        found: the predictions.
        only: of these classes; None: of all.
    """
    curves = []
    for name, shows, scores in _against_rest(found, only):
        if not shows.all():
            across, up, _ = roc_curve(shows, scores)
            curves.append(_thinned(name, across, up, float(np.trapezoid(up, across))))
    return tuple(curves)


def precision_recall_curves(found: Evaluation, only: Collection[str] | None = None) -> tuple[Curve, ...]:
    """One per class that some pictures show; scikit-learn's `precision_recall_curve`, thinned to 201 points.

    Args:
        found: the predictions.
        only: of these classes; None: of all.
    """
    curves = []
    for name, shows, scores in _against_rest(found, only):
        precision, recall, _ = precision_recall_curve(shows, scores)
        area = float(-np.sum(np.diff(recall) * precision[:-1]))  # in steps, as average_precision_score has it
        curves.append(_thinned(name, recall[::-1], precision[::-1], area))
    return tuple(curves)


def _against_rest(
    found: Evaluation, only: Collection[str] | None
) -> list[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.float64]]]:
    chosen = [index for index, name in enumerate(found.class_names) if only is None or name in only]
    pairs = ((found.class_names[index], found.labels == index, index) for index in chosen)
    return [(name, shows, found.probabilities[:, index]) for name, shows, index in pairs if shows.any()]


def _thinned(name: str, across: npt.NDArray[np.float64], up: npt.NDArray[np.float64], area: float) -> Curve:
    """First and last point stay, and others evenly along the line between them: it is steep at one end."""
    chosen = np.arange(len(across))
    if len(across) > MOST_POINTS:
        way = np.concatenate([[0], np.cumsum(np.abs(np.diff(across)) + np.abs(np.diff(up)))])
        chosen = np.unique(np.searchsorted(way, np.linspace(0, way[-1], MOST_POINTS)).clip(0, len(across) - 1))
    return Curve(name, tuple(across[chosen].tolist()), tuple(up[chosen].tolist()), area)
