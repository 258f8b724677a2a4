"""Which pictures learn, which watch, which judge: seeded, stratified and stable, wherever the owner did not say.

A picture's part follows from a hash of the seed and its own content (or of its group), not from the other pictures. So
it keeps its part when pictures are added, and exact shares are given up for that: a class of 100 gets 20 test pictures
give or take four. Where the draw leaves a class less than half of its share, or none to learn from, the pictures
nearest to the bound are moved, and only those; that is what a later addition may take back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.listing import TEST, TRAIN, UNASSIGNED, VAL
from saccade.errors import LabelError


class Draw(NamedTuple):
    """How parts are drawn: shares are of the pictures that are neither given to val nor to test."""

    seed: int
    val_share: float = 0.2
    test_share: float = 0.2
    folds: int = 0  # of a cross-validation: what was given does not count, and fold number `fold` judges
    fold: int = 1


class _Part(NamedTuple):
    """A part to be drawn, and the bounds of its pictures' draws."""

    name: str
    low: float
    high: float


def make_splits(
    labels: npt.NDArray[np.int64], given: npt.NDArray[np.str_], units: Sequence[str], draw: Draw
) -> npt.NDArray[np.str_]:
    """Give every picture to train, val or test.

    Pictures given to val or test stay there. A part that nobody gave is drawn from the pictures left for training,
    whole units at a time; every class keeps at least one of them, so a class of one picture goes to train.

    Args:
        labels: (N,), all of them known.
        given: (N,) as the owner said, `unassigned` where nothing was said.
        units: (N,) the same text for pictures that must stay together; what it says decides the part.
        draw: the seed and the shares.

    Returns:
        (N,) strings, each one of train, val, test.
    """
    splits = np.where(given == UNASSIGNED, TRAIN, given)
    parts = _parts_to_draw(given, draw)
    free = np.flatnonzero(splits == TRAIN)
    if not parts or not len(free):
        return splits
    names, unit_of = np.unique(np.asarray(units)[free], return_inverse=True)
    draws = np.array([place_of(draw.seed, name) for name in names.tolist()])
    counts = np.zeros((len(names), int(labels[free].max()) + 1), dtype=np.int64)
    np.add.at(counts, (unit_of, labels[free]), 1)
    drawn = np.full(len(names), TRAIN, dtype=splits.dtype)
    for part in parts:
        drawn[(draws >= part.low) & (draws < part.high)] = part.name
    _mend(drawn, draws, counts, parts)
    splits[free] = drawn[unit_of]
    return splits


def fold_of(labels: npt.NDArray[np.int64], units: Sequence[str], num_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Give every picture to one of K folds of nearly the same size and mixture, units kept together.

    Here shares come first: the folds of a cross-validation are compared with each other. Units go, the largest first
    and then in the order of their draws, to the fold that has the fewest pictures of the unit's class.

    Args:
        labels: (N,) known.
        units: (N,) the same text for pictures that must stay together.
        num_folds: K, at least 2.
        seed: of the draws.

    Returns:
        (N,) 0..K-1.

    Raises:
        LabelError: there are fewer units than folds.
    """
    names, unit_of, sizes = np.unique(np.asarray(units), return_inverse=True, return_counts=True)
    if len(names) < num_folds:
        raise LabelError(
            f"{len(names):,} groups of pictures cannot be put into {num_folds} folds",
            remedy="ask for fewer folds, or group the pictures more finely",
        )
    counts = np.zeros((len(names), int(labels.max()) + 1), dtype=np.int64)
    np.add.at(counts, (unit_of, labels), 1)
    main = counts.argmax(axis=1).tolist()
    draws = [place_of(seed, name) for name in names.tolist()]
    filled = np.zeros((num_folds, counts.shape[1] + 1), dtype=np.int64)  # per class, and all of them
    folds = np.empty(len(names), dtype=np.int64)
    for unit in sorted(range(len(names)), key=lambda unit: (-sizes[unit], draws[unit])):
        fold = min(range(num_folds), key=lambda k: (filled[k, main[unit]], filled[k, -1]))
        folds[unit] = fold
        filled[fold, :-1] += counts[unit]
        filled[fold, -1] += sizes[unit]
    return np.asarray(folds[unit_of])


def place_of(seed: int, unit: str) -> float:
    """Where a unit falls in 0..1; it depends on nothing but its text and the seed."""
    digest = hashlib.sha256(f"{seed}:{unit}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _parts_to_draw(given: npt.NDArray[np.str_], draw: Draw) -> list[_Part]:
    parts, low = [], 0.0
    for name, share in ((TEST, draw.test_share), (VAL, draw.val_share)):
        if not (given == name).any():
            parts.append(_Part(name, low, min(low + share, 1.0)))
            low = parts[-1].high
    return parts


def _mend(
    drawn: npt.NDArray[np.str_],
    draws: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    parts: list[_Part],
) -> None:
    """Move single units, in place, until every class has half its share of each part and something to learn from.

    Args:
        drawn: (U,) the part of each unit.
        draws: (U,) 0..1.
        counts: (U, K) pictures of each class in each unit.
        parts: those that were drawn.
    """
    for label in range(counts.shape[1]):
        own = np.flatnonzero(counts[:, label])
        if len(own) and not (drawn[own] == TRAIN).any():
            drawn[own[draws[own].argmax()]] = TRAIN
    for label in np.argsort(counts.sum(axis=0), kind="stable").tolist():
        own = np.flatnonzero(counts[:, label])
        for part in parts:
            wanted = _least(part, counts[own, label].sum())
            nearest = own[np.argsort(np.abs(draws[own] - (part.low + part.high) / 2), kind="stable")]
            for unit in nearest.tolist():
                if counts[own[drawn[own] == part.name], label].sum() >= wanted:
                    break
                if drawn[unit] != part.name and _can_leave(drawn, counts, unit, parts):
                    drawn[unit] = part.name


def _least(part: _Part, num: int) -> int:
    """Half of the share, and one where the share is nearer to one picture than to none."""
    share = (part.high - part.low) * num
    return max(int(share / 2), 1 if round(share) >= 1 else 0)


def _can_leave(drawn: npt.NDArray[np.str_], counts: npt.NDArray[np.int64], unit: int, parts: list[_Part]) -> bool:
    """Whether the part that a unit is in keeps enough of each of its classes: one to learn from, or the least."""
    classes = np.flatnonzero(counts[unit])
    left = counts[drawn == drawn[unit]][:, classes].sum(axis=0) - counts[unit, classes]
    own = next((part for part in parts if part.name == drawn[unit]), None)
    if own is None:
        return bool((left > 0).all())
    return all(num >= _least(own, counts[:, label].sum()) for num, label in zip(left, classes, strict=True))


def check_splits(
    labels: npt.NDArray[np.int64],
    splits: npt.NDArray[np.str_],
    class_names: tuple[str, ...],
    *,
    watched: bool = True,
) -> list[str]:
    """Sentences about classes that are thin; nothing is said when all is well. Unless `watched`, val may be empty.

    Raises:
        LabelError: a part is empty, or the training part lacks a class that val or test has.
    """
    for part in (TRAIN, VAL, TEST) if watched else (TRAIN, TEST):
        if not (splits == part).any():
            raise LabelError(
                f"no picture is left for the {part} part: {len(labels):,} pictures in {len(class_names)} classes",
                remedy="add pictures, or give the parts as folders named train, val and test",
            )
    in_train = np.bincount(labels[splits == TRAIN], minlength=len(class_names)).tolist()
    elsewhere = np.unique(labels[splits != TRAIN]).tolist()
    unlearnt = [class_names[label] for label in elsewhere if not in_train[label]]
    if unlearnt:
        raise LabelError(
            f"val or test has classes of which no picture is left to learn from: {', '.join(map(repr, unlearnt))}",
            remedy="add pictures of them to the training part, or remove them from the others",
        )
    return [
        f"class {name!r} has {count or 'no'} picture{'s' if count != 1 else ''} to learn from; "
        "that is too few to judge it"
        for name, count in zip(class_names, in_train, strict=True)
        if count < 5
    ]
