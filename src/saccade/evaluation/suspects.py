"""Labels that look wrong: confident learning (Northcutt et al. 2021, https://arxiv.org/abs/1911.00068).

A linear classifier on a network's features names every picture without having seen it (out of fold). A class is taken
seriously for a picture when its probability is above what the pictures of that class get on average; where the most
probable of those classes is not the label, picture and label are counted in the confident joint's wrong corner. Those
are the suspects, the least confident in their own label first.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from saccade.data.batches import Batch
from saccade.data.split import fold_of
from saccade.models.network import Network

_FOLDS = 5
_PENALTY = 0.02  # scikit-learn's C; with less of a penalty the features of hundreds of numbers fit wrong labels too
_ITERATIONS = 200


class Suspect(NamedTuple):
    """A picture whose label looks wrong.

    Attributes:
        picture: its position among those that were judged.
        label: what its owner says it shows.
        likely: what it rather looks like.
        self_confidence: the probability of the label, 0..1.
        confidence: the probability of `likely`.
    """

    picture: int
    label: int
    likely: int
    self_confidence: float
    confidence: float


@torch.no_grad()
def features_of(network: Network, batches: Iterable[Batch]) -> npt.NDArray[np.float32]:
    """What the head sees, averaged over the picture: (N, D), in the order of the batches."""
    network.eval()
    found = []
    for batch in batches:
        features = network.features(batch.images).float()
        found.append((features.flatten(2).mean(2) if features.dim() > 2 else features).cpu().numpy())
    return np.concatenate(found)


def out_of_fold(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], units: Sequence[str], seed: int = 0
) -> npt.NDArray[np.float64]:
    """Probabilities (N, K) of each picture by classifiers that saw neither it nor its copies.

    Args:
        features: (N, D).
        labels: (N,) 0..K-1.
        units: (N,) the same text for pictures that must stay together.
        seed: of the folds.

    Raises:
        LabelError: there are fewer than five units.
    """
    folds = fold_of(labels, units, _FOLDS, seed)
    probabilities = np.zeros((len(labels), int(labels.max()) + 1))
    for fold in range(_FOLDS):
        held, rest = folds == fold, folds != fold
        known = np.unique(labels[rest])
        if len(known) == 1:
            probabilities[held, known[0]] = 1
            continue
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=_ITERATIONS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near enough to rank by
            classifier.fit(features[rest], labels[rest])
        probabilities[np.ix_(held, known)] = classifier.predict_proba(features[held])
    return probabilities


def confident_joint(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The class that each picture confidently shows, (N,); -1 where it shows none.

    Args:
        probabilities: (N, K), out of fold.
        labels: (N,).
    """
    num_classes = probabilities.shape[1]
    own = np.eye(num_classes)[labels]
    with np.errstate(invalid="ignore"):
        thresholds = (probabilities * own).sum(axis=0) / own.sum(axis=0)  # of a class without pictures: nan, never met
    above = probabilities >= thresholds
    best = np.where(above, probabilities, -1.0).argmax(axis=1)
    return np.where(above.any(axis=1), best, -1)


def find_suspects(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> list[Suspect]:
    """Pictures that confidently show another class than their label, the least sure of the label first.

    Args:
        probabilities: (N, K), out of fold.
        labels: (N,).
    """
    shows = confident_joint(probabilities, labels)
    places = np.arange(len(labels))
    own, other = probabilities[places, labels], probabilities[places, shows]
    wrong = np.flatnonzero((shows >= 0) & (shows != labels))
    wrong = wrong[np.argsort(own[wrong], kind="stable")]
    return [Suspect(int(i), int(labels[i]), int(shows[i]), float(own[i]), float(other[i])) for i in wrong.tolist()]
