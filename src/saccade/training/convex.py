"""Softmax cross-entropy with L2 over principal directions: its minimum, and the search for the strength of L2.

The folds of a cross-validation are heads side by side in one problem, so that all of them cost one product a step.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from saccade.training.directions import Directions

MANY_CLASSES = 100  # above, one fold is held out instead of each in turn
_PATIENCE = 3  # weaker strengths tried in a row without gain before the search ends
_ROUGH = 1e-4  # largest slope at a minimum that is only compared
_BLOCK = 4_000_000  # values worked on at once
_CURVATURE = 0.1  # of the cross-entropy along a logit; 0.25 at most, less where the classes are told apart
_MAX_ITERATIONS = 500
_ROUNDING = {torch.float32: 1e-8, torch.float64: 1e-13}  # smallest gain of a step that is more than noise


class Search(NamedTuple):
    """How the strength of L2 is found, on the given pictures only.

    Attributes:
        strengths: to try, in any order; None for ten over four and a half decades that suit the number of features.
        num_folds: of the stratified cross-validation, at least 2.
        num_pictures: at most this many take part in it, drawn so that the classes keep their shares.
        seed: of that draw and of the folds.
    """

    strengths: tuple[float, ...] | None = None
    num_folds: int = 5
    num_pictures: int = 5_000
    seed: int = 0


@dataclass(frozen=True)
class SoftmaxProblem:
    """F linear heads of K classes, each on its own choice of the same pictures.

    Attributes:
        space: of all pictures, those of this problem and perhaps more.
        coordinates: (N, R + 1), the pictures of this problem in it.
        labels: int64 (N,), their classes, 0..K-1.
        learns: bool (N, F), which picture each of the heads learns from.
        num_classes: K.
        label_smoothing: share of each target that is spread over all classes.
    """

    space: Directions
    coordinates: Tensor
    labels: Tensor
    learns: Tensor
    num_classes: int
    label_smoothing: float

    def minimise(self, start: Tensor, strength: float, tolerance: float) -> Tensor:
        """The weights (F, K, R + 1), from `start` of the same shape, by L-BFGS.

        The variables are scaled by the square root of the curvature to expect along each direction, which is known
        from its power: as many steps where classes are easily told apart, a half to a third of them where not.

        Args:
            start: float64.
            strength: of L2.
            tolerance: largest slope along a scaled variable at which it stops.
        """
        curvature = _CURVATURE * self.space.powers / len(self.space.features)
        scale = (curvature + self._decay(strength)).sqrt()

        def objective(scaled: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            value, slope = self.value_and_slope(_to(scaled, start) / scale, strength)
            return value, _from(slope / scale)

        limits = {"maxiter": _MAX_ITERATIONS, "gtol": tolerance, "ftol": _ROUNDING[self.coordinates.dtype]}
        found = minimize(objective, _from(start * scale), jac=True, method="L-BFGS-B", options=limits)
        return _to(found.x, start) / scale

    def value_and_slope(self, weights: Tensor, strength: float) -> tuple[float, Tensor]:
        """Sum over heads of (cross-entropies + strength / 2 · |weight|²) / pictures, and its slope (F, K, R + 1)."""
        decay = self._decay(strength) * weights
        value, slope = 0.5 * (decay * weights).sum(), decay
        share = self.learns.double() / self.learns.sum(dim=0)
        spread = self.label_smoothing / self.num_classes
        for part, logs in self.log_probabilities(weights):
            wanted = self.labels[part, None, None].expand(-1, logs.shape[1], 1)
            losses = (self.label_smoothing - 1) * logs.gather(2, wanted)[:, :, 0] - spread * logs.sum(dim=2)
            value = value + (losses * share[part]).sum()
            misses = logs.exp_().sub_(spread)
            misses.scatter_add_(2, wanted, misses.new_full((1,), self.label_smoothing - 1).expand(wanted.shape))
            misses *= share[part, :, None].to(misses)
            slope = slope + (misses.flatten(1).T @ self.coordinates[part]).double().reshape(weights.shape)
        return float(value), slope

    def _decay(self, strength: float) -> Tensor:
        """(F, 1, R + 1): the strength for each picture of a head, none for the intercept."""
        return strength * self.space.penalised / self.learns.sum(dim=0)[:, None, None]

    def log_probabilities(self, weights: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Of some pictures at a time: which, and log-probabilities (n, F, K) from each head."""
        flat = weights.flatten(0, 1).T.to(self.coordinates)
        size = max(1, _BLOCK // flat.shape[1])
        for begin in range(0, len(self.labels), size):
            part = slice(begin, begin + size)
            logits = self.coordinates[part] @ flat
            yield part, logits.reshape(-1, *weights.shape[:2]).log_softmax(dim=2)


class Path(NamedTuple):
    """Where a search ended: weights (K, R + 1) to go on from, and what probe.SolvedHead says of it."""

    weight: Tensor
    strength: float
    accuracy: float
    strengths: tuple[float, ...]
    accuracies: tuple[float, ...]
    num_pictures: int


def follow(problem: SoftmaxProblem, strengths: Sequence[float], search: Search) -> Path:
    """Cross-validate from the strongest strength on, until three in a row neither get more right nor lose less.

    Args:
        problem: one head, on all pictures.
        strengths: strongest first; those of `search` are not looked at.
        search: see there.

    Returns:
        The end; its weight is the mean over the folds. With an accuracy of nan where no class has two pictures.
    """
    folds, held = _hold_out(problem, search)
    weights = problem.space.powers.new_zeros(folds.learns.shape[1], problem.num_classes, len(problem.space.powers))
    if not len(held):
        return Path(weights[0], strengths[len(strengths) // 2], math.nan, (), (), 0)
    results: list[tuple[float, float]] = []
    best, found, idle = (0.0, -math.inf), 0, 0
    least_loss = math.inf
    kept = weights
    for strength in strengths:
        weights = folds.minimise(weights, strength, _ROUGH)
        accuracy, loss = _judge(folds, weights, held)
        results.append((accuracy, -loss))
        idle = 0 if accuracy > best[0] or loss < least_loss else idle + 1
        least_loss = min(loss, least_loss)
        if results[-1] > best:
            best, found, kept = results[-1], len(results) - 1, weights
        if idle == _PATIENCE:
            break
    accuracies = tuple(accuracy for accuracy, _ in results)
    tried = tuple(strengths[: len(results)])
    return Path(kept.mean(dim=0), strengths[found], best[0], tried, accuracies, len(held))


def _hold_out(problem: SoftmaxProblem, search: Search) -> tuple[SoftmaxProblem, Tensor]:
    """The pictures of the search with a head for each fold, and the rows (M, 2): a picture, the head that lacks it."""
    rows, folds = _folds(problem.labels.cpu().numpy(), search)
    device = problem.labels.device
    rows_there, folds_there = torch.from_numpy(rows).to(device), torch.from_numpy(folds).to(device)
    num_heads = max(1, int(folds.max()) + 1)
    learns = folds_there[:, None] != torch.arange(num_heads, device=device)
    held = (~learns).nonzero()
    labels, coordinates = problem.labels[rows_there], problem.coordinates[rows_there]
    return replace(problem, coordinates=coordinates, labels=labels, learns=learns), held


def _folds(labels: npt.NDArray[np.int64], search: Search) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pictures that take part, ascending, and the fold that holds each out; -1 for none."""
    rows = np.arange(len(labels))
    if len(labels) > search.num_pictures:
        shuffled = np.random.default_rng(search.seed).permutation(len(labels))
        by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
        rows = np.sort(by_class[np.linspace(0, len(labels) - 1, search.num_pictures).astype(np.int64)])
    folds = np.full(len(rows), -1)
    counts = np.bincount(labels[rows])
    num_folds = min(search.num_folds, int(counts.max()))
    if num_folds < 2:
        return rows, folds
    splitter = StratifiedKFold(num_folds, shuffle=True, random_state=search.seed)
    with warnings.catch_warnings():
        # Classes smaller than the number of folds are missing from some: meant, and said by nobody but sklearn.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        parts = [test for _, test in splitter.split(rows, labels[rows])]
    for number, test in enumerate(parts[: 1 if len(counts) > MANY_CLASSES else None]):
        folds[test] = number
    return rows, folds


def _judge(folds: SoftmaxProblem, weights: Tensor, held: Tensor) -> tuple[float, float]:
    """Accuracy and mean cross-entropy over the pictures that are held out, each by the head that lacks it."""
    num_right, loss = 0, 0.0
    for part, logs in folds.log_probabilities(weights):
        here = held[(held[:, 0] >= part.start) & (held[:, 0] < part.stop)]
        own = logs[here[:, 0] - part.start, here[:, 1]]
        wanted = folds.labels[here[:, 0]]
        num_right += int((own.argmax(dim=1) == wanted).sum())
        loss -= float(own.gather(1, wanted[:, None]).double().sum())
    return num_right / len(held), loss / len(held)


def _to(values: npt.NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device).reshape(like.shape)


def _from(values: Tensor) -> npt.NDArray[np.float64]:
    return np.asarray(values.flatten().cpu().numpy(), dtype=np.float64)
