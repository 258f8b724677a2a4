"""evaluation/areas.py: against scikit-learn, a bootstrap, and simulated scores whose true area is known."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from saccade.evaluation.areas import area_interval, areas

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
