"""Class by class: precision, recall and F1 with their intervals, areas under curves, and which classes are confused."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from saccade.evaluation.areas import Areas, areas
from saccade.metrics import Evaluation, Interval, wilson

_DRAWS = 1000
_SEED = 0


class Share(NamedTuple):
    """A number from 0 to 1 and its 95 % interval; nan and no interval where there was nothing to divide by."""

    value: float
    interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """As plain values; what is not known is null."""
        return {"value": _known(self.value), "interval": None if self.interval is None else list(self.interval)}


class ClassScores(NamedTuple):
    """What the predictions are worth for one class.

    Attributes:
        precision: of the pictures said to show it, those that do.
        recall: of the pictures that show it, those said to.
        f1: the harmonic mean of both.
        support: pictures that show it.
        num_predicted: pictures said to.
        roc_auc: how often a picture of the class is given a higher probability of it than another; nan without both.
        roc_interval: 95 %, of `roc_auc`.
        average_precision: the area under its precision-recall curve, in steps; nan where no picture shows it.
        precision_interval: 95 %, of `average_precision`.
    """

    name: str
    precision: Share
    recall: Share
    f1: Share
    support: int
    num_predicted: int
    roc_auc: float
    roc_interval: Interval | None
    average_precision: float
    precision_interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """As it stands in metrics.json."""
        return {
            "name": self.name,
            "support": self.support,
            "num_predicted": self.num_predicted,
            **{key: getattr(self, key).to_json() for key in ("precision", "recall", "f1")},
            "roc_auc": _known(self.roc_auc),
            "roc_auc_interval": None if self.roc_interval is None else list(self.roc_interval),
            "average_precision": _known(self.average_precision),
            "average_precision_interval": None if self.precision_interval is None else list(self.precision_interval),
        }


class Average(NamedTuple):
    """Over the classes, as scikit-learn has it: `macro` counts each the same, `weighted` by its pictures."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dict(self._asdict())


class ConfusedPair(NamedTuple):
    """Pictures of one class that were taken for another; `share` of all that show the true one."""

    true: str
    predicted: str
    num_pictures: int
    share: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dict(self._asdict())


def class_scores(found: Evaluation) -> tuple[ClassScores, ...]:
    """A record per class. Precision and recall have Wilson's interval, F1 that of `f1_interval`."""
    counts = found.confusion
    hits, true, said = (each.tolist() for each in (np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)))
    return tuple(
        ClassScores(
            name,
            _share(hits[index], said[index]),
            _share(hits[index], true[index]),
            _f1(hits[index], true[index] + said[index]),
            true[index],
            said[index],
            *_areas(found, index),
        )
        for index, name in enumerate(found.class_names)
    )


def f1_interval(num_right: int, num_true: int, num_predicted: int) -> Interval:
    """The 95 % interval of an F1 score, from that of a share.

    Right ones among all pictures that show the class or are said to: J = right / (true + predicted - right). F1 is
    2 J / (1 + J), which rises with J, so the bounds of Wilson's interval of J become its bounds (the "indirect" method
    of Lam, Gopal & Qian 2023, https://arxiv.org/abs/2309.14621).
    """
    low, high = wilson(num_right, num_true + num_predicted - num_right)
    return Interval(2 * low / (1 + low), 2 * high / (1 + high))


def averages(found: Evaluation) -> tuple[Average, Average]:
    """The macro and the weighted average of precision, recall and F1, over all classes of the network."""
    counts = found.confusion
    hits, true, said = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    rows = np.array([hits / np.maximum(said, 1), hits / np.maximum(true, 1), 2 * hits / np.maximum(true + said, 1)])
    total = int(true.sum())
    macro, weighted = rows.mean(axis=1), (rows * true).sum(axis=1) / total
    precisions, recalls, f1s = (list(pair) for pair in np.stack([macro, weighted], axis=1).tolist())
    return (
        Average("macro", precisions[0], recalls[0], f1s[0], total),
        Average("weighted", precisions[1], recalls[1], f1s[1], total),
    )


def macro_intervals(found: Evaluation) -> tuple[Interval, Interval]:
    """95 % intervals of the balanced accuracy and of the macro F1: percentiles of 1,000 bootstrap draws, seeded.

    A draw takes as many pictures as there are, with replacement; all that matters of it is how often each cell of the
    confusion matrix comes up, which is a multinomial number.
    """
    counts = found.confusion
    rows, columns = np.nonzero(counts)
    cells = counts[rows, columns]
    draws = np.random.default_rng(_SEED).multinomial(int(cells.sum()), cells / cells.sum(), size=_DRAWS)
    true, said, hits = (np.zeros((_DRAWS, len(counts))) for _ in range(3))
    for cell, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        true[:, row] += draws[:, cell]
        said[:, column] += draws[:, cell]
        if row == column:
            hits[:, row] += draws[:, cell]
    shown = true > 0
    balanced = (hits / np.maximum(true, 1)).sum(axis=1) / shown.sum(axis=1)
    macro = (2 * hits / np.maximum(true + said, 1)).mean(axis=1)
    bounds = [Interval(*np.percentile(values, (2.5, 97.5)).tolist()) for values in (balanced, macro)]
    return bounds[0], bounds[1]


def most_confused(found: Evaluation, how_many: int = 15) -> tuple[ConfusedPair, ...]:
    """The pairs of classes with most mistakes between them, by number, then by share."""
    counts = found.confusion
    support = np.maximum(counts.sum(axis=1), 1)
    wrong = counts - np.diag(np.diag(counts))
    rows, columns = np.nonzero(wrong)
    pairs = [
        ConfusedPair(
            found.class_names[row],
            found.class_names[column],
            int(wrong[row, column]),
            wrong[row, column] / support[row],
        )
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    pairs.sort(key=lambda pair: (-pair.num_pictures, -pair.share))
    return tuple(pair._replace(share=float(pair.share)) for pair in pairs[:how_many])


def missing_classes(found: Evaluation) -> tuple[str, ...]:
    """Classes of the network that no picture shows: averages over all classes count them as nothing right."""
    shown = np.bincount(found.labels, minlength=len(found.class_names))
    return tuple(name for name, count in zip(found.class_names, shown.tolist(), strict=True) if count == 0)


def _share(part: int, whole: int) -> Share:
    return Share(part / whole, wilson(part, whole)) if whole else Share(math.nan, None)


def _f1(hits: int, both: int) -> Share:
    return Share(2 * hits / both, f1_interval(hits, both, 0)) if both else Share(math.nan, None)


def _areas(found: Evaluation, index: int) -> Areas:
    """Under the ROC and the precision-recall curve of a class against all others."""
    return areas(found.labels == index, found.probabilities[:, index])


def _known(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value
