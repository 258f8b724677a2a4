"""The areas under a ROC and a precision-recall curve, and how surely they are known."""

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
    """Of one class against all others; nan and no interval where one of them has no picture.

    Attributes:
        roc: the area under the ROC curve.
        interval: 95 %, of it.
        average_precision: the area under the precision-recall curve, in steps.
        precision_interval: 95 %, of that, among pictures of which as many show the class as among these.
    """

    roc: float
    interval: Interval | None
    average_precision: float
    precision_interval: Interval | None


def areas(shows: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> Areas:
    """Both areas, as scikit-learn has them, with their 95 % intervals.

    Args:
        shows: (N,) whether a picture shows the class.
        scores: (N,) the higher, the more likely.
    """
    if not shows.any():
        return Areas(math.nan, None, math.nan, None)
    average_precision = float(average_precision_score(shows, scores))
    if shows.all():
        return Areas(math.nan, None, average_precision, None)
    roc, own, others = float(roc_auc_score(shows, scores)), scores[shows], scores[~shows]
    return Areas(
        roc,
        area_interval(roc, own, others),
        average_precision,
        average_precision_interval(average_precision, own, others),
    )


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


def average_precision_interval(
    average_precision: float, own: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> Interval:
    """The 95 % interval of an average precision.

    Boyd, Eng & Page (2013, https://doi.org/10.1007/978-3-642-40994-3_29) take it for a share of as many answers as
    there are pictures of the class. Wilson's interval of that share also has room below 1. Where few of the other
    pictures come before most of the class, an average precision varies by more than a share does: the larger variance
    that the scores themselves show then stands for fewer answers.

    Args:
        average_precision: 0..1, above 0.
        own: scores of the pictures that show the class.
        others: scores of all others.
    """
    expected = average_precision * (1 - average_precision) / len(own)
    wider = max(1.0, precision_variance(own, others) / expected) if expected > 0 else 1.0
    answers = len(own) / wider
    centre, shrunk = average_precision + _Z2 / (2 * answers), 1 + _Z2 / answers
    half = math.sqrt(_Z2 * (average_precision * (1 - average_precision) / answers + _Z2 / (4 * answers**2)))
    return Interval(max(0.0, (centre - half) / shrunk), min(1.0, (centre + half) / shrunk))


def precision_variance(own: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> float:
    """The variance of an average precision by what each picture moves it (the infinitesimal jackknife).

    It is the mean, over the pictures of the class, of the precision down to each. One more picture of the class brings
    its own and raises those below it; one more of the others lowers those below it.
    """
    ranked, lowest = np.sort(own), np.sort(others)
    hits = len(own) - np.searchsorted(ranked, ranked)
    said = hits + len(others) - np.searchsorted(lowest, ranked)
    raised, lowered = (np.concatenate([[0.0], np.cumsum(each / said**2)]) for each in (said - hits, hits))
    by_own = hits / said + raised[np.searchsorted(ranked, ranked, side="right")]
    by_others = lowered[np.searchsorted(ranked, others, side="right")]
    return sum(float(each.var(ddof=1)) * len(each) for each in (by_own, by_others) if len(each) > 1) / len(own) ** 2


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
