"""evaluation/areas.py: against scikit-learn, a bootstrap, and simulated scores whose true area is known."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from saccade.evaluation.areas import area_interval, areas, average_precision_interval, precision_variance
from saccade.metrics import wilson

Scores = npt.NDArray[np.float64]


def _scores(area: float, counts: tuple[int, int], scatter: float, rng: np.random.Generator) -> tuple[Scores, Scores]:
    """Of a class and of the rest: two normal ones, the first with so large a deviation, whose true area is known."""
    own = rng.normal(norm.ppf(area) * math.sqrt(1 + scatter**2), scatter, counts[0])
    return own, rng.normal(size=counts[1])


def test_areas_are_scikit_learns_ties_included() -> None:
    rng = np.random.default_rng(0)
    shows, scores = rng.random(200) < 0.3, rng.integers(0, 9, 200) / 9
    found = areas(shows, scores)
    assert found.roc == pytest.approx(roc_auc_score(shows, scores), abs=1e-12)
    assert found.average_precision == pytest.approx(average_precision_score(shows, scores), abs=1e-12)
    assert found.interval is not None
    assert found.interval.low < found.roc < found.interval.high
    assert found.precision_interval is not None
    assert found.precision_interval.low < found.average_precision < found.precision_interval.high


@pytest.mark.parametrize("scatter", [1.0, 2.0])
@pytest.mark.parametrize("counts", [(25, 75), (50, 450)])
@pytest.mark.parametrize("area", [0.6, 0.8, 0.9, 0.97])
def test_area_interval_covers_the_truth_in_93_of_100_draws(
    area: float, counts: tuple[int, int], scatter: float
) -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(1000):
        own, others = _scores(area, counts, scatter, rng)
        low, high = area_interval((own[:, None] > others).mean(), own, others)
        covered += low <= area <= high
    assert 930 <= covered < 1000


@pytest.mark.parametrize("scatter", [1.0, 2.0])
@pytest.mark.parametrize("area", [0.7, 0.85])
def test_area_interval_is_about_that_of_a_bootstrap(area: float, scatter: float) -> None:
    rng = np.random.default_rng(2)
    own, others = _scores(area, (150, 350), scatter, rng)
    wins = own[:, None] > others
    drawn = [wins[rng.integers(0, 150, 150)][:, rng.integers(0, 350, 350)].mean() for _ in range(2000)]
    expected = np.percentile(drawn, (2.5, 97.5)).tolist()
    assert area_interval(wins.mean(), own, others) == pytest.approx(expected, abs=0.01)


def test_perfect_order_has_an_interval_that_is_no_point() -> None:
    low, high = area_interval(1.0, np.array([2.0, 3.0, 4.0] * 10), np.array([0.0, 1.0] * 20))
    assert high == 1
    assert 0.85 < low < 0.99
    assert area_interval(0.0, np.array([0.0]), np.array([1.0])).low == 0


def test_areas_without_one_of_the_two_are_not_known() -> None:
    scores = np.array([0.1, 0.4])
    nothing, all_of_them = areas(np.array([False, False]), scores), areas(np.array([True, True]), scores)
    assert math.isnan(nothing.roc)
    assert math.isnan(nothing.average_precision)
    assert math.isnan(all_of_them.roc)
    assert (nothing.interval, all_of_them.interval, all_of_them.average_precision) == (None, None, 1.0)
    assert (nothing.precision_interval, all_of_them.precision_interval) == (None, None)


_MOST_LIKELY = 1.0  # so far above the class's mean lie others that are taken for it


def _true_average_precision(area: float, counts: tuple[int, int], scatter: float, taken: float) -> float:
    """Of all such pictures: the mean precision over the recall, with a share of the others among the surest."""
    recall = (np.arange(20_000) + 0.5) / 20_000
    mean = norm.ppf(area) * math.sqrt(1 + scatter**2)
    threshold = mean + scatter * norm.isf(recall)
    false = (1 - taken) * norm.sf(threshold) + taken * norm.sf(threshold - mean - _MOST_LIKELY)
    return float((counts[0] * recall / (counts[0] * recall + counts[1] * false)).mean())


def _average_precision(own: Scores, others: Scores) -> float:
    """scikit-learn's, for scores without ties, in a fiftieth of the time."""
    best, sorted_others = np.sort(own)[::-1], np.sort(others)
    hits = np.arange(1, len(own) + 1)
    return float((hits / (hits + len(others) - np.searchsorted(sorted_others, best))).mean())


@pytest.mark.parametrize(
    ("area", "counts", "scatter", "taken"),
    [
        (0.8, (25, 75), 1.0, 0.0),
        (0.8, (50, 450), 1.0, 0.0),
        (0.97, (25, 75), 1.0, 0.1),
        (0.97, (50, 450), 0.5, 0.0),
        (0.97, (50, 450), 1.0, 0.02),
        (0.97, (100, 100), 2.0, 0.0),
        (0.97, (100, 100), 1.0, 0.1),
    ],
)
def test_average_precision_interval_covers_the_truth(
    area: float, counts: tuple[int, int], scatter: float, taken: float
) -> None:
    rng, covered = np.random.default_rng(3), 0
    truth, mean = _true_average_precision(area, counts, scatter, taken), norm.ppf(area) * math.sqrt(1 + scatter**2)
    for _ in range(1000):
        own, others = _scores(area, counts, scatter, rng)
        others += (rng.random(counts[1]) < taken) * (mean + _MOST_LIKELY)
        low, high = average_precision_interval(_average_precision(own, others), own, others)
        covered += low <= truth <= high
    assert 920 <= covered <= 1000


def test_share_alone_would_not_cover_where_some_of_the_others_are_the_surest() -> None:
    rng, counts, covered = np.random.default_rng(4), (500, 500), 0
    truth, mean = _true_average_precision(0.97, counts, 1.0, 0.02), norm.ppf(0.97) * math.sqrt(2)
    for _ in range(200):
        own, others = _scores(0.97, counts, 1.0, rng)
        others += (rng.random(counts[1]) < 0.02) * (mean + _MOST_LIKELY)
        low, high = wilson(round(_average_precision(own, others) * 500), 500)
        covered += low <= truth <= high
    assert covered < 0.92 * 200


def test_variance_of_average_precision_is_that_of_leaving_each_picture_out_ties_included() -> None:
    rng = np.random.default_rng(5)
    own, others = (np.round(scores, 1) for scores in _scores(0.85, (80, 120), 1.0, rng))

    def without(place: int, ours: bool) -> float:
        kept = (np.delete(own, place), others) if ours else (own, np.delete(others, place))
        shows = np.repeat([True, False], [len(kept[0]), len(kept[1])])
        return float(average_precision_score(shows, np.concatenate(kept)))

    expected = 0.0
    for number, ours in ((80, True), (120, False)):
        left = np.array([without(place, ours) for place in range(number)])
        expected += (number - 1) / number * float(((left - left.mean()) ** 2).sum())
    assert precision_variance(own, others) == pytest.approx(expected, rel=0.05)


def test_average_precision_interval_is_about_that_of_boyd_eng_and_page() -> None:
    own, others = _scores(0.9, (500, 1500), 1.0, np.random.default_rng(6))
    found = _average_precision(own, others)
    half = 1.96 / math.sqrt(500 * found * (1 - found))
    expected = [float(expit(logit(found) + sign * half)) for sign in (-1, 1)]
    assert average_precision_interval(found, own, others) == pytest.approx(expected, abs=0.005)


def test_perfect_average_precision_has_an_interval_that_is_no_point() -> None:
    own, others = np.array([2.0, 3.0, 4.0] * 10), np.array([0.0, 1.0] * 20)
    assert average_precision_interval(1.0, own, others) == pytest.approx(tuple(wilson(30, 30)))
