"""Whether two small grey pictures show the same thing, one of them perhaps cut a little smaller.

Of two 32 × 32 pictures each is cut to a few boxes (95 % and 90 % of the side, at the edges and in the middle) and laid
over the other where it fits best. Cutting is a matrix on either side, so thousands of pairs are compared at once; a
quarter of the pixels decide which box is best, all of them how well it fits.

Grey values alone do not tell: every ship on the sea is a light half above a dark one. So the slopes are compared too,
along rows and along columns, and the worse of the two counts: a horizon agrees along columns only.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.looks import LUMA_SIDE

Floats = npt.NDArray[np.float32]

LEAST_GREY = 0.88  # correlation of the grey values, below which slopes are not asked
_SCALES = (0.95, 0.9)  # of the side: what "a little smaller" means
_POSITIONS = (0.0, 0.5, 1.0)  # of the room that is left
_PAIRS_AT_ONCE = 2048


class _Cut(NamedTuple):
    """What remains of a picture: (32, 32) for rows and for columns, and the same for half the side."""

    rows: Floats
    columns: Floats
    small_rows: Floats
    small_columns: Floats


def cut_matrix(scale: float, position: float, side: int = LUMA_SIDE) -> Floats:
    """The linear map (side, side) that takes a line of pixels to its part `scale`, stretched to the whole again.

    Args:
        scale: the part of the line that remains, 0..1.
        position: where it begins: 0 at the start, 1 as far back as it goes.
        side: pixels of the line.
    """
    places = (np.arange(side) + 0.5) * scale + position * (1 - scale) * side - 0.5
    low = np.floor(places).astype(int)
    share = (places - low).astype(np.float32)
    matrix = np.zeros((side, side), dtype=np.float32)
    np.add.at(matrix, (np.arange(side), low.clip(0, side - 1)), 1 - share)
    np.add.at(matrix, (np.arange(side), (low + 1).clip(0, side - 1)), share)
    return matrix


def likeness(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> Floats:
    """How alike the pictures of each pair are at best.

    Args:
        first: uint8 (P, 32, 32).
        second: likewise.

    Returns:
        (P,) the correlation of the slopes along rows or columns, whichever is worse, at most 1; 0 where the grey
        values disagree already.
    """
    cuts = _cuts()
    found = np.zeros(len(first), dtype=np.float32)
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        chosen = slice(start, start + _PAIRS_AT_ONCE)
        one, other = first[chosen].astype(np.float32), second[chosen].astype(np.float32)
        found[chosen] = np.maximum(_of_best_cut(one, other, cuts), _of_best_cut(other, one, cuts))
    return found


def _of_best_cut(cut: Floats, whole: Floats, cuts: list[_Cut]) -> Floats:
    small_cut, small_whole = _halved(cut), _normalised(_halved(whole))
    coarse = [_normalised(each.small_rows @ small_cut @ each.small_columns.T) for each in cuts]
    fit = np.stack([np.einsum("ij,ij->i", pictures, small_whole) for pictures in coarse])
    best = np.where(fit.max(axis=0) >= LEAST_GREY - 0.05, fit.argmax(axis=0), -1)
    result = np.zeros(len(cut), dtype=np.float32)
    for index in np.unique(best[best >= 0]).tolist():
        pairs = best == index
        warped = cuts[index].rows @ cut[pairs] @ cuts[index].columns.T
        grey = _correlation(warped, whole[pairs])
        slopes = [_correlation(np.diff(warped, axis=axis), np.diff(whole[pairs], axis=axis)) for axis in (1, 2)]
        result[pairs] = np.where(grey >= LEAST_GREY, np.minimum(*slopes), 0)
    return result


def _cuts() -> list[_Cut]:
    places = [(1.0, 0.0, 0.0), *product(_SCALES, _POSITIONS, _POSITIONS)]
    half = LUMA_SIDE // 2
    return [
        _Cut(cut_matrix(scale, y), cut_matrix(scale, x), cut_matrix(scale, y, half), cut_matrix(scale, x, half))
        for scale, y, x in places
    ]


def _halved(pictures: Floats) -> Floats:
    return np.asarray(pictures.reshape(-1, LUMA_SIDE // 2, 2, LUMA_SIDE // 2, 2).mean(axis=(2, 4)), dtype=np.float32)


def _normalised(pictures: npt.NDArray[Any]) -> Floats:
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(np.divide(flat, length, out=np.zeros_like(flat), where=length > 0))


def _correlation(first: Floats, second: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", _normalised(first), _normalised(second)), dtype=np.float32)
