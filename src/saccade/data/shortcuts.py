"""Shortcuts: whether a picture's size, format or lack of colour gives its class away.

A network finds such a thing before it finds anything else, judges the test pictures by it, and fails on the first
picture from elsewhere. So a small decision tree is asked to name the classes from these facts alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from saccade.data.looks import Looks, is_grey

_ABOVE_CHANCE = 0.25  # of the way from guessing to knowing
_FOLDS, _DEPTH, _LEAF = 5, 4, 5
_MOST_PICTURES = 20_000  # enough to the percent


class Shortcut(NamedTuple):
    """A fact that predicts the class.

    Attributes:
        fact: size, format or greyness.
        accuracy: mean over the classes of the share that is named rightly from this fact alone, out of fold.
        chance: the same for guessing: one in K.
    """

    fact: str
    accuracy: float
    chance: float


def find_shortcuts(looks: Looks, labels: npt.NDArray[np.int64]) -> list[Shortcut]:
    """Facts that give the class away, the worst first.

    Args:
        looks: (N,) of the pictures that are used.
        labels: (N,) known. Classes of fewer than five pictures are left out.
    """
    counts = np.bincount(labels)
    chosen = np.flatnonzero(counts[labels] >= _FOLDS)
    chosen = chosen[:: max(1, len(chosen) // _MOST_PICTURES)]
    chosen = chosen[np.bincount(labels[chosen], minlength=len(counts))[labels[chosen]] >= _FOLDS]
    num_classes = len(np.unique(labels[chosen]))
    if num_classes < 2:
        return []
    chance = 1 / num_classes
    found = []
    for fact, values in _facts(looks[chosen]).items():
        if (values == values[0]).all():
            continue
        accuracy = _accuracy_from(values, labels[chosen])
        if accuracy >= chance + _ABOVE_CHANCE * (1 - chance):
            found.append(Shortcut(fact, accuracy, chance))
    return sorted(found, key=lambda shortcut: -shortcut.accuracy)


def _facts(looks: Looks) -> Mapping[str, npt.NDArray[np.float64]]:
    width, height = looks["width"].astype(float), looks["height"].astype(float)
    formats = np.unique(looks["format"])
    return {
        "size": np.stack([width, height, width / np.maximum(height, 1)], axis=1),
        "format": (looks["format"][:, None] == formats).astype(float),
        "greyness": is_grey(looks)[:, None].astype(float),
    }


def _accuracy_from(values: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=_LEAF, class_weight="balanced", random_state=0)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    return float(balanced_accuracy_score(labels, cross_val_predict(tree, values, labels, cv=folds)))
