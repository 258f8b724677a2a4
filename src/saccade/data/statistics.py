"""Mean and deviation of pixels, by which a network that begins from random weights scales what it is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from saccade.data.streamed import Streamed

_MOST_PICTURES = 10_000  # enough for three digits
_AT_ONCE = 64  # in memory


def pixel_statistics(
    images: npt.NDArray[np.uint8] | Streamed, rows: npt.NDArray[np.int64]
) -> tuple[list[float], list[float]]:
    """Mean and deviation of every channel, in 0..255, over the pictures of these rows, or evenly spaced ones of many.

    Values are counted, and only the counts are added up: sums of pixels in float32 stop growing at some thousand
    photographs.

    Args:
        images: uint8 (N, side, side, C).
        rows: of them, at least one.
    """
    chosen = rows[:: max(1, len(rows) // _MOST_PICTURES)]
    counts = np.zeros((images.shape[3], 256))
    for start in range(0, len(chosen), _AT_ONCE):
        pixels = images[chosen[start : start + _AT_ONCE]]
        counts += [np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(pixels, -1, 0)]
    values, shares = np.arange(256), counts / counts.sum(axis=1, keepdims=True)
    means = shares @ values
    deviations = np.sqrt((shares * (values - means[:, None]) ** 2).sum(axis=1))
    return means.tolist(), deviations.tolist()
