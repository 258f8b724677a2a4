"""Which of several networks is better, on the same pictures: intervals, paired tests, and what many tests cost.

What a network gets right varies with the pictures that happen to be in the test part and with the seed it was trained
from. Both are counted: as the two factors of a crossed design, whose variance components are those of an analysis of
variance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm, t

from saccade.metrics import Interval, wilson

Correct = npt.NDArray[np.bool_]


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


class _Spread(NamedTuple):
    """Of a mean over pictures and seeds: its variance, and how many degrees of freedom that was estimated from."""

    variance: float
    freedom: float

    @property
    def quantile(self) -> float:
        """Of 95 % to both sides."""
        return float(norm.ppf(0.975) if math.isinf(self.freedom) else t.ppf(0.975, self.freedom))


def accuracy_interval(correct: Correct) -> Interval:
    """The 95 % interval of a recipe's accuracy, over pictures and, where there are several, over seeds.

    Of one seed it is Wilson's. Of several it has the same shape, for as many independent answers as would have the
    variance that was found, and with Student's quantile.

    Args:
        correct: (S, N), what each seed's network got right of the same pictures.
    """
    num_seeds, num_pictures = correct.shape
    mean = float(correct.mean())
    if num_seeds == 1 or not 0 < mean < 1:
        return wilson(round(mean * num_pictures), num_pictures)
    spread = _spread(correct.astype(np.float64))
    z2 = spread.quantile**2
    answers = mean * (1 - mean) / spread.variance if spread.variance else float(correct.size)
    centre = (mean + z2 / (2 * answers)) / (1 + z2 / answers)
    half = math.sqrt(z2 * (mean * (1 - mean) / answers + z2 / (4 * answers**2))) / (1 + z2 / answers)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def compare_pair(first: Correct, second: Correct) -> Paired:
    """Are two networks, or two recipes trained from several seeds, equally good on the same pictures?

    With one seed it is McNemar's exact test (McNemar 1947, https://doi.org/10.1007/BF02295996): of the pictures that
    one of them gets right and the other wrong, half should go either way. With several it is a t-test of the mean
    difference whose variance counts both pictures and seeds.

    Args:
        first: (S, N), what each seed's network got right.
        second: the same shape and pictures.
    """
    differences = first.astype(np.float64) - second.astype(np.float64)
    mean = float(differences.mean())
    num_first, num_second = int((differences > 0).sum()), int((differences < 0).sum())
    if num_first + num_second == 0:
        # Nothing differs: what Wilson leaves open for a share of which none was seen.
        bound = wilson(0, first.shape[1]).high
        return Paired(0.0, Interval(-bound, bound), 1.0)
    spread = _spread(differences)
    half = spread.quantile * math.sqrt(spread.variance)
    interval = Interval(max(-1.0, mean - half), min(1.0, mean + half))
    if len(first) == 1:
        return Paired(mean, interval, float(binomtest(num_first, num_first + num_second).pvalue))
    score = abs(mean) / math.sqrt(spread.variance) if spread.variance else math.inf
    return Paired(mean, interval, min(1.0, 2 * float(t.sf(score, spread.freedom))))


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


def _spread(values: npt.NDArray[np.float64]) -> _Spread:
    """Of the mean of values (S, N), with seeds and pictures as crossed random effects (Satterthwaite 1946)."""
    num_seeds, num_pictures = values.shape
    if num_seeds == 1:
        return _Spread(float(values.var(ddof=1)) / num_pictures, math.inf)
    by_seed, by_picture, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    seeds = num_pictures * float(by_seed.var(ddof=1))
    pictures = num_seeds * float(by_picture.var(ddof=1))
    left = values - by_seed[:, None] - by_picture[None, :] + mean
    rest = float((left**2).sum()) / ((num_seeds - 1) * (num_pictures - 1))
    # A component cannot be negative: where an estimate is, the factor is taken to have none.
    total = max(seeds + pictures - rest, pictures, seeds)
    terms = ((seeds, num_seeds - 1), (pictures, num_pictures - 1))
    uncertainty = sum(square**2 / freedom for square, freedom in terms)
    freedom = total**2 / uncertainty if uncertainty else math.inf
    return _Spread(total / values.size, max(1.0, freedom))
