"""How much of the heat lies at the border of pictures: a hint that a network may live on a shortcut, never a proof."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from saccade.use.heat import upsampled

# The ring is a tenth of the side wide on each side, so it is 36 % of the picture.
RING = 0.1
RING_AREA = 1 - (1 - 2 * RING) ** 2
# Shares are measured on this grid, of which the ring is a whole number of rows and columns.
_GRID = 100
# The heat at the border is called high when even the low end of the interval is this many times the ring's area.
_CLEARLY = 1.25
LEAST_PICTURES = 10
# A map of fewer places cannot tell the ring from what lies beside it.
_LEAST_PLACES = 4


class Border(NamedTuple):
    """The heat at the border in the test pictures of a class.

    Attributes:
        class_name: of the pictures.
        num_pictures: how many had any heat.
        share: mean share of the heat in the ring, 0..1; heat spread evenly gives `RING_AREA`, 0.36.
        low: of the interval of that mean.
        high: likewise.
        clear: whether the whole interval lies clearly above what even heat gives: the lower end above 1.25 × 0.36.
    """

    class_name: str
    num_pictures: int
    share: float
    low: float
    high: float
    clear: bool

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return self._asdict() | {"ring": RING, "ring_area": round(RING_AREA, 6)}

    def in_words(self) -> str:
        """The sentence of a warning."""
        return (
            f"{self.class_name}: {self.share:.0%} of the heat lies in the outer tenth of the picture on each side: "
            f"{RING_AREA:.0%} of its area ({self.num_pictures} test pictures, interval of the mean "
            f"{self.low:.0%} to {self.high:.0%}). The network may go by the background or by something at the edge "
            "instead of the thing itself; subjects that reach the edge give such heat too. Look at the pictures."
        )


def border_shares(heat: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The share of the heat in the ring, picture by picture.

    Args:
        heat: (N, h, w); what is negative does not count.

    Returns:
        (N,) in 0..1; nan where there is no heat.
    """
    width = round(RING * _GRID)
    whole = upsampled(torch.from_numpy(heat).double().clamp(min=0), _GRID)
    total = whole.sum(dim=(1, 2))
    inside = whole[:, width:-width, width:-width].sum(dim=(1, 2))
    shares = torch.where(total > 0, 1 - inside / total, torch.nan)
    return shares.numpy().astype(np.float64)


def judge_border(class_name: str, heat: npt.NDArray[np.float32], num_classes: int) -> Border | None:
    """What the border says about the pictures of one class; None where they are too few or their maps too coarse.

    Args:
        class_name: of the pictures.
        heat: (N, h, w) of them.
        num_classes: how many classes are judged beside each other: the interval is 95 % for all of them together.
    """
    shares = border_shares(heat)
    shares = shares[~np.isnan(shares)]
    if len(shares) < LEAST_PICTURES or heat.shape[1] < _LEAST_PLACES:
        return None
    mean = float(shares.mean())
    reach = float(stats.t.ppf(1 - 0.025 / num_classes, len(shares) - 1) * shares.std(ddof=1) / math.sqrt(len(shares)))
    low, high = max(0.0, mean - reach), min(1.0, mean + reach)
    return Border(class_name, len(shares), mean, low, high, low > _CLEARLY * RING_AREA)
