"""Pictures that stand out by themselves: of one colour, tiny, very long, blurred, dark, overexposed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from saccade.data.looks import Looks

OUTLIERS: Mapping[str, str] = MappingProxyType(
    {
        "constant": "every pixel has the same colour",
        "tiny": "the shorter side has less than 32 pixels and less than a quarter of what is usual here",
        "extreme_aspect": "one side is at least four times the other, and twice as much as is usual here",
        "blurry": "hardly any fine detail, compared with the others",
        "dark": "nothing in it is brighter than a quarter of white",
        "bright": "nothing in it is darker than three quarters of white",
    }
)

_TINY_SIDE, _TINY_SHARE = 32, 0.25
_LONG, _LONG_SHARE = 4.0, 2.0
_DARK, _BRIGHT = 64, 191  # of 255: the brightest, or darkest, tenth of a percent of the picture
_BLURRY_DEVIATIONS, _BLURRY_SHARE = 3.0, 0.4  # below the median of log sharpness, and at most so much of the median


def find_outliers(looks: Looks) -> dict[str, npt.NDArray[np.int64]]:
    """Positions of pictures that stand out, by the keys of `OUTLIERS`; a constant picture is nothing else as well.

    Args:
        looks: (N,) of the pictures that are used.
    """
    width, height = looks["width"].astype(float), looks["height"].astype(float)
    short, aspect = np.minimum(width, height), np.maximum(width, height) / np.maximum(np.minimum(width, height), 1)
    luma = looks["luma"].reshape(len(looks), -1)
    constant = looks["constant"].astype(bool)
    found = {
        "constant": constant,
        "tiny": (short < _TINY_SIDE) & (short < _TINY_SHARE * _median(short)),
        "extreme_aspect": (aspect >= _LONG) & (aspect >= _LONG_SHARE * _median(aspect)),
        "blurry": _blurry(looks["sharpness"].astype(float), constant) & ~constant,
        "dark": _nearly_all(luma, luma < _DARK, lambda few: np.quantile(few, 0.999, axis=1) < _DARK) & ~constant,
        "bright": _nearly_all(luma, luma > _BRIGHT, lambda few: np.quantile(few, 0.001, axis=1) > _BRIGHT) & ~constant,
    }
    return {name: np.flatnonzero(mask) for name, mask in found.items()}


def _nearly_all(
    luma: npt.NDArray[np.uint8], fits: npt.NDArray[np.bool_], judge: Callable[[npt.NDArray[np.uint8]], npt.ArrayLike]
) -> npt.NDArray[np.bool_]:
    """Judge the pictures of which all pixels but a percent fit: to sort the pixels of all takes ten times as long."""
    found = fits.sum(axis=1) >= 0.99 * luma.shape[1]
    if found.any():
        found[found] = judge(luma[found])
    return np.asarray(found)


def _blurry(sharpness: npt.NDArray[np.float64], constant: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    logs = np.log(np.maximum(sharpness, 1e-6))
    usual = logs[~constant]
    middle = _median(usual)
    spread = 1.4826 * _median(np.abs(usual - middle))  # as a standard deviation, were they normally distributed
    least = middle + min(-_BLURRY_DEVIATIONS * spread, float(np.log(_BLURRY_SHARE)))
    return np.asarray(logs < least)


def _median(values: npt.NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else 0.0
