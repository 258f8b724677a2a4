"""Probabilities that mean something: one temperature for all logits, and when to say "not sure".

Guo et al. 2017 (https://arxiv.org/abs/1706.04599): of what can be fitted to a network's confidence the simplest, one
number that all logits are divided by, is about the best, and it cannot change which class is the most likely.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from saccade.metrics import Evaluation
from saccade.models.certainty import COLDEST, HOTTEST, UNCALIBRATED, Certainty, Step

FEWEST = 50  # pictures; with fewer the temperature would be noise
_NUM_STEPS = 20  # thresholds that are looked at: with all of them one would pass by luck more often
_NEAR_ENOUGH = 1e-7  # of the temperature's logarithm


def fit_temperature(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """The temperature with the lowest cross-entropy, from 0.05 to 20.

    The loss is convex in the inverse of the temperature, so in its logarithm it has one valley: Brent's method finds
    the bottom (https://docs.scipy.org/doc/scipy/reference/optimize.minimize_scalar-bounded.html).

    Args:
        logits: (N, K).
        labels: (N,) 0..K-1.
    """
    own = logits[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        return float((logsumexp(logits * scale, axis=1) - own * scale).mean())

    bounds = (math.log(COLDEST), math.log(HOTTEST))
    found = float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": _NEAR_ENOUGH}).x)
    # exp(log(20)) may be a digit above 20.
    return min(max(math.exp(found), COLDEST), HOTTEST) if loss(found) <= loss(0.0) else 1.0


def certainty_of(val: Evaluation, *, is_apart: bool, min_accuracy: float = 0.0) -> Certainty:
    """What the validation pictures say about a network's confidence.

    Args:
        val: with logits.
        is_apart: whether these pictures were not learned from.
        min_accuracy: that answers should have, 0..1; 0: every picture is answered.
    """
    if not is_apart or val.logits is None:
        return Certainty(remark="no pictures were set aside to fit a temperature on", min_accuracy=min_accuracy)
    temperature, remark = 1.0, _why_not(val)
    if not remark:
        temperature = fit_temperature(val.logits, val.labels)
    warmed = with_certainty(val, Certainty(temperature))
    return Certainty(temperature, remark, len(val.labels), coverage_steps(warmed), min_accuracy)


def _why_not(val: Evaluation) -> str:
    if len(val.labels) < FEWEST:
        return f"{len(val.labels):,} val pictures are too few to fit a temperature on: {FEWEST} are needed"
    if val.num_correct == len(val.labels):
        return f"all {len(val.labels):,} val pictures are right, so nothing says how sure is too sure"
    return ""


def with_certainty(found: Evaluation, certainty: Certainty) -> Evaluation:
    """The same predictions, with the probabilities of this temperature; the predicted classes stay.

    An evaluation without logits stays as it is.
    """
    if found.logits is None:
        return found
    probabilities = certainty.probabilities(torch.from_numpy(found.logits)).numpy()
    return replace(found, probabilities=probabilities, temperature=certainty.temperature)


def coverage_steps(found: Evaluation) -> tuple[Step, ...]:
    """How many pictures are answered, and how many of them rightly, at thresholds that answer 5 %, 10 %, ... 100 %."""
    confidence, right = found.confidence, found.predicted == found.labels
    order = np.sort(confidence)[::-1]
    ranks = np.unique(np.ceil(np.linspace(0, len(order), _NUM_STEPS + 1)[1:]).astype(int)) - 1
    steps = []
    for threshold in dict.fromkeys(order[ranks].tolist()):  # equals share a step
        answered = confidence >= threshold
        steps.append(Step(threshold, int(answered.sum()), int(right[answered].sum())))
    return tuple(steps)


def answered_at(found: Evaluation, threshold: float) -> Step:
    """What becomes of pictures when only those with this confidence are answered."""
    answered = found.confidence >= threshold
    return Step(threshold, int(answered.sum()), int((found.predicted == found.labels)[answered].sum()))


def calibration_in_words(test: Evaluation, certainty: Certainty) -> list[str]:
    """What the temperature did to the test pictures, and what became of them at the threshold: a line each."""
    if certainty.remark:
        lines = [f"probabilities are the network's own: {certainty.remark}"]
    else:
        before = with_certainty(test, UNCALIBRATED)
        lines = [
            f"calibrated: temperature {certainty.temperature:.3g}, fitted on {certainty.num_pictures:,} val pictures; "
            f"on the {test.part} pictures the calibration error (ECE) goes from {before.ece:.1%} to {test.ece:.1%}, "
            f"the Brier score from {before.brier:.3f} to {test.brier:.3f}"
        ]
    if certainty.min_accuracy:
        lines.append(certainty.in_words())
        _, answered, right = answered_at(test, certainty.threshold)
        share = f", {right / answered:.1%} of them rightly" if answered else ""
        lines.append(f"of {len(test.labels):,} {test.part} pictures {answered:,} are answered{share}")
    return lines
