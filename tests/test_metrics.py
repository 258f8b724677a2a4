"""Numbers about predictions, against numpy and the textbook."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import precision_recall_fscore_support

from saccade.metrics import Evaluation, Tally, wilson


def _evaluation(num_pictures: int = 200, num_classes: int = 4, seed: int = 0) -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_pictures)
    scores = rng.normal(size=(num_pictures, num_classes))
    scores[np.arange(num_pictures), labels] += 1
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    names = tuple(f"{number}.png" for number in range(num_pictures))
    return Evaluation("test", tuple("abcdefgh"[:num_classes]), labels, probabilities, names)


def _textbook_wilson(share: float, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (5, 10), (9, 10), (98, 100), (204, 240), (9_850, 10_000)])
def test_wilson_interval_is_the_textbooks(correct: int, n: int) -> None:
    low, high = _textbook_wilson(correct / n, n)
    assert wilson(correct, n) == pytest.approx((max(low, 0), min(high, 1)), abs=1e-9)


def test_accuracy_is_the_share_of_right_answers() -> None:
    found = _evaluation()
    assert found.accuracy == np.mean(found.probabilities.argmax(axis=1) == found.labels)


@pytest.mark.parametrize("num_classes", [2, 3, 6])
@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_top_k_is_the_share_with_the_truth_among_the_best(num_classes: int, k: int) -> None:
    found = _evaluation(num_classes=num_classes)
    ranks = (found.probabilities > found.probabilities[np.arange(200), found.labels][:, None]).sum(axis=1)
    assert found.top_k(k) == pytest.approx(np.mean(ranks < k))


def test_loss_is_the_mean_negative_log_probability() -> None:
    found = _evaluation()
    chosen = found.probabilities[np.arange(200), found.labels]
    assert found.loss == pytest.approx(-np.log(chosen).mean())


def test_confusion_counts_pairs_of_truth_and_prediction() -> None:
    found = _evaluation()
    expected: npt.NDArray[np.int64] = np.zeros((4, 4), dtype=np.int64)
    np.add.at(expected, (found.labels, found.probabilities.argmax(axis=1)), 1)
    np.testing.assert_array_equal(found.confusion, expected)


def test_report_values_are_scikit_learns() -> None:
    found = _evaluation()
    precision, recall, f1, support = precision_recall_fscore_support(found.labels, found.predicted)
    for index, name in enumerate(found.class_names):
        row = found.report_values[name]
        got = (row["precision"], row["recall"], row["f1-score"], row["support"])
        assert got == pytest.approx((precision[index], recall[index], f1[index], support[index]), abs=1e-9)


def test_class_that_never_appears_has_a_row_of_zeros_and_no_warning() -> None:
    found = _evaluation(num_classes=3)
    with_four = Evaluation(
        "test", ("a", "b", "c", "d"), found.labels, np.pad(found.probabilities, ((0, 0), (0, 1))), found.names
    )
    assert with_four.report_values["d"]["support"] == 0


def test_baseline_is_the_share_of_the_biggest_class() -> None:
    found = _evaluation()
    assert found.baseline == np.unique(found.labels, return_counts=True)[1].max() / 200


def test_empty_tally_is_not_a_number() -> None:
    assert math.isnan(Tally().accuracy)


def test_html_names_accuracy_and_interval() -> None:
    found = _evaluation()
    assert f"{found.accuracy:.1%}" in found._repr_html_()
