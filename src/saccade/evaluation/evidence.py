"""All that an evaluation says beyond its accuracy, put together: by class, by confidence, by kind of picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from saccade.data.pack import Pack
from saccade.data.packing import Work
from saccade.evaluation.calibrate import answered_at, coverage_steps, with_certainty
from saccade.evaluation.classwise import (
    Average,
    ClassScores,
    ConfusedPair,
    Share,
    averages,
    class_scores,
    macro_intervals,
    missing_classes,
    most_confused,
)
from saccade.evaluation.curves import precision_recall_curves, roc_curves
from saccade.evaluation.evaluate import evaluate, known_leaks, reopen_pictures
from saccade.evaluation.notebook import html_table
from saccade.evaluation.slices import Slice, Traits, slices_by
from saccade.metrics import Evaluation
from saccade.models.certainty import UNCALIBRATED, Certainty, Step
from saccade.recipe import Looks
from saccade.runs import RunFolder

_MOST_CLASSES = 30  # in a notebook


@dataclass(frozen=True)
class Evidence(Evaluation):
    """An evaluation with what is known beside it.

    Attributes:
        certainty: what the probabilities were made with, and when the answer is "not sure".
        traits: sizes and sharpness of the pictures, where they are known.
        leaked: (N,) which pictures were learned from too, as far as is known.
    """

    certainty: Certainty = UNCALIBRATED
    traits: Traits | None = None
    leaked: npt.NDArray[np.bool_] | None = None

    @property
    def plain(self) -> Evaluation:
        """The predictions alone."""
        return Evaluation(
            self.part, self.class_names, self.labels, self.probabilities, self.names, self.logits, self.temperature
        )

    def only(self, chosen: npt.NDArray[np.bool_], part: str) -> Evaluation:
        """The same about some of the pictures: `chosen` (N,), `part` what to call them."""
        return self.plain.only(chosen, part)

    @cached_property
    def classes(self) -> tuple[ClassScores, ...]:
        """Precision, recall, F1, support and areas of every class."""
        return class_scores(self)

    @property
    def averages(self) -> tuple[Average, Average]:
        """Macro and weighted."""
        return averages(self)

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes of the network that no picture shows."""
        return missing_classes(self)

    @property
    def confused(self) -> tuple[ConfusedPair, ...]:
        """The pairs of classes with most mistakes between them."""
        return most_confused(self)

    @property
    def by_size(self) -> tuple[Slice, ...]:
        """Accuracy by the square root of width times height, in pixels; empty where they are all alike."""
        return slices_by(self.traits.sizes, self._right) if self.traits else ()

    @property
    def by_sharpness(self) -> tuple[Slice, ...]:
        """Accuracy by the share of fine detail in the contrast."""
        return slices_by(self.traits.sharpness, self._right) if self.traits else ()

    @property
    def coverage(self) -> tuple[Step, ...]:
        """How many pictures are answered, and rightly, at falling thresholds of the confidence."""
        return coverage_steps(self)

    @property
    def answered(self) -> Step:
        """What becomes of the pictures at the threshold of the run."""
        return answered_at(self, self.certainty.threshold)

    @property
    def uncalibrated(self) -> Evaluation:
        """The same at temperature 1."""
        return with_certainty(self.plain, UNCALIBRATED)

    @property
    def without_leaks(self) -> Evaluation | None:
        """Without the pictures that were learned from too; None where there are none, or nothing else."""
        if self.leaked is None or not self.leaked.any() or self.leaked.all():
            return None
        return self.only(~self.leaked, f"{self.part}_without_leaks")

    def _repr_html_(self) -> str:
        shown = self.classes[:_MOST_CLASSES]
        rows = [
            (each.name, *(_in_percent(share) for share in (each.precision, each.recall, each.f1)), f"{each.support:,}")
            for each in shown
        ]
        left = len(self.class_names) - len(shown)
        more = f"<p>and {left:,} more classes: <code>.classes</code></p>" if left else ""
        header = ("class", "precision", "recall", "F1", "pictures")
        return f"<p>{super()._repr_html_()}</p>{html_table(header, rows)}{more}"

    @property
    def _right(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.predicted == self.labels)

    def to_json(self) -> dict[str, Any]:
        """As it stands in metrics.json."""
        balanced, macro = macro_intervals(self)
        before, threshold = self.uncalibrated, self.certainty.threshold
        return {
            **super().to_json(),
            "balanced_accuracy_interval": list(balanced),
            "macro_f1_interval": list(macro),
            "classes": [each.to_json() for each in self.classes],
            "averages": [each.to_json() for each in self.averages],
            "missing_classes": list(self.missing),
            "most_confused": [each.to_json() for each in self.confused],
            "reliability": [each.to_json() for each in self.confidence_bins()],
            "uncalibrated": {
                "loss": before.loss,
                "ece": before.ece,
                "brier": before.brier,
                "reliability": [each.to_json() for each in before.confidence_bins()],
            },
            "coverage": [list(step) for step in self.coverage],
            "not_sure": {
                "min_accuracy": self.certainty.min_accuracy,
                "threshold": None if math.isinf(threshold) else threshold,
                "num_answered": self.answered.num_answered,
                "num_correct": self.answered.num_correct,
            },
            "by_size": [each.to_json() for each in self.by_size],
            "by_sharpness": [each.to_json() for each in self.by_sharpness],
        }

    def curves_to_json(self, most: int | None = None) -> dict[str, Any]:
        """ROC and precision-recall curves: too much for metrics.json.

        Args:
            most: so many of each kind, those with the smallest areas; None: all.
        """
        smallest = None if most is None else self._smallest("roc_auc", most)
        least_precise = None if most is None else self._smallest("average_precision", most)
        return {
            "roc": [curve.to_json() for curve in roc_curves(self, smallest)],
            "precision_recall": [curve.to_json() for curve in precision_recall_curves(self, least_precise)],
        }

    def _smallest(self, area: str, most: int) -> frozenset[str]:
        known = [each for each in self.classes if not math.isnan(getattr(each, area))]
        return frozenset(each.name for each in sorted(known, key=lambda each: float(getattr(each, area)))[:most])


def _in_percent(share: Share) -> str:
    """`92.1% (88.0 to 95.1)`"""
    if share.interval is None:
        return "-"
    low, high = share.interval
    return f"{share.value:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def gather_evidence(
    found: Evaluation,
    certainty: Certainty,
    shown: tuple[Pack, npt.NDArray[np.int64]],
    leaked: npt.NDArray[np.bool_] | None = None,
) -> Evidence:
    """An evaluation with what is known beside it.

    Args:
        found: about the pictures of `shown`.
        certainty: of the network.
        shown: a pack and the rows of it that were judged, in their order.
        leaked: (N,) which of them were learned from too.
    """
    pack, rows = shown
    looks = pack.looks[rows]
    sizes = np.sqrt(looks["width"].astype(np.float64) * looks["height"].astype(np.float64))
    traits = Traits(sizes, looks["sharpness"].astype(np.float64))
    parts = (found.part, found.class_names, found.labels, found.probabilities, found.names)
    return Evidence(*parts, found.logits, found.temperature, certainty, traits, leaked)


class Way(NamedTuple):
    """How a run is judged.

    Attributes:
        min_accuracy: that answers should have; None as the run was trained with.
        looks: how often at each picture; none: once.
    """

    min_accuracy: float | None = None
    looks: Looks = "none"


AS_TRAINED = Way()


def judge_run(
    run: RunFolder, pictures: str | Path | None, device: torch.device, work: Work, way: Way = AS_TRAINED
) -> Evidence:
    """What the best weights of a run say about its own test pictures, or about others.

    Args:
        run: finished.
        pictures: in any form, with labels; None for the run's own.
        device: to compute on.
        work: how to decode.
        way: what else was asked for.

    Raises:
        DataError: the run's own pictures are no longer where they were.
        LabelError: the pictures show a class that the network does not know.
        UsageError: an accuracy is asked for, and nothing is known from which a threshold could follow.
    """
    trained = run.load()
    trained.network.to(device)
    certainty = trained.certainty if way.min_accuracy is None else trained.certainty.demanding(way.min_accuracy)
    chosen = reopen_pictures(run, trained, pictures, work)
    leaked = known_leaks(run, chosen) if pictures is None else None
    found = evaluate(trained, chosen, device, way.looks)
    return gather_evidence(found, certainty, (chosen.pack, chosen.rows), leaked)
