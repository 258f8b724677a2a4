"""The head alone on cached features, solved as the convex problem it is.

ridge_sweep       least squares on one-hot targets: every strength of L2, and every picture left out, at once
solve_logistic    the head that training would reach if it never stopped: softmax cross-entropy with L2

Features are standardised. What is made small is, as in scikit-learn, a sum over the pictures: of squared misses plus
strength · |weight|² (`alpha` of Ridge), or of cross-entropies plus strength / 2 · |weight|² (1 / `C` of
LogisticRegression; 2 / `C` for two classes, which it gives one weight). What suits a sample of the pictures suits all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from saccade.errors import ModelError
from saccade.training.convex import Search, SoftmaxProblem, follow
from saccade.training.directions import Directions, principal_directions

WEAKEST = 1e-6  # strength per feature; below, the weights of classes that can be separated grow without end
MISSING_BIAS = -30.0  # the other logits sum to 0, so a class never seen gets less than e^-30
_RIDGE_STRENGTHS = np.logspace(4, -3, 15)  # per feature, strongest first
_LOGISTIC_STRENGTHS = np.logspace(1, -3.5, 10)
_PRECISE = 1e-6  # largest slope at the minimum
_BLOCK = 4_000_000  # values worked on at once


@dataclass(frozen=True)
class RidgeSweep:
    """What least squares makes of the features, for each strength.

    Attributes:
        strengths: those tried, as given.
        accuracies: one for each: share of the pictures that are right when each is left out of the fit, 0..1.
        strength: the most accurate; among equals the one with the smallest squared error.
        accuracy: its own.
        left_out: (N, K), the score of each class for each picture from the fit without that picture, at `strength`.
        weight: (K, D) for the features as they came, fitted to all pictures.
        bias: (K,).
        seconds: taken.
    """

    strengths: tuple[float, ...]
    accuracies: tuple[float, ...]
    strength: float
    accuracy: float
    left_out: Tensor
    weight: Tensor
    bias: Tensor
    seconds: float


@dataclass(frozen=True)
class SolvedHead:
    """The minimum of softmax cross-entropy with L2 on standardised features.

    Attributes:
        weight: (K, D) for the features as they came.
        bias: (K,).
        strength: of L2; the most accurate in cross-validation, among equals the one with the smallest loss.
        cv_accuracy: its share of right pictures in folds it did not learn from, 0..1; nan where nothing was compared.
            Its heads learnt from fewer pictures than the one returned, so it rather says too little.
        strengths: those tried, strongest first; weaker ones are left out once three in a row gained nothing.
        cv_accuracies: one for each.
        num_cv_pictures: how many were judged by the cross-validation.
        seconds: taken.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    cv_accuracy: float
    strengths: tuple[float, ...]
    cv_accuracies: tuple[float, ...]
    num_cv_pictures: int
    seconds: float


@torch.no_grad()
def ridge_sweep(
    features: Tensor, labels: Tensor, num_classes: int, strengths: Sequence[float] | None = None
) -> RidgeSweep:
    """Tell in one sweep how well the features separate the classes, each picture judged by all the others.

    One eigendecomposition serves all strengths. With the leverage h of a picture and the residual e of its one-hot
    target, the fit without it misses it by e / (1 - h): exact, for features standardised over all pictures.

    Args:
        features: float (N, D), on any device, of any float type.
        labels: int64 (N,), 0..K-1; classes may be missing.
        num_classes: K.
        strengths: of L2, `alpha` in scikit-learn. None for fifteen over seven decades that suit the number of features.

    Returns:
        The sweep; its tensors lie where the features do, float64 if they are, else float32.

    Raises:
        ModelError: features, labels or strengths cannot be used.
        ResourceError: both N and D are above 12,000.
    """
    began = time.perf_counter()
    _check_labels(features, labels, num_classes)
    space = principal_directions(features)
    labels = labels.to(space.coordinates.device).long().contiguous()
    tried = _choose_strengths(strengths, _RIDGE_STRENGTHS, space)
    divisors = space.powers[:, None] + space.powers.new_tensor(tried) * space.penalised[:, None]
    weights = _class_sums(space.coordinates, labels, num_classes)[:, None] / divisors[:, :, None]
    num_right, squares = torch.zeros_like(divisors[0]), torch.zeros_like(divisors[0])
    for scores, part in _left_out(space.coordinates, labels, weights, divisors):
        num_right += (scores.argmax(dim=2) == part[:, None]).sum(dim=0)
        squares += (one_hot(part, num_classes)[:, None] - scores).square().sum(dim=(0, 2))
    best = int(np.lexsort((squares.cpu().numpy(), -num_right.cpu().numpy()))[0])
    only = slice(best, best + 1)
    blocks = _left_out(space.coordinates, labels, weights[:, only], divisors[:, only])
    left_out = _like(features, torch.cat([scores[:, 0] for scores, _ in blocks]))
    weight, bias = (_like(features, tensor) for tensor in space.turn_back(weights[:, best].T))
    accuracies = tuple((num_right / len(labels)).tolist())
    seconds = time.perf_counter() - began
    return RidgeSweep(tried, accuracies, tried[best], accuracies[best], left_out, weight, bias, seconds)


@torch.no_grad()
def solve_logistic(
    features: Tensor, labels: Tensor, num_classes: int, label_smoothing: float = 0.0, search: Search | None = None
) -> SolvedHead:
    """Solve the linear head: softmax cross-entropy with L2, its strength chosen by stratified cross-validation.

    The folds are solved side by side, from the strongest strength to the weakest, each from where the last one ended.
    At most 5,000 pictures take part in that (`Search.num_pictures`); with more than 100 classes one fold is held out
    instead of each in turn; where no class has two pictures nothing can be compared and the middle strength is taken.
    Features are standardised over all pictures, in the folds too, which uses no label. The last fit is on all.
    A class without pictures gets no weight and a bias of -30, unless label smoothing gives it a share.

    Args:
        features: float (N, D), on any device, of any float type.
        labels: int64 (N,), 0..K-1; at least two classes must occur.
        num_classes: K.
        label_smoothing: share of each target that is spread over all K classes, 0 <= share < 1.
        search: how the strength is found.

    Returns:
        The head; its tensors lie where the features do, float64 if they are, else float32.

    Raises:
        ModelError: features, labels, strengths or label smoothing cannot be used.
        ResourceError: both N and D are above 12,000.
    """
    began = time.perf_counter()
    search = search or Search()
    _check_labels(features, labels, num_classes)
    _check_settings(label_smoothing, search)
    space = principal_directions(features)
    labels = labels.to(space.coordinates.device).long().contiguous()
    strengths = _choose_strengths(search.strengths, _LOGISTIC_STRENGTHS, space)
    solved = torch.arange(num_classes, device=labels.device) if label_smoothing else torch.unique(labels)
    targets, everyone = torch.searchsorted(solved, labels), torch.ones_like(labels, dtype=torch.bool)
    problem = SoftmaxProblem(space, space.coordinates, targets, everyone[:, None], len(solved), label_smoothing)
    path = follow(problem, sorted(strengths, reverse=True), search)
    weight = space.powers.new_zeros(num_classes, len(space.powers))
    weight[:, -1] = MISSING_BIAS
    weight[solved] = problem.minimise(path.weight[None], path.strength, _PRECISE)[0]
    weight, bias = (_like(features, tensor) for tensor in space.turn_back(weight))
    seconds = time.perf_counter() - began
    return SolvedHead(weight, bias, *path[1:], seconds)


def as_sigmoid(head: SolvedHead) -> tuple[Tensor, Tensor]:
    """The weight (1, D) and bias (1,) of one unit whose sigmoid is the probability of the second of two classes.

    Raises:
        ModelError: the head has not two classes.
    """
    if len(head.weight) != 2:
        raise ModelError(
            f"one sigmoid unit tells two classes apart, but there are {len(head.weight)}",
            where="head",
            remedy="leave out `sigmoid`: a softmax over all classes is used then",
        )
    return head.weight[1:] - head.weight[:1], head.bias[1:] - head.bias[:1]


def _class_sums(coordinates: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Float64 (R + 1, K): the coordinates of the pictures of each class, summed."""
    sums = torch.zeros(coordinates.shape[1], num_classes, dtype=torch.float64, device=coordinates.device)
    size = max(1, _BLOCK // max(coordinates.shape[1], num_classes))
    for block, part in zip(torch.split(coordinates, size), torch.split(labels, size), strict=True):
        sums += block.double().T @ one_hot(part, num_classes).double()
    return sums


def _left_out(
    coordinates: Tensor, labels: Tensor, weights: Tensor, divisors: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of some pictures at a time: scores (n, S, K) from the fits without each of them, and their labels."""
    _, num_strengths, num_classes = weights.shape
    flat, inverses = weights.flatten(1).to(coordinates), (1 / divisors).to(coordinates)
    size = max(1, _BLOCK // max(flat.shape))
    for block, part in zip(torch.split(coordinates, size), torch.split(labels, size), strict=True):
        wanted = one_hot(part, num_classes).to(coordinates)[:, None]
        misses = wanted - (block @ flat).reshape(-1, num_strengths, num_classes)
        freedom = (1 - block.square() @ inverses).clamp_min(torch.finfo(coordinates.dtype).eps)
        yield wanted - misses / freedom[:, :, None], part


def _like(features: Tensor, tensor: Tensor) -> Tensor:
    return tensor.to(features.device, torch.float64 if features.dtype == torch.float64 else torch.float32)


def _choose_strengths(
    given: Sequence[float] | None, per_feature: npt.NDArray[np.float64], space: Directions
) -> tuple[float, ...]:
    """By default they grow with the features that vary, as |features|² does."""
    if given is None:
        return tuple((per_feature * space.num_varying).tolist())
    weakest = WEAKEST * space.num_varying
    if len(given) == 0 or not all(weakest <= strength < math.inf for strength in given):
        raise ModelError(
            f"strengths are finite and at least {weakest:.1e} for {space.num_varying} features, not {list(given)}",
            where="strengths",
            remedy="raise them: with less, the weights of classes that can be separated grow without end",
        )
    return tuple(float(strength) for strength in given)


def _check_labels(features: Tensor, labels: Tensor, num_classes: int) -> None:
    if labels.shape != features.shape[:1] or labels.is_floating_point() or len(labels) == 0:
        raise ModelError(
            f"there is one label, a whole number, for each row of features, not {labels.dtype} {tuple(labels.shape)} "
            f"for {tuple(features.shape)}",
            where="labels",
            remedy="give labels int64 (N,) for features (N, D)",
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ModelError(
            f"labels of {num_classes} classes are 0 to {num_classes - 1}, not {low} to {high}",
            where="labels",
            remedy="leave out the pictures whose class is unknown (-1)",
        )
    if low == high:
        raise ModelError(
            f"all {len(labels):,} pictures are of class {low}, and one class cannot be told apart from none",
            where="labels",
            remedy="give pictures of two classes or more",
        )


def _check_settings(label_smoothing: float, search: Search) -> None:
    if not 0 <= label_smoothing < 1:
        raise ModelError(
            f"label smoothing is a share from 0 up to but without 1, not {label_smoothing}",
            where="label_smoothing",
            remedy="use 0 for none; 0.1 is common",
        )
    if search.num_folds < 2 or search.num_pictures < 2:
        raise ModelError(
            f"cross-validation takes 2 folds and 2 pictures or more, not {search.num_folds} and {search.num_pictures}",
            where="search",
            remedy="leave them out: 5 folds of at most 5,000 pictures",
        )
