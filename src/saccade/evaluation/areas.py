"""The area under a ROC curve, how surely it is known, and that under a precision-recall curve."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from saccade.metrics import Interval

_Z2 = 1.959963984540054**2  # of 95 % to both sides
_EDGE = 1e-9  # how near to 0 and 1 a bound is looked for


class Areas(NamedTuple):
    """Of one class against all others; nan and no interval where one of them has no picture."""

    roc: float
    interval: Interval | None
    average_precision: float


def areas(shows: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> Areas:
    """Both areas, as scikit-learn has them, with the 95 % interval of the first.

    Args:
        shows: (N,) whether a picture shows the class.
        scores: (N,) the higher, the more likely.
    """
    if not shows.any():
        return Areas(math.nan, None, math.nan)
    average_precision = float(average_precision_score(shows, scores))
    if shows.all():
        return Areas(math.nan, None, average_precision)
    roc = float(roc_auc_score(shows, scores))
    return Areas(roc, area_interval(roc, scores[shows], scores[~shows]), average_precision)


def area_interval(area: float, own: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> Interval:
    """The 95 % interval of the area under a ROC curve.

    All areas from which the one that was found lies at most 1.96 standard errors away (Newcombe 2006,
    https://doi.org/10.1002/sim.2324), these being Hanley & McNeil's at that area (1982,
    https://doi.org/10.1148/radiology.143.1.7063747): as with Wilson's interval an area of 1 leaves room below. That
    takes the scores of the class to scatter like those of the rest. Where the variance that DeLong, DeLong &
    Clarke-Pearson (1988, https://doi.org/10.2307/2531595) find in the scores is larger, it widens the interval.

    Args:
        area: 0..1.
        own: scores of the pictures that show the class.
        others: scores of all others.
    """
    counts = (len(own), len(others))
    expected = _variance(area, counts)
    wider = max(1.0, _variance_found(own, others) / expected) if expected > 0 else 1.0

    def beyond(other: float) -> float:
        return (other - area) ** 2 - _Z2 * wider * _variance(other, counts)

    return Interval(_bound(beyond, _EDGE, area - 10 * _EDGE, 0.0), _bound(beyond, 1 - _EDGE, area + 10 * _EDGE, 1.0))


def _bound(beyond: Callable[[float], float], far: float, near: float, end: float) -> float:
    """Where `beyond` changes its sign between two places; `end` where it does not."""
    return float(brentq(beyond, far, near)) if beyond(far) > 0 > beyond(near) else end


def _variance(area: float, counts: tuple[int, int]) -> float:
    """Hanley & McNeil's, with the mean of both counts in place of each (Newcombe's method 5)."""
    num_own, num_others = counts
    mean = (num_own + num_others) / 2 - 1
    share = 1 + mean * (1 - area) / (2 - area) + mean * area / (1 + area)
    return area * (1 - area) * share / (num_own * num_others)


def _variance_found(own: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> float:
    """DeLong's, from ranks (Sun & Xu 2014, https://doi.org/10.1109/LSP.2014.2337313); 0 where it takes two pictures."""
    ranks = rankdata(np.concatenate([own, others]))
    above = (ranks[: len(own)] - rankdata(own)) / len(others)  # of each own picture, the share of others below it
    below = (ranks[len(own) :] - rankdata(others)) / len(own)
    return sum(float(each.var(ddof=1)) / len(each) for each in (above, below) if len(each) > 1)
