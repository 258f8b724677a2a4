"""predictions.csv: what a network said about pictures whose class is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from saccade.data.cells import write_csv

if TYPE_CHECKING:
    from saccade.metrics import Evaluation

PREDICTIONS_HEADER = ("path", "split", "label", "predicted", "probability", "label_probability", "sure", "leaked")


def write_predictions(
    path: Path, evaluation: Evaluation, threshold: float = 0.0, leaked: npt.NDArray[np.bool_] | None = None
) -> None:
    """A CSV with a row per judged picture: truth, prediction, and the probability of both.

    Args:
        path: of the file.
        evaluation: N pictures.
        threshold: the confidence below which the answer is "not sure".
        leaked: (N,) which were learned from too; the column stays empty where that is not known.
    """
    copies = [""] * len(evaluation.labels) if leaked is None else [_yes(each) for each in leaked.tolist()]
    sure = (evaluation.confidence >= threshold).tolist()
    names, predicted = evaluation.class_names, evaluation.predicted
    rows = (
        (
            evaluation.names[i],
            evaluation.part,
            names[label],
            names[predicted[i]],
            f"{evaluation.probabilities[i, predicted[i]]:.6f}",
            f"{evaluation.probabilities[i, label]:.6f}",
            _yes(sure[i]),
            copies[i],
        )
        for i, label in enumerate(evaluation.labels.tolist())
    )
    write_csv(path, PREDICTIONS_HEADER, rows)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
