"""evaluation/rivals.py: intervals that cover, tests that do not cry wolf."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binomtest, norm, ttest_rel

from saccade.evaluation.rivals import accuracy_interval, compare_pair, holm
from saccade.metrics import wilson

Hardness = npt.NDArray[np.float64]


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


@pytest.mark.parametrize("seed_spread", [0.0, 0.1, 0.3])
def test_interval_of_several_seeds_covers_the_true_accuracy_of_the_recipe(seed_spread: float) -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(1000):
        low, high = accuracy_interval(_answers((5, 300), 0.8, seed_spread, rng, rng.normal(size=300)))
        covered += low <= 0.8 <= high
    assert covered >= 930, "wider than needed is allowed here, narrower is not"
    assert covered < 1000


def test_interval_that_ignored_the_seeds_would_not_cover() -> None:
    rng, covered = np.random.default_rng(3), 0
    for _ in range(300):
        correct = _answers((5, 300), 0.8, 0.3, rng, rng.normal(size=300))
        low, high = wilson(int(correct.sum()), correct.size)
        covered += low <= 0.8 <= high
    assert covered < 0.9 * 300


@pytest.mark.parametrize(("num_seeds", "seed_spread"), [(1, 0.0), (3, 0.0), (3, 0.1), (5, 0.2)])
def test_equally_good_networks_are_called_different_at_most_5_times_in_100(num_seeds: int, seed_spread: float) -> None:
    rng, alarms = np.random.default_rng(4), 0
    for _ in range(1000):
        hardness, shape = rng.normal(size=200), (num_seeds, 200)
        first, second = (_answers(shape, 0.8, seed_spread, rng, hardness) for _ in range(2))
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
