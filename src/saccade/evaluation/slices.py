"""Where a network is weaker: its accuracy on the small and the large, the blurred and the sharp pictures."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.metrics import Interval, wilson

_NUM_SLICES = 4
_FEWEST = 10  # pictures per slice; fewer say nothing


class Traits(NamedTuple):
    """What is known of the pictures besides their labels, each (N,).

    Attributes:
        sizes: the square root of width times height, in pixels.
        sharpness: how much of the contrast is fine detail; data/looks.py.
    """

    sizes: npt.NDArray[np.float64]
    sharpness: npt.NDArray[np.float64]


class Slice(NamedTuple):
    """Pictures that are alike in something: from `low` to `high`, both included.

    Attributes:
        num_pictures: at least one.
        accuracy: share of them that is right.
        interval: 95 %, Wilson.
    """

    low: float
    high: float
    num_pictures: int
    accuracy: float
    interval: Interval

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**self._asdict(), "interval": list(self.interval)}


def slices_by(values: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> tuple[Slice, ...]:
    """The pictures in up to four groups of about the same number, by a value; equal values share a group.

    Args:
        values: (N,).
        right: (N,) whether the prediction is.

    Returns:
        The groups in ascending order; one alone, where all are alike or too few, says nothing and is left out.
    """
    number = min(_NUM_SLICES, len(values) // _FEWEST)
    if number < 2:
        return ()
    inner = np.unique(np.quantile(values, np.linspace(0, 1, number + 1)[1:-1], method="inverted_cdf"))
    places = np.searchsorted(inner, values, side="left")
    found = [_slice(values[places == place], right[places == place]) for place in np.unique(places).tolist()]
    return tuple(found) if len(found) > 1 else ()


def _slice(values: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> Slice:
    num_correct, num_pictures = int(right.sum()), len(right)
    bounds = wilson(num_correct, num_pictures)
    return Slice(float(values.min()), float(values.max()), num_pictures, num_correct / num_pictures, bounds)
