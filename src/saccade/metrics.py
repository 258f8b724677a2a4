"""Numbers about predictions, as records: counts, accuracy, top-k, intervals, the classification report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import classification_report, confusion_matrix, log_loss, top_k_accuracy_score


class Interval(NamedTuple):
    """Bounds of a 95 % confidence interval."""

    low: float
    high: float


def wilson(num_correct: int, num_pictures: int) -> Interval:
    """The 95 % Wilson interval of a share (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953)."""
    bounds = binomtest(num_correct, num_pictures).proportion_ci(confidence_level=0.95, method="wilson")
    return Interval(float(bounds.low), float(bounds.high))


@dataclass
class Tally:
    """Running sums over the pictures of an epoch."""

    num_correct: int = 0
    num_pictures: int = 0
    loss_sum: float = 0.0

    @property
    def accuracy(self) -> float:
        """Share of the pictures that were right; nan before the first."""
        return self.num_correct / self.num_pictures if self.num_pictures else float("nan")

    @property
    def loss(self) -> float:
        """Mean loss per picture; nan before the first."""
        return self.loss_sum / self.num_pictures if self.num_pictures else float("nan")


@dataclass(frozen=True)
class Evaluation:
    """What a network's predictions on labelled pictures are worth.

    Attributes:
        part: which pictures: train, val, test, or all.
        class_names: K names.
        labels: int64 (N,), the truth.
        probabilities: float (N, K), rows sum to 1.
        names: the N pictures.
    """

    part: str
    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    names: tuple[str, ...]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most likely class of each picture."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def num_correct(self) -> int:
        """Pictures whose most likely class is the true one."""
        return int((self.predicted == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """Share of the pictures that are right, 0..1."""
        return self.num_correct / len(self.labels)

    @property
    def interval(self) -> Interval:
        """95 % interval of the accuracy, over which pictures happened to be in the part."""
        return wilson(self.num_correct, len(self.labels))

    @property
    def loss(self) -> float:
        """Mean cross-entropy, in nats."""
        return float(log_loss(self.labels, self.probabilities, labels=self._indices))

    @property
    def baseline(self) -> float:
        """The accuracy of always saying the biggest class of these pictures."""
        return float(np.bincount(self.labels).max() / len(self.labels))

    def only(self, chosen: npt.NDArray[np.bool_], part: str) -> Evaluation:
        """The same about some of the pictures: `chosen` (N,), `part` what to call them."""
        names = tuple(name for name, keep in zip(self.names, chosen.tolist(), strict=True) if keep)
        return replace(
            self, part=part, labels=self.labels[chosen], probabilities=self.probabilities[chosen], names=names
        )

    def top_k(self, k: int) -> float:
        """Share of the pictures whose true class is among the k most likely."""
        if k >= len(self.class_names):
            return 1.0
        scores = self.probabilities[:, 1] if len(self.class_names) == 2 else self.probabilities
        return float(top_k_accuracy_score(self.labels, scores, k=k, labels=self._indices))

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Counts (K, K): row the true class, column the predicted one."""
        return np.asarray(confusion_matrix(self.labels, self.predicted, labels=self._indices), dtype=np.int64)

    @property
    def report(self) -> str:
        """Precision, recall, F1 and support per class with macro and weighted averages, as scikit-learn prints it."""
        return str(self._report(as_dict=False))

    @property
    def report_values(self) -> dict[str, Any]:
        """The same as numbers."""
        return dict(self._report(as_dict=True))

    def to_json(self) -> dict[str, Any]:
        """As it stands in metrics.json."""
        return {
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "num_pictures": len(self.labels),
            "num_correct": self.num_correct,
            "loss": self.loss,
            "top_3": self.top_k(3),
            "top_5": self.top_k(5),
            "baseline": self.baseline,
            "confusion": self.confusion.tolist(),
            "report": self.report_values,
        }

    def _repr_html_(self) -> str:
        low, high = self.interval
        return (
            f"<b>{self.accuracy:.1%}</b> of {len(self.labels):,} {self.part} pictures right "
            f"(95 % interval {low:.1%} to {high:.1%})"
        )

    def _report(self, *, as_dict: bool) -> Any:
        return classification_report(
            self.labels,
            self.predicted,
            labels=self._indices,
            target_names=list(self.class_names),
            digits=4,
            zero_division=0.0,
            output_dict=as_dict,
        )

    @property
    def _indices(self) -> npt.NDArray[np.int64]:
        return np.arange(len(self.class_names))
