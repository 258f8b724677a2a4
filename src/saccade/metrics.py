"""Numbers about predictions, as records: counts, accuracy, top-k, intervals, the classification report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import classification_report, confusion_matrix, log_loss, top_k_accuracy_score

NUM_BINS = 15  # of the expected calibration error


class Interval(NamedTuple):
    """Bounds of a 95 % confidence interval."""

    low: float
    high: float

    def __str__(self) -> str:
        """`0.665 to 0.856`."""
        return f"{self.low:.3f} to {self.high:.3f}"


def wilson(num_correct: int, num_pictures: int) -> Interval:
    """The 95 % Wilson interval of a share (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953)."""
    bounds = binomtest(num_correct, num_pictures).proportion_ci(confidence_level=0.95, method="wilson")
    return Interval(float(bounds.low), float(bounds.high))


class ConfidenceBin(NamedTuple):
    """Pictures of which the network was about equally sure: from above `low` to `high`.

    Attributes:
        num_pictures: in the bin, at least one.
        num_correct: of these.
        confidence: their mean.
    """

    low: float
    high: float
    num_pictures: int
    num_correct: int
    confidence: float

    @property
    def accuracy(self) -> float:
        """Share that is right."""
        return self.num_correct / self.num_pictures

    def to_json(self) -> dict[str, float]:
        """As plain values, with the accuracy."""
        return {**self._asdict(), "accuracy": self.accuracy}


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
        logits: float64 (N, K) that the probabilities were made of, where they are known.
        temperature: that the logits were divided by.
    """

    part: str
    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    names: tuple[str, ...]
    logits: npt.NDArray[np.float64] | None = None
    temperature: float = 1.0

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most likely class of each picture; of several the first."""
        # By the logits: two that differ in their last digit may have one and the same probability.
        scores = self.probabilities if self.logits is None else self.logits
        return np.asarray(scores.argmax(axis=1), dtype=np.int64)

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """The probability of the predicted class of each picture."""
        return np.asarray(self.probabilities.max(axis=1), dtype=np.float64)

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
    def brier(self) -> float:
        """Mean over the pictures of the squared distances to 0 and 1, summed over the classes: 0..2.

        Brier 1950, https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2. Of two classes it is twice what
        counts one of them only.
        """
        truth = np.eye(len(self.class_names))[self.labels]
        return float(((self.probabilities - truth) ** 2).sum(axis=1).mean())

    @property
    def ece(self) -> float:
        """Expected calibration error: how far confidence and accuracy are apart, the mean over 15 equal bins.

        Of the confidence in the predicted class, each bin counting by its pictures (Guo et al. 2017,
        https://arxiv.org/abs/1706.04599).
        """
        bins = self.confidence_bins()
        return sum(each.num_pictures * abs(each.accuracy - each.confidence) for each in bins) / len(self.labels)

    def confidence_bins(self) -> tuple[ConfidenceBin, ...]:
        """The reliability diagram: 15 bins of equal width, those without a picture left out."""
        confidence, right = self.confidence, self.predicted == self.labels
        edges = np.linspace(0, 1, NUM_BINS + 1)
        places = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
        found = []
        for place in np.unique(places).tolist():
            inside = places == place
            num_pictures, num_correct = int(inside.sum()), int(right[inside].sum())
            low, high, mean = float(edges[place]), float(edges[place + 1]), float(confidence[inside].mean())
            found.append(ConfidenceBin(low, high, num_pictures, num_correct, mean))
        return tuple(found)

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that these pictures show."""
        counts = self.confusion
        shown = counts.sum(axis=1) > 0
        return float((np.diag(counts)[shown] / counts.sum(axis=1)[shown]).mean())

    @property
    def baseline(self) -> float:
        """The accuracy of always saying the biggest class of these pictures."""
        return float(np.bincount(self.labels).max() / len(self.labels))

    def only(self, chosen: npt.NDArray[np.bool_], part: str) -> Evaluation:
        """The same about some of the pictures: `chosen` (N,), `part` what to call them."""
        names = tuple(name for name, keep in zip(self.names, chosen.tolist(), strict=True) if keep)
        logits = None if self.logits is None else self.logits[chosen]
        probabilities = self.probabilities[chosen]
        return replace(
            self, part=part, labels=self.labels[chosen], probabilities=probabilities, names=names, logits=logits
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
            "balanced_accuracy": self.balanced_accuracy,
            "ece": self.ece,
            "brier": self.brier,
            "temperature": self.temperature,
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
