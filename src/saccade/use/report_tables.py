"""What metrics.json and results.csv say, arranged for the page: classes, confusions, epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.evaluation.classwise import Share, f1_interval
from saccade.metrics import wilson
from saccade.recipe import Metric
from saccade.use.figures import best_epoch, curve, themed_svg
from saccade.use.report_figures import rate_curve

_MOST_PAIRS = 15
_MOST_EPOCHS = 100  # rows of the table of epochs
WIDEST_MATRIX = 30  # classes; above, the matrix is mostly zeros and no longer readable


class ClassRow(NamedTuple):
    """A class of the test pictures: shares 0..1 with their intervals, and how many pictures show it."""

    name: str
    precision: Share
    recall: Share
    f1: Share
    support: int


class Pair(NamedTuple):
    """Pictures of one class that were taken for another; `share` is of all pictures of the true class."""

    true: str
    predicted: str
    num_pictures: int
    share: float


class Judged(NamedTuple):
    """What metrics.json says about the test pictures, arranged for the page; `matrix` is None above 30 classes."""

    values: Mapping[str, Any]
    biggest_class: str
    classes: tuple[ClassRow, ...]
    averages: tuple[ClassRow, ...]
    matrix: tuple[tuple[str, tuple[Pair, ...]], ...] | None
    pairs: tuple[Pair, ...]


class Learning(NamedTuple):
    """The epochs: figures as SVG, and the rows of the table (all, or every n-th, the best and the last).

    A head that was solved stands in the rows as epoch 0 and is not counted.
    """

    best: int
    num_epochs: int
    all_shown: bool
    figures: tuple[str, ...]
    rows: tuple[Mapping[str, float], ...]


def judge(test: Mapping[str, Any], class_names: Sequence[str]) -> Judged:
    """The test pictures, from their confusion matrix.

    Args:
        test: the entry of metrics.json.
        class_names: K names.
    """
    counts = np.array(test["confusion"], dtype=np.int64)
    rows = tuple(
        (true, tuple(_pairs(true, class_names, row))) for true, row in zip(class_names, counts.tolist(), strict=True)
    )
    confused = [pair for true, row in rows for pair in row if pair.num_pictures and pair.predicted != true]
    return Judged(
        values=test,
        biggest_class=class_names[int(counts.sum(axis=1).argmax())],
        classes=tuple(_class_rows(counts, class_names)),
        averages=tuple(_average(kind, test) for kind in ("macro", "weighted")),
        matrix=rows if len(class_names) <= WIDEST_MATRIX else None,
        pairs=tuple(sorted(confused, key=lambda pair: (-pair.num_pictures, -pair.share))[:_MOST_PAIRS]),
    )


def learn(results: Sequence[Mapping[str, float]], by: Metric | None, *, is_watched: bool) -> Learning | None:
    """The epochs; None before the first.

    Args:
        results: a record per epoch, as in results.csv.
        by: what the best weights were chosen by; None: accuracy.
        is_watched: whether pictures were set aside to choose by; without them the last weights are kept.
    """
    if not results:
        return None
    best = best_epoch(results, by) if is_watched else int(results[-1]["epoch"])
    every = -(-len(results) // _MOST_EPOCHS)
    kept = {best, results[-1]["epoch"]}
    rows = tuple(row for index, row in enumerate(results) if index % every == 0 or row["epoch"] in kept)
    num_epochs, all_shown = sum(row["epoch"] > 0 for row in results), len(rows) == len(results)
    if num_epochs == 0:
        return Learning(best, num_epochs, all_shown, (), rows)
    loss = themed_svg(curve(results, "loss", best), "Loss over the epochs, in training and validation")
    accuracy = themed_svg(curve(results, "accuracy", best), "Accuracy over the epochs, in training and validation")
    rate = themed_svg(rate_curve(results), "Learning rate at the end of each epoch")
    return Learning(best, num_epochs, all_shown, (loss, accuracy, rate), rows)


def _pairs(true: str, class_names: Sequence[str], row: Sequence[int]) -> Iterator[Pair]:
    total = max(sum(row), 1)
    for predicted, num_pictures in zip(class_names, row, strict=True):
        yield Pair(true, predicted, num_pictures, num_pictures / total)


def _class_rows(counts: npt.NDArray[np.int64], class_names: Sequence[str]) -> Iterator[ClassRow]:
    """From the counts, not from the report of metrics.json: there a class called `accuracy` would be overwritten."""
    right, true, predicted = (each.tolist() for each in (np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)))
    for index, name in enumerate(class_names):
        hits, num_true, num_said = right[index], true[index], predicted[index]
        both = num_true + num_said
        f1 = Share(2 * hits / max(both, 1), f1_interval(hits, num_true, num_said) if both else None)
        yield ClassRow(name, _share(hits, num_said), _share(hits, num_true), f1, num_true)


def _share(part: int, whole: int) -> Share:
    return Share(part / max(whole, 1), wilson(part, whole) if whole else None)


def _average(kind: str, test: Mapping[str, Any]) -> ClassRow:
    row = test["report"][f"{kind} avg"]
    known = test.get("macro_f1_interval") if kind == "macro" else None
    precision, recall, f1 = (Share(row[key], None) for key in ("precision", "recall", "f1-score"))
    return ClassRow(f"{kind} avg", precision, recall, f1._replace(interval=known), int(row["support"]))
