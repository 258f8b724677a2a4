"""Pictures that are there more than once: the same file, or the same picture resized, re-encoded, mirrored or cut.

Files are compared by their SHA-256. Pictures are compared by the numbers that a perceptual hash (pHash) cuts to bits:
the lowest frequencies of the cosine transform of a 32 × 32 grey version. Left as numbers they can be looked up in a k-d
tree, so the search does not grow with the square of the collection; mirroring changes the sign of every second one, and
a cut is one matrix more. What the tree finds is compared pixel by pixel (alignment.py) before it is believed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from saccade.data.alignment import cut_matrix, likeness
from saccade.data.looks import LUMA_SIDE, Looks
from saccade.data.pack import Pack
from saccade.whole import whole_file

_FILE = "duplicates-1.npy"  # another number when the search changes: what an older version found is then not read

_SIDE = 8  # frequencies along each axis, as in pHash
_NUM_FREQUENCIES = 16  # of the 63: as many as survive a cut of 5 %
_RADIUS = 0.22  # between descriptors of length 1; of copies cut by 5 % 97 % lie within it, on CIFAR-10
_LEAST_LIKENESS = 0.65  # JPEG at quality 30 leaves 0.69 of 32 × 32 pixels in 95 % of the pictures of CIFAR-10
_NUM_NEIGHBOURS = 8
_CUT = 0.94  # of the side, at a quarter and three quarters of the room: within 1.5 % of any cut of 5 %
_LEAST_CONTRAST = 2.0  # grey levels: below there is nothing to compare

# How alike pictures of this collection are that are no copies: a picture and its 16th neighbour.
_SAMPLE, _STRANGER, _FEWEST = 1000, 16, 64

_PAIR = np.dtype([("first", "<i8"), ("second", "<i8"), ("likeness", "<f4"), ("kind", "u1")])


class Kind(IntEnum):
    """Why two pictures are called the same."""

    EXACT = 0
    NEAR = 1
    MIRRORED = 2


@dataclass(frozen=True)
class Duplicates:
    """Which pictures of a pack are the same.

    Attributes:
        pairs: (P,) records `first`, `second` (rows of the pack, first < second), `likeness` (0..1), `kind`.
        groups: int64 (N,), the same number for pictures that are connected by pairs: the lowest row of them.
    """

    pairs: npt.NDArray[np.void]
    groups: npt.NDArray[np.int64]

    def members(self) -> list[npt.NDArray[np.int64]]:
        """The rows of every group of two or more, the largest group first."""
        order = np.argsort(self.groups, kind="stable")
        starts = np.flatnonzero(np.diff(self.groups[order], prepend=-1))
        found = [rows for rows in np.split(order, starts[1:]) if len(rows) > 1]
        return sorted(found, key=lambda rows: (-len(rows), int(rows[0])))


class _Strictness(NamedTuple):
    """How near descriptors, and how alike pictures, must be."""

    radius: float
    likeness: float


def duplicates_of(pack: Pack, workers: int = 1) -> Duplicates:
    """The duplicates in a pack: found once, then read from beside it."""
    path = pack.folder / _FILE
    with suppress(Exception):  # damaged files raise nearly every kind there is; what was found is found again
        pairs = np.load(path, allow_pickle=False)
        if pairs.dtype == _PAIR:
            return Duplicates(pairs, _groups(pairs, len(pack.names)))
    found = find_duplicates(pack.looks, pack.usable, workers)
    with suppress(OSError), whole_file(path) as partial, partial.open("wb") as file:
        np.save(file, found.pairs)
    return found


def find_duplicates(looks: Looks, rows: npt.NDArray[np.int64], workers: int = 1) -> Duplicates:
    """All pairs of the same picture among some rows.

    Args:
        looks: (N,) as in `Pack.looks`.
        rows: the pictures to compare, ascending.
        workers: threads of the search.
    """
    _, first_of, inverse = np.unique(looks["sha256"][rows], return_index=True, return_inverse=True)
    originals = rows[first_of[inverse]]
    copies = rows != originals
    exact = _records(originals[copies], rows[copies], np.ones(copies.sum()), Kind.EXACT)
    unique = np.sort(rows[first_of])
    pairs = np.concatenate([exact, _near(looks["luma"], unique, workers)])
    pairs = pairs[np.lexsort((pairs["second"], pairs["first"]))]
    return Duplicates(pairs, _groups(pairs, len(looks)))


def describe(luma: npt.NDArray[np.uint8], cut: tuple[float, float, float] = (1, 0, 0)) -> npt.NDArray[np.float32]:
    """What the search compares: the lowest frequencies but the mean, as a vector of length 1.

    Args:
        luma: uint8 (N, 32, 32).
        cut: the part of the side that is looked at, and where it begins along columns and rows (0..1 of the room).

    Returns:
        (N, 16), in zigzag order: rows and columns of the transform by their sum.
    """
    scale, y, x = cut
    waves = dct(np.eye(LUMA_SIDE, dtype=np.float32), axis=0, norm="ortho")[:_SIDE]
    spectrum = (waves @ cut_matrix(scale, y)) @ luma.astype(np.float32) @ (waves @ cut_matrix(scale, x)).T
    lowest = spectrum.reshape(len(luma), -1)[:, _zigzag()]
    length = np.linalg.norm(lowest, axis=1, keepdims=True)
    return np.asarray(np.divide(lowest, length, out=np.zeros_like(lowest), where=length > 0), dtype=np.float32)


def _near(luma: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], workers: int) -> npt.NDArray[np.void]:
    """Pairs of `rows` whose pictures are the same but not their files."""
    luma = luma[rows]
    visible = luma.reshape(len(luma), -1).std(axis=1) >= _LEAST_CONTRAST
    luma, rows = luma[visible], rows[visible]
    if len(rows) < 2:
        return np.empty(0, dtype=_PAIR)
    descriptors = describe(luma)
    tree = cKDTree(descriptors, leafsize=32)  # a tenth faster than 16
    strict = _strictness(luma, descriptors, tree, workers)
    found = []
    for candidates, mirrored in _candidates(luma, descriptors, tree, strict.radius, workers):
        first, second = candidates.T
        other = luma[second]
        alike = likeness(luma[first], other[:, :, ::-1] if mirrored else other)
        kept = alike >= strict.likeness
        kind = Kind.MIRRORED if mirrored else Kind.NEAR
        found.append(_records(rows[first[kept]], rows[second[kept]], alike[kept], kind))
    pairs = np.concatenate(found)
    pairs = pairs[np.lexsort((pairs["kind"], -pairs["likeness"]))]
    _, firsts = np.unique(pairs[["first", "second"]], return_index=True)
    return np.asarray(pairs[firsts])


def _candidates(
    luma: npt.NDArray[np.uint8], descriptors: npt.NDArray[np.float32], tree: cKDTree, radius: float, workers: int
) -> list[tuple[npt.NDArray[np.int64], bool]]:
    """Pairs (P, 2) that may be the same as they are, and pairs that may be when one is mirrored."""
    signs = np.where(_zigzag() % _SIDE % 2, -1, 1).astype(np.float32)
    quarters = [describe(luma, (_CUT, y, x)) for y, x in product((0.25, 0.75), repeat=2)]
    found = []
    for queries, mirrored in (([descriptors, *quarters], False), ([descriptors * signs], True)):
        keys = [_neighbours(tree, query, radius, workers) for query in queries]
        unique = np.unique(np.concatenate(keys))
        found.append((np.stack(np.divmod(unique, len(luma)), axis=1), mirrored))
    return found


def _neighbours(tree: cKDTree, queries: npt.NDArray[np.float32], radius: float, workers: int) -> npt.NDArray[np.int64]:
    """Pairs of different pictures as numbers: lower index × N + higher index."""
    num = tree.n
    distances, found = tree.query(
        queries, k=min(_NUM_NEIGHBOURS + 1, num), distance_upper_bound=radius, workers=workers
    )
    near = np.isfinite(distances) & (found != np.arange(num)[:, None])
    one, other = np.nonzero(near)[0], found[near]
    return np.asarray(np.minimum(one, other) * num + np.maximum(one, other), dtype=np.int64)


def _strictness(
    luma: npt.NDArray[np.uint8], descriptors: npt.NDArray[np.float32], tree: cKDTree, workers: int
) -> _Strictness:
    """Stricter where strangers are alike, as handwritten digits are: the scale of likeness begins at theirs."""
    if len(luma) < _FEWEST:
        return _Strictness(_RADIUS, _LEAST_LIKENESS)
    sample = np.unique(np.linspace(0, len(luma) - 1, _SAMPLE).astype(int))
    bound = 2 * _RADIUS
    distances, found = tree.query(descriptors[sample], k=[_STRANGER + 1], distance_upper_bound=bound, workers=workers)
    there = found[:, 0] < len(luma)
    if not there.any():
        return _Strictness(_RADIUS, _LEAST_LIKENESS)
    alike = np.zeros(len(sample), dtype=np.float32)
    alike[there] = likeness(luma[sample[there]], luma[found[there, 0]])
    usual = max(0.0, float(np.quantile(alike, 0.99)))
    nearest = float(np.quantile(np.minimum(distances, bound), 0.1))
    return _Strictness(min(_RADIUS, 0.8 * nearest), usual + _LEAST_LIKENESS * (1 - usual))


def _zigzag() -> npt.NDArray[np.int64]:
    """Places in the flattened 8 × 8 transform, lowest frequencies first, without the mean."""
    rows, columns = np.indices((_SIDE, _SIDE)).reshape(2, -1)
    return np.lexsort((np.abs(rows - columns), rows + columns))[1 : _NUM_FREQUENCIES + 1]


def _records(
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], alike: npt.NDArray[np.floating], kind: Kind
) -> npt.NDArray[np.void]:
    pairs = np.empty(len(first), dtype=_PAIR)
    pairs["first"], pairs["second"] = np.minimum(first, second), np.maximum(first, second)
    pairs["likeness"], pairs["kind"] = alike, kind
    return pairs


def joined(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Pictures that share a number in either list stand together: (N,) numbers 0..C-1.

    Args:
        first: (N,) numbers from 0 on.
        second: likewise.
    """
    num = len(first)
    ends = np.concatenate([num + first, num + int(first.max(initial=0)) + 1 + second])
    size = int(ends.max(initial=num)) + 1
    graph = coo_array((np.ones(2 * num, dtype=bool), (np.tile(np.arange(num), 2), ends)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    return np.asarray(np.unique(component[:num], return_inverse=True)[1], dtype=np.int64)


def _groups(pairs: npt.NDArray[np.void], num: int) -> npt.NDArray[np.int64]:
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs["first"], pairs["second"])), shape=(num, num))
    _, component = connected_components(graph, directed=False)
    _, lowest, inverse = np.unique(component, return_index=True, return_inverse=True)
    return np.asarray(lowest[inverse], dtype=np.int64)
