"""How sure a network is: the temperature its logits are divided by, and the confidence below which it says so.

Both are found on the validation pictures (evaluation/calibrate.py) and travel with the weights. Neither ever changes
which class is the most likely one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from scipy.special import betaincinv
from torch import Tensor

from saccade.errors import UsageError

COLDEST, HOTTEST = 0.05, 20.0
_DOUBT = 0.05  # how often the bound on the accuracy may be wrong
_MOST_STEPS = 1000


class Step(NamedTuple):
    """What became of the validation pictures of which the network was at least so sure.

    Attributes:
        threshold: the confidence, 0..1.
        num_answered: pictures at or above it.
        num_correct: of these.
    """

    threshold: float
    num_answered: int
    num_correct: int


@dataclass(frozen=True)
class Certainty:
    """From logits to probabilities that mean something, and from these to an answer or none.

    Attributes:
        temperature: what logits are divided by before the softmax; 1 where none was fitted.
        remark: why none was fitted, or "".
        num_pictures: of the validation part.
        steps: the coverage curve of the validation part, the strictest threshold first; empty where there was none.
        min_accuracy: that answers should have, 0..1; 0: every picture is answered.
    """

    temperature: float = 1.0
    remark: str = "it was not calibrated"
    num_pictures: int = 0
    steps: tuple[Step, ...] = ()
    min_accuracy: float = 0.0

    @property
    def threshold(self) -> float:
        """The confidence below which the answer is "not sure": 0 answers everything, inf nothing.

        The lowest step at which the share of right answers is above `min_accuracy` with 95 % confidence: a one-sided
        bound (Clopper & Pearson 1934, https://doi.org/10.1093/biomet/26.4.404) on the validation pictures, no point
        estimate.
        """
        if self.min_accuracy == 0:
            return 0.0
        good = [step.threshold for step in self.steps if lower_bound(step) >= self.min_accuracy]
        return min(good, default=math.inf)

    def demanding(self, min_accuracy: float) -> Certainty:
        """The same for another accuracy.

        Raises:
            UsageError: it is no share, or nothing is known from which a threshold could follow.
        """
        if not 0 <= min_accuracy < 1:
            raise UsageError(f"an accuracy is a share from 0 to below 1, got {min_accuracy:g}", where="min_accuracy")
        if min_accuracy and not self.steps:
            raise UsageError(
                "it is not known how often these weights are right when they are how sure: no pictures were set aside",
                where="min_accuracy",
                remedy="train with saccade and with a val part (--val-share), and use the best weights",
            )
        return Certainty(self.temperature, self.remark, self.num_pictures, self.steps, min_accuracy)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (N, K) -> probabilities (N, K), float64."""
        return torch.softmax(logits.double() / self.temperature, dim=1)

    def in_words(self) -> str:
        """What `min_accuracy` comes to; "" where none was asked for."""
        if self.min_accuracy == 0:
            return ""
        if math.isinf(self.threshold):
            needed = math.ceil(math.log(_DOUBT) / math.log(self.min_accuracy))
            return (
                f"an accuracy of {self.min_accuracy:.1%} cannot be vouched for at any confidence: "
                f"{self.num_pictures:,} val pictures were looked at (with no mistake at all {needed:,} sure ones would "
                'do), so every answer is "not sure"; ask for less, or set more pictures aside'
            )
        return (
            f'below a confidence of {self.threshold:.1%} the answer is "not sure"; those above are right in at least '
            f"{self.min_accuracy:.1%} of cases (with 95 % confidence, from {self.num_pictures:,} val pictures, and for "
            "pictures like these: what was never shown is not recognised as such)"
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in the metadata of the weights; `threshold` is null where nothing would be answered."""
        return {
            "temperature": self.temperature,
            "remark": self.remark,
            "num_pictures": self.num_pictures,
            "steps": [list(step) for step in self.steps],
            "min_accuracy": self.min_accuracy,
            "threshold": None if math.isinf(self.threshold) else self.threshold,
        }

    @classmethod
    def from_json(cls, values: Any) -> Certainty:
        """Read again what `to_json` wrote; `threshold` follows from the rest.

        Raises:
            ValueError: a value is missing or cannot be.
        """
        try:
            steps = tuple(Step(float(share), int(answered), int(right)) for share, answered, right in values["steps"])
            found = cls(
                float(values["temperature"]),
                str(values["remark"]),
                int(values["num_pictures"]),
                steps,
                float(values["min_accuracy"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"its certainty lacks or garbles {error}") from None
        right = all(0 <= step.num_correct <= step.num_answered and 0 <= step.threshold <= 1 for step in steps)
        if not (COLDEST <= found.temperature <= HOTTEST and 0 <= found.min_accuracy < 1 and right):
            raise ValueError(f"its certainty is out of range: temperature {found.temperature}")
        if len(steps) > _MOST_STEPS:
            raise ValueError(f"its certainty has {len(steps):,} steps")
        return found


UNCALIBRATED = Certainty()


def lower_bound(step: Step) -> float:
    """The lowest share of right answers that would not be surprised by what was seen, at one-sided 95 %."""
    if step.num_correct == 0:
        return 0.0
    return float(betaincinv(step.num_correct, step.num_answered - step.num_correct + 1, _DOUBT))
