"""Class by class, against scikit-learn and against simulated classifiers whose true values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    classification_report,
    f1_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from saccade.evaluation.areas import area_interval, average_precision_interval
from saccade.evaluation.classwise import (
    averages,
    class_scores,
    f1_interval,
    macro_intervals,
    missing_classes,
    most_confused,
)
from saccade.evaluation.curves import MOST_POINTS, precision_recall_curves, roc_curves
from saccade.metrics import Evaluation, wilson


def random_evaluation(num_pictures: int = 300, num_classes: int = 5, seed: int = 0, shown: int = 0) -> Evaluation:
    """Of a network that is often right; labels are among the first `shown` classes only, where that is not 0."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, shown or num_classes, num_pictures)
    scores = rng.normal(size=(num_pictures, num_classes))
    scores[np.arange(num_pictures), labels] += 1.5
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    names = tuple(f"{number}.png" for number in range(num_pictures))
    return Evaluation("test", tuple("abcdefghij"[:num_classes]), labels, probabilities, names)


@pytest.mark.parametrize(("num_classes", "shown"), [(2, 0), (5, 0), (10, 0), (6, 4)])
def test_scores_and_averages_are_scikit_learns_to_the_ninth_digit(num_classes: int, shown: int) -> None:
    found = random_evaluation(num_classes=num_classes, shown=shown)
    names = list(found.class_names)
    expected = classification_report(
        found.labels,
        found.predicted,
        labels=range(num_classes),
        target_names=names,
        output_dict=True,
        zero_division=0.0,
    )
    for row in class_scores(found):
        values = [0 if math.isnan(share.value) else share.value for share in (row.precision, row.recall, row.f1)]
        theirs = expected[row.name]
        assert values == pytest.approx([theirs["precision"], theirs["recall"], theirs["f1-score"]], abs=1e-9)
        assert row.support == theirs["support"]
    for row, key in zip(averages(found), ("macro avg", "weighted avg"), strict=True):
        theirs = expected[key]
        ours = [row.precision, row.recall, row.f1, row.support]
        assert ours == pytest.approx(
            [theirs["precision"], theirs["recall"], theirs["f1-score"], theirs["support"]], abs=1e-9
        )


def test_balanced_accuracy_is_scikit_learns() -> None:
    found = random_evaluation()
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(found.labels, found.predicted), abs=1e-9)


def test_areas_are_scikit_learns() -> None:
    found = random_evaluation()
    for index, row in enumerate(class_scores(found)):
        shows, scores = found.labels == index, found.probabilities[:, index]
        assert row.roc_auc == pytest.approx(roc_auc_score(shows, scores), abs=1e-12)
        assert row.average_precision == pytest.approx(average_precision_score(shows, scores), abs=1e-12)
        assert row.roc_interval == area_interval(row.roc_auc, scores[shows], scores[~shows])
        assert row.to_json()["roc_auc_interval"] == list(row.roc_interval)
        assert row.precision_interval == average_precision_interval(
            row.average_precision, scores[shows], scores[~shows]
        )
        assert row.to_json()["average_precision_interval"] == list(row.precision_interval)


def test_class_without_pictures_has_no_recall_and_no_areas_and_is_named() -> None:
    found = random_evaluation(num_classes=4, shown=3)
    last = class_scores(found)[-1]
    assert math.isnan(last.recall.value)
    assert last.recall.interval is None
    assert math.isnan(last.roc_auc)
    assert last.to_json()["roc_auc"] is None
    assert last.to_json()["roc_auc_interval"] is None
    assert last.to_json()["average_precision_interval"] is None
    assert missing_classes(found) == ("d",)


def test_curves_have_scikit_learns_areas_and_lie_on_its_points() -> None:
    found = random_evaluation(num_pictures=4000, num_classes=3)
    for index, (roc, pr) in enumerate(zip(roc_curves(found), precision_recall_curves(found), strict=True)):
        shows, scores = found.labels == index, found.probabilities[:, index]
        assert roc.area == pytest.approx(roc_auc_score(shows, scores), abs=1e-9)
        assert pr.area == pytest.approx(average_precision_score(shows, scores), abs=1e-9)
        across, up, _ = roc_curve(shows, scores)
        assert set(zip(roc.across, roc.up, strict=True)) <= set(zip(across.tolist(), up.tolist(), strict=True))
        precision, recall, _ = precision_recall_curve(shows, scores)
        assert set(zip(pr.across, pr.up, strict=True)) <= set(zip(recall.tolist(), precision.tolist(), strict=True))
        for curve in (roc, pr):
            assert 100 < len(curve.across) <= MOST_POINTS
            assert (curve.across[0], curve.across[-1]) == (0, 1)
        # What is left out cannot be seen: the area of what is drawn is the same to a hundredth.
        assert np.trapezoid(roc.up, roc.across) == pytest.approx(roc.area, abs=0.01)


def test_most_confused_pairs_are_those_of_the_matrix() -> None:
    found = random_evaluation()
    counts = found.confusion
    pairs = most_confused(found, 100)
    assert sum(pair.num_pictures for pair in pairs) == counts.sum() - np.trace(counts)
    assert [pair.num_pictures for pair in pairs] == sorted((pair.num_pictures for pair in pairs), reverse=True)
    first = pairs[0]
    row, column = (found.class_names.index(name) for name in (first.true, first.predicted))
    assert first.num_pictures == counts[row, column]
    assert first.share == counts[row, column] / counts[row].sum()


@pytest.mark.parametrize(("accuracy", "num_pictures"), [(0.5, 240), (0.85, 240), (0.88, 1000), (0.97, 2000)])
def test_accuracy_interval_covers_the_truth_in_95_of_100_draws(accuracy: float, num_pictures: int) -> None:
    counts = np.random.default_rng(0).binomial(num_pictures, accuracy, 1000)
    bounds = {count: wilson(count, num_pictures) for count in np.unique(counts).tolist()}
    covered = np.mean([bounds[count].low <= accuracy <= bounds[count].high for count in counts.tolist()])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("cells", [(0.3, 0.1, 0.05), (0.12, 0.02, 0.02), (0.05, 0.05, 0.05)])
def test_f1_interval_covers_the_truth_in_95_of_100_draws(cells: tuple[float, float, float]) -> None:
    # The shares of pictures that are found, missed, and wrongly named; all others belong to other classes.
    found, missed, wrong = cells
    truth = 2 * found / (2 * found + missed + wrong)
    draws = np.random.default_rng(0).multinomial(800, [*cells, 1 - sum(cells)], 1000)
    covered = 0
    for hits, lost, extra, _ in draws.tolist():
        low, high = f1_interval(hits, hits + lost, hits + extra)
        covered += low <= truth <= high
    assert 930 <= covered <= 970


def test_f1_interval_is_about_that_of_a_bootstrap() -> None:
    hits, lost, extra, rest = 90, 20, 12, 278
    draws = np.random.default_rng(0).multinomial(400, np.array([hits, lost, extra, rest]) / 400, 20_000)
    values = 2 * draws[:, 0] / (2 * draws[:, 0] + draws[:, 1] + draws[:, 2])
    expected = np.percentile(values, (2.5, 97.5))
    assert f1_interval(hits, hits + lost, hits + extra) == pytest.approx(expected.tolist(), abs=0.01)


def test_macro_intervals_are_those_of_drawing_pictures_again() -> None:
    found = random_evaluation(num_pictures=400, num_classes=3)
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(500):
        again = rng.integers(0, 400, 400)
        labels, predicted = found.labels[again], found.predicted[again]
        recalls = [np.mean(predicted[labels == index] == index) for index in range(3)]
        f1s = f1_score(labels, predicted, average=None)
        drawn.append((np.mean(recalls), np.mean(f1s)))
    expected = np.percentile(drawn, (2.5, 97.5), axis=0)
    for index, interval in enumerate(macro_intervals(found)):
        assert list(interval) == pytest.approx(expected[:, index].tolist(), abs=0.01)


def test_macro_intervals_are_the_same_each_time() -> None:
    found = random_evaluation()
    assert macro_intervals(found) == macro_intervals(found)


def test_perfect_predictions_have_an_interval_that_is_no_point() -> None:
    low, high = f1_interval(30, 30, 30)
    assert high == 1
    assert 0.9 < low < 0.97
