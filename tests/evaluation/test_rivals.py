"""evaluation/rivals.py: intervals that cover, tests that do not cry wolf."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import ndtri
from scipy.stats import binomtest, norm, ttest_rel

from saccade.evaluation.rivals import accuracy_interval, compare_pair, holm
from saccade.metrics import wilson

Hardness = npt.NDArray[Any]


def _answers(
    shape: tuple[int, int],
    accuracy: float,
    seed_spread: float,
    rng: np.random.Generator,
    hardness: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """Simulated networks of known accuracy on pictures that differ in hardness (deviation 1)."""
    ability = rng.normal(0, seed_spread, (shape[0], 1)) + norm.ppf(accuracy) * np.sqrt(2 + seed_spread**2)
    return ability - hardness + rng.normal(size=shape) > 0


@pytest.mark.parametrize("accuracy", [0.6, 0.85, 0.95])
def test_interval_of_one_seed_covers_the_true_accuracy_95_times_in_100(accuracy: float) -> None:
    rng, covered = np.random.default_rng(1), 0
    for correct in rng.random((1000, 1, 300)) < accuracy:
        low, high = accuracy_interval(correct)
        covered += low <= accuracy <= high
    assert 930 <= covered <= 970


def _draws(shape: tuple[int, int, int], scatter: float, rng: np.random.Generator, hardness: Hardness) -> Hardness:
    """1,000 groups of networks (D, S, N) whose accuracies scatter around 0.8 by so much from seed to seed."""
    accuracies = np.clip(0.8 + scatter * rng.normal(size=(*shape[:2], 1)), 1e-4, 1 - 1e-4)
    noise = rng.standard_normal(shape, dtype=np.float32)
    return (ndtri(accuracies) * np.sqrt(2)).astype(np.float32) - hardness + noise > 0


@pytest.mark.parametrize("num_pictures", [200, 1000])
@pytest.mark.parametrize("scatter", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_several_seeds_cover_the_truth_and_raise_no_false_alarms(
    num_seeds: int, scatter: float, num_pictures: int
) -> None:
    rng, shape = np.random.default_rng(2), (1000, num_seeds, num_pictures)
    hardness = rng.standard_normal((1000, 1, num_pictures), dtype=np.float32)
    covered, alarms = 0, 0
    for first, second in zip(*(_draws(shape, scatter, rng, hardness) for _ in range(2)), strict=True):
        low, high = accuracy_interval(first)
        covered += low <= 0.8 <= high
        alarms += compare_pair(first, second).p < 0.05
    assert covered >= 930, "wider than needed is allowed here, narrower is not"
    assert covered <= (970 if scatter == 0.03 and num_pictures == 1000 else 997), "and not much too wide"
    assert alarms <= 71, "50 expected at most, and three deviations for the luck of 18 simulations"


@pytest.mark.parametrize(("num_first", "num_second", "scatter"), [(3, 1, 0.0), (3, 2, 0.02), (3, 5, 0.0)])
def test_more_seeds_on_one_side_raise_no_false_alarms_and_cover_the_difference(
    num_first: int, num_second: int, scatter: float
) -> None:
    rng, num_pictures = np.random.default_rng(8), 300
    hardness = rng.standard_normal((1000, 1, num_pictures), dtype=np.float32)
    firsts, seconds = (_draws((1000, num, num_pictures), scatter, rng, hardness) for num in (num_first, num_second))
    pairs = [compare_pair(first, second) for first, second in zip(firsts, seconds, strict=True)]
    assert sum(pair.p < 0.05 for pair in pairs) <= 60, "50 expected at most, and ten for the luck of a simulation"
    assert sum(pair.interval.low <= 0 <= pair.interval.high for pair in pairs) >= 940


def test_one_seed_against_several_is_a_paired_t_test_over_pictures_where_seeds_are_alike() -> None:
    rng = np.random.default_rng(9)
    first, second = rng.random((1, 500)) < 0.8, rng.random((1, 500)) < 0.75
    several = np.repeat(first, 4, axis=0)
    statistic = ttest_rel(first[0].astype(float), second[0].astype(float)).statistic
    found = compare_pair(several, second)
    assert found.difference == pytest.approx(float(first.mean() - second.mean()))
    assert found.p == pytest.approx(2 * norm.sf(abs(statistic)), rel=1e-6)  # pictures are many: the normal quantile
    assert compare_pair(second, several).p == pytest.approx(found.p)


def test_p_is_the_level_whose_interval_ends_at_zero() -> None:
    rng = np.random.default_rng(6)
    for _ in range(300):
        hardness = rng.normal(size=200)
        first, second = (_answers((3, 200), accuracy, 0.1, rng, hardness) for accuracy in (0.85, 0.8))
        pair = compare_pair(first, second)
        assert (pair.p < 0.05) == (not pair.interval.low <= 0 <= pair.interval.high)


def test_seeds_that_are_alike_are_as_sure_as_the_pictures_and_no_surer() -> None:
    one = np.random.default_rng(7).random((1, 400)) < 0.8
    low, high = accuracy_interval(np.repeat(one, 4, axis=0))
    assert (low, high) == pytest.approx(tuple(accuracy_interval(one)), abs=2e-4)


def test_interval_that_ignored_the_seeds_would_not_cover() -> None:
    rng, covered = np.random.default_rng(3), 0
    for _ in range(300):
        correct = _answers((5, 300), 0.8, 0.3, rng, rng.normal(size=300))
        low, high = wilson(int(correct.sum()), correct.size)
        covered += low <= 0.8 <= high
    assert covered < 0.9 * 300


def test_equally_good_networks_of_one_seed_are_called_different_at_most_5_times_in_100() -> None:
    rng, alarms = np.random.default_rng(4), 0
    for _ in range(1000):
        hardness = rng.normal(size=200)
        first, second = (_answers((1, 200), 0.8, 0.0, rng, hardness) for _ in range(2))
        alarms += compare_pair(first, second).p < 0.05
    assert alarms <= 60, "50 expected at most, and ten for the luck of a simulation"


def test_clearly_better_network_is_called_better() -> None:
    rng, found = np.random.default_rng(5), 0
    for _ in range(200):
        hardness = rng.normal(size=300)
        first, second = (_answers((3, 300), accuracy, 0.05, rng, hardness) for accuracy in (0.85, 0.7))
        pair = compare_pair(first, second)
        found += pair.p < 0.05 and pair.difference > 0
    assert found > 180


def test_one_seed_is_mcnemars_exact_test() -> None:
    first = np.array([[True] * 30 + [False] * 10 + [True] * 8 + [False] * 2])
    second = np.array([[True] * 30 + [False] * 10 + [False] * 8 + [True] * 2])
    pair = compare_pair(first, second)
    assert pair.p == pytest.approx(binomtest(8, 10).pvalue)
    assert pair.difference == pytest.approx(0.12)
    assert pair.interval.low < 0.12 < pair.interval.high


def test_seeds_that_decide_everything_are_a_paired_t_test_over_seeds() -> None:
    share = np.array([0.9, 0.8, 0.7, 0.95]), np.array([0.6, 0.75, 0.5, 0.7])
    pictures = np.arange(10_000) / 10_000
    first, second = (pictures[None, :] < each[:, None] for each in share)
    found, expected = compare_pair(first, second).p, ttest_rel(*share).pvalue
    assert found == pytest.approx(expected, rel=0.05)


def test_same_answers_are_no_difference_and_leave_room_for_one() -> None:
    correct = np.random.default_rng(0).random((3, 100)) < 0.8
    pair = compare_pair(correct, correct)
    assert (pair.difference, pair.p) == (0.0, 1.0)
    assert pair.interval.low < 0 < pair.interval.high


def test_all_right_is_no_certainty() -> None:
    low, high = accuracy_interval(np.ones((3, 50), dtype=bool))
    assert low == pytest.approx(wilson(50, 50).low)
    assert high == 1.0


def test_holm_is_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5]) == [0.5]
    assert holm([]) == []
