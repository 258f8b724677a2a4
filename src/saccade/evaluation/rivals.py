"""Which of several networks is better, on the same pictures: intervals, paired tests, and what many tests cost.

What a network gets right varies with the pictures that happen to be in the test part and with the seed it was trained
from. Both are counted: as the two factors of a crossed design, whose variance components are those of an analysis of
variance. Pictures are many, so their part is known well; seeds are few, so theirs is hardly known at all. Each part has
its own quantile, and their squares are added (Banerjee 1960, Sankhya 22): with two seeds
that differ much the intervals are very wide, and that is the truth about two seeds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit
from scipy.stats import binomtest

from saccade.metrics import Interval, wilson

Correct = npt.NDArray[np.bool_]

LEVEL = 0.05  # what may lie outside of an interval
_LEAST = 1e-12  # no p is said to be smaller


class Paired(NamedTuple):
    """One network against another on the same pictures.

    Attributes:
        difference: of the accuracies, first minus second.
        interval: 95 %, of the difference.
        p: how often chance alone would make two equally good networks differ as much or more.
    """

    difference: float
    interval: Interval
    p: float


class _Seeds(NamedTuple):
    """What the mean of values (S, N) varies by because of the seeds.

    Attributes:
        variance: as those few show it, `chance` included.
        chance: by what belongs to neither a picture nor a seed; known well.
        num_seeds: S, two or more.
    """

    variance: float
    chance: float
    num_seeds: int


class _Spread(NamedTuple):
    """What a mean, or a difference of two, varies by.

    Attributes:
        pictures: its variance by the choice of pictures and by chance; known well.
        seeds: by the seeds of each side that has several.
    """

    pictures: float
    seeds: tuple[_Seeds, ...]

    def parts(self, level: float) -> tuple[float, float]:
        """The squared half widths, at a level such as 0.05, of what one seed would have, and of what seeds add to it.

        The variance by the seeds is never less than that by chance, however much alike a few of them are.
        """
        normal = float(ndtri(1 - level / 2)) ** 2
        added = sum(
            max(0.0, float(stdtrit(each.num_seeds - 1, 1 - level / 2)) ** 2 * each.variance - normal * each.chance)
            for each in self.seeds
        )
        return normal * self.pictures, added

    def half(self, level: float) -> float:
        """The half width of the interval at a level."""
        return math.sqrt(sum(self.parts(level)))


def accuracy_interval(correct: Correct) -> Interval:
    """The 95 % interval of a recipe's accuracy, over pictures and, where there are several, over seeds.

    Of one seed it is Wilson's. Of several it is Wilson's for as many independent answers as would vary as the pictures
    do, and to both sides what the seeds add (by squares: Zou & Donner 2008, https://doi.org/10.1002/sim.3095).

    Args:
        correct: (S, N), what each seed's network got right of the same pictures.
    """
    num_seeds, num_pictures = correct.shape
    mean = float(correct.mean())
    if num_seeds == 1 or not 0 < mean < 1:
        return wilson(round(mean * num_pictures), num_pictures)
    by_pictures, by_seeds = _spread(correct.astype(np.float64)).parts(LEVEL)
    z2 = float(ndtri(1 - LEVEL / 2)) ** 2
    answers = mean * (1 - mean) * z2 / by_pictures if by_pictures else float(num_pictures)
    centre = (mean + z2 / (2 * answers)) / (1 + z2 / answers)
    half = math.sqrt(z2 * (mean * (1 - mean) / answers + z2 / (4 * answers**2))) / (1 + z2 / answers)
    seeds = math.sqrt(by_seeds)
    below, above = math.hypot(mean - centre + half, seeds), math.hypot(centre + half - mean, seeds)
    return Interval(max(0.0, mean - below), min(1.0, mean + above))


def compare_pair(first: Correct, second: Correct) -> Paired:
    """Are two networks, or two recipes trained from several seeds, equally good on the same pictures?

    With one seed it is McNemar's exact test (McNemar 1947, https://doi.org/10.1007/BF02295996): of the pictures that
    one of them gets right and the other wrong, half should go either way. With several it is a test of the mean
    difference that counts both pictures and seeds: p is the level whose interval ends at zero. Where one has more seeds
    than the other, each adds what its own seeds show; one that has a single seed is judged as that very network.

    Args:
        first: (S, N), what each seed's network got right.
        second: (T, N), of the same pictures.
    """
    alike, num_pictures = len(first) == len(second), first.shape[1]
    # Of as many seeds each the differences seed by seed, which share what both have in common.
    differences = (
        first.astype(np.float64) - second.astype(np.float64)
        if alike
        else first.mean(axis=0)[None, :] - second.mean(axis=0)[None, :]
    )
    spread = _spread(differences) if alike else _spread_of_two(first, second)
    half, mean = spread.half(LEVEL), float(differences.mean())
    if not differences.any() and half == 0:
        # Nothing differs: what Wilson leaves open for a share of which none was seen.
        bound = wilson(0, num_pictures).high
        return Paired(0.0, Interval(-bound, bound), 1.0)
    interval = Interval(max(-1.0, mean - half), min(1.0, mean + half))
    if len(first) == len(second) == 1:
        num_first, num_second = int((differences > 0).sum()), int((differences < 0).sum())
        return Paired(mean, interval, float(binomtest(num_first, num_first + num_second).pvalue))
    return Paired(mean, interval, _level_at(spread, abs(mean)))


def holm(p_values: list[float]) -> list[float]:
    """What is left of each when so many questions were asked of the same pictures (Holm 1979).

    All together are then wrong at most as often as one test alone.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _level_at(spread: _Spread, half: float) -> float:
    """The level at which an interval has this half width: 0..1."""
    if half == 0:
        return 1.0
    if spread.half(_LEAST) <= half:
        return _LEAST
    return math.exp(brentq(lambda level: spread.half(math.exp(level)) - half, math.log(_LEAST), 0.0))


def _spread(values: npt.NDArray[np.float64]) -> _Spread:
    """Of the mean of values (S, N), with seeds and pictures as crossed random effects."""
    by_pictures = float(values.mean(axis=0).var(ddof=1)) / values.shape[1]
    seeds = _seeds(values)
    # A component cannot be negative: where its estimate is, pictures are taken to differ by chance alone.
    return _Spread(max(by_pictures, sum(each.chance for each in seeds)), seeds)


def _spread_of_two(first: Correct, second: Correct) -> _Spread:
    """Of the difference of two means, (S, N) and (T, N), whose seeds have nothing to do with each other."""
    difference = first.mean(axis=0) - second.mean(axis=0)
    seeds = (*_seeds(first.astype(np.float64)), *_seeds(second.astype(np.float64)))
    return _Spread(max(float(difference.var(ddof=1)) / len(difference), sum(each.chance for each in seeds)), seeds)


def _seeds(values: npt.NDArray[np.float64]) -> tuple[_Seeds, ...]:
    """What the seeds of values (S, N) show; nothing where there is one."""
    num_seeds, num_pictures = values.shape
    if num_seeds == 1:
        return ()
    by_seed, by_picture, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    left = values - by_seed[:, None] - by_picture[None, :] + mean
    chance = float((left**2).sum()) / ((num_seeds - 1) * (num_pictures - 1)) / values.size
    return (_Seeds(float(by_seed.var(ddof=1)) / num_seeds, chance, num_seeds),)
