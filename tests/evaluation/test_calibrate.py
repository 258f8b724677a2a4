"""Calibration: the temperature is the best one, changes no class, and helps on pictures it was not fitted on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.optimize import minimize
from scipy.stats import binom
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from saccade.api import Classifier, Run, load
from saccade.errors import RunError, UsageError
from saccade.evaluation.calibrate import FEWEST, certainty_of, coverage_steps, fit_temperature, with_certainty
from saccade.metrics import Evaluation
from saccade.models.certainty import Certainty, Step, lower_bound
from saccade.runs import RunFolder


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def simulated(num_pictures: int, num_classes: int, temperature: float, seed: int = 0) -> Evaluation:
    """A network whose probabilities are right once its logits are divided by `temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(num_pictures, num_classes))
    right = softmax(logits)
    labels = (right.cumsum(axis=1) < rng.random((num_pictures, 1))).sum(axis=1).clip(0, num_classes - 1)
    logits *= temperature
    names = tuple(map(str, range(num_pictures)))
    return Evaluation("val", tuple("abcdefghij"[:num_classes]), labels, softmax(logits), names, logits)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("num_classes", [2, 7])
def test_temperature_that_was_put_in_is_found_again(temperature: float, num_classes: int) -> None:
    found = simulated(20_000, num_classes, temperature)
    assert fit_temperature(found.logits, found.labels) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_temperature_is_the_minimum_that_lbfgs_finds(seed: int) -> None:
    found = simulated(200, 5, 1.0 + seed, seed)

    def loss(log_temperature: np.ndarray) -> float:
        return log_loss(found.labels, softmax(found.logits / math.exp(log_temperature[0])), labels=range(5))

    best = minimize(loss, [0.0], method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
    assert fit_temperature(found.logits, found.labels) == pytest.approx(math.exp(best.x[0]), rel=1e-4)


def test_temperature_of_a_sigmoid_unit_is_that_of_its_value() -> None:
    # Logits (0, z), as heads.SigmoidUnit gives them: their softmax is sigmoid(z).
    rng = np.random.default_rng(0)
    z = rng.normal(scale=2, size=20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-z))).astype(np.int64)
    logits = np.stack([np.zeros_like(z), 3 * z], axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("labels", [[0, 1] * 100, [1, 0] * 100])
def test_temperature_stays_within_its_bounds(labels: list[int]) -> None:
    logits = np.array([[9.0, 0.0], [0.0, 9.0]] * 100)
    assert 0.05 <= fit_temperature(logits, np.array(labels)) <= 20


@pytest.mark.parametrize("temperature", [0.05, 0.3, 1.7, 20.0])
def test_temperature_never_changes_the_predicted_class(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3000, 4)).astype(np.float32).astype(np.float64)
    logits[:1000] = rng.integers(0, 2, (1000, 4))  # ties
    logits[1000:2000] *= 1e-17  # too near to each other for their probabilities to differ
    found = Evaluation("test", tuple("abcd"), np.zeros(3000, np.int64), softmax(logits), ("",) * 3000, logits)
    warmed = with_certainty(found, Certainty(temperature))
    np.testing.assert_array_equal(warmed.predicted, logits.argmax(axis=1))
    np.testing.assert_array_equal(warmed.predicted, found.predicted)
    np.testing.assert_allclose(warmed.probabilities, softmax(logits / temperature), atol=1e-12)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 7.0, 20.0])
def test_predict_names_the_same_classes_at_every_temperature(finished: RunFolder, temperature: float) -> None:
    trained = finished.load()
    with torch.no_grad():
        for layer in trained.network.head.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.zero_()  # all pictures are alike, and two classes exactly as likely
                layer.bias.copy_(torch.tensor([1.0, 1.0, 0.5])) if layer.out_features == 3 else None
    classifier = Classifier(trained._replace(certainty=Certainty(temperature)), "cpu")
    guesses = classifier.predict(np.zeros((20, 24, 3), np.uint8))[0].guesses
    assert [guess.class_name for guess in guesses] == ["blue", "green", "red"]
    assert guesses[0].probability == guesses[1].probability


def test_ece_is_that_of_a_loop_over_pictures() -> None:
    found = simulated(500, 5, 3.0)
    sums: dict[int, list[float]] = {}
    for row, label in zip(found.probabilities.tolist(), found.labels.tolist(), strict=True):
        confidence = max(row)
        place = next(index for index in range(15) if confidence <= (index + 1) / 15)
        sums.setdefault(place, [0, 0])[0] += confidence - (row.index(confidence) == label)
    assert found.ece == pytest.approx(sum(abs(gap) for gap, _ in sums.values()) / 500, abs=1e-12)


def test_bins_are_those_of_scikit_learns_calibration_curve() -> None:
    found = simulated(500, 5, 2.0)
    right = found.predicted == found.labels
    shares, means = calibration_curve(right, found.confidence, n_bins=15)
    bins = found.confidence_bins()
    np.testing.assert_allclose([each.accuracy for each in bins], shares, atol=1e-12)
    np.testing.assert_allclose([each.confidence for each in bins], means, atol=1e-12)


@pytest.mark.parametrize("num_classes", [2, 6])
def test_brier_is_scikit_learns_over_all_classes(num_classes: int) -> None:
    found = simulated(300, num_classes, 2.0)
    truth = np.eye(num_classes)[found.labels]
    by_class = [brier_score_loss(truth[:, index], found.probabilities[:, index]) for index in range(num_classes)]
    assert found.brier == pytest.approx(sum(by_class), abs=1e-12)


def test_too_few_val_pictures_fit_no_temperature_and_say_so() -> None:
    certainty = certainty_of(simulated(FEWEST - 1, 3, 3.0), is_apart=True)
    assert certainty.temperature == 1
    assert "49 val pictures are too few" in certainty.remark


def test_val_pictures_that_are_all_right_fit_no_temperature_and_say_so() -> None:
    found = simulated(100, 3, 1.0)
    certainty = certainty_of(replace(found, labels=found.predicted), is_apart=True)
    assert (certainty.temperature, certainty.remark[:22]) == (1, "all 100 val pictures a")


def test_pictures_that_were_learned_from_fit_no_temperature() -> None:
    certainty = certainty_of(simulated(100, 3, 1.0), is_apart=False)
    assert (certainty.temperature, certainty.steps) == (1, ())


def test_steps_count_what_is_answered_at_their_thresholds() -> None:
    found = simulated(333, 4, 1.0)
    steps = coverage_steps(found)
    assert len(steps) == 20
    for threshold, answered, correct in steps:
        above = found.probabilities.max(axis=1) >= threshold
        assert (answered, correct) == (above.sum(), (found.probabilities.argmax(axis=1) == found.labels)[above].sum())
    assert steps[-1].num_answered == 333


def test_equal_confidences_share_a_step() -> None:
    logits = np.zeros((40, 2))
    found = Evaluation("val", ("a", "b"), np.zeros(40, np.int64), softmax(logits), ("",) * 40, logits)
    assert coverage_steps(found) == (Step(0.5, 40, 40),)


@pytest.mark.parametrize(("right", "n"), [(52, 60), (95, 100), (59, 59), (1, 20)])
def test_lower_bound_is_where_so_many_right_ones_would_be_a_surprise(right: int, n: int) -> None:
    # By its definition: with this share as the truth, as many right ones or more come up in 5 % of cases.
    assert binom.sf(right - 1, n, lower_bound(Step(0.5, n, right))) == pytest.approx(0.05, abs=1e-9)


def test_accuracy_that_was_asked_for_is_missed_in_at_most_a_twentieth_of_draws() -> None:
    truth = simulated(200_000, 4, 1.0, seed=9)
    order = np.sort(truth.confidence)
    share = (truth.predicted == truth.labels)[np.argsort(truth.confidence)][::-1].cumsum()[::-1]
    missed = answered = 0
    for seed in range(300):
        val = simulated(800, 4, 1.0, seed=100 + seed)
        certainty = Certainty(1.0, "", 800, coverage_steps(val), 0.85)
        place = np.searchsorted(order, certainty.threshold)
        if place < len(order):
            answered += 1
            missed += share[place] / (len(order) - place) < 0.85
    assert answered > 290
    assert missed <= 15  # measured: 5 of 300


def test_accuracy_that_cannot_be_vouched_for_answers_nothing_and_says_so() -> None:
    certainty = certainty_of(simulated(60, 3, 1.0), is_apart=True, min_accuracy=0.999)
    assert math.isinf(certainty.threshold)
    assert "2,995 sure ones" in certainty.in_words()
    assert certainty.to_json()["threshold"] is None


def test_without_val_pictures_no_accuracy_can_be_asked_for() -> None:
    with pytest.raises(UsageError, match="no pictures were set aside"):
        Certainty().demanding(0.9)
    assert Certainty().demanding(0).threshold == 0


def test_certainty_comes_back_from_json() -> None:
    certainty = certainty_of(simulated(100, 3, 2.0), is_apart=True, min_accuracy=0.8)
    assert Certainty.from_json(certainty.to_json()) == certainty


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0}, {"temperature": math.nan}, {"min_accuracy": 2}, {"steps": [[0.5, 1, 2]]}, {"steps": 3}],
)
def test_certainty_of_a_stranger_is_checked(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="certainty"):
        Certainty.from_json(Certainty(1.5, "", 9, (Step(0.5, 3, 2),), 0.5).to_json() | change)


def test_temperature_lowers_the_error_on_pictures_it_was_not_fitted_on(overconfident: RunFolder) -> None:
    found = Run(overconfident).evaluate(device="cpu")
    before = found.uncalibrated
    assert found.temperature > 2  # measured: 4.1
    assert before.ece > 0.15  # measured: 23.2 %, then 5.9 %
    assert found.ece < before.ece / 2
    assert found.brier < before.brier
    assert found.loss < before.loss
    np.testing.assert_array_equal(found.predicted, before.predicted)


def test_temperature_of_a_run_is_that_of_its_val_pictures(overconfident: RunFolder) -> None:
    metrics = overconfident.metrics
    assert metrics["val"]["temperature"] == metrics["test"]["temperature"]
    assert overconfident.load().certainty.temperature == metrics["test"]["temperature"]
    assert metrics["test"]["uncalibrated"]["ece"] > metrics["test"]["ece"]


def test_predict_evaluate_and_the_run_folder_give_the_same_probabilities(overconfident: RunFolder) -> None:
    written = overconfident.predictions[:30]
    source = overconfident.data_report["source"]
    guessed = load(overconfident.path, device="cpu").predict([f"{source}/{row['path']}" for row in written], top=1)
    judged = Run(overconfident).evaluate(device="cpu")
    for row, guess, share in zip(written, guessed, judged.confidence[:30].tolist(), strict=True):
        assert guess.class_name == row["predicted"]
        assert guess.probability == pytest.approx(float(row["probability"]), abs=1e-5)
        assert guess.probability == pytest.approx(share, abs=1e-5)
        assert guess.sure == (row["sure"] == "yes")


def test_answers_of_a_run_are_as_right_as_was_asked(overconfident: RunFolder) -> None:
    found = Run(overconfident).evaluate(device="cpu")
    threshold, answered, correct = found.answered
    assert 0 < threshold < 1
    assert 0 < answered < len(found.labels)
    assert correct / answered > 0.75 > found.accuracy
    stricter = Run(overconfident).evaluate(min_accuracy=0.8, device="cpu").answered
    assert stricter.threshold > threshold


def test_weights_from_before_calibration_answer_as_they_did(finished: RunFolder, tmp_path: Path) -> None:
    # As an older version wrote them: without the entry.
    old = RunFolder(tmp_path)
    (tmp_path / "weights").mkdir()
    with safe_open(finished.best_path, "pt") as file:
        card = json.loads(file.metadata()["saccade"])
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    del card["extra"]["certainty"]
    save_file(tensors, old.best_path, metadata={"saccade": json.dumps(card)})
    assert old.load().certainty == Certainty()
    card["extra"]["certainty"] = {"temperature": "hot"}
    save_file(tensors, old.best_path, metadata={"saccade": json.dumps(card)})
    with pytest.raises(RunError, match="certainty"):
        old.load()
