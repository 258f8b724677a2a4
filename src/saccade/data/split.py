"""Which pictures learn, which watch, which judge: seeded and stratified, wherever the owner did not say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from saccade.data.listing import TEST, TRAIN, UNASSIGNED, VAL
from saccade.errors import LabelError


def make_splits(
    labels: npt.NDArray[np.int64],
    given: npt.NDArray[np.str_],
    seed: int,
    *,
    val_share: float = 0.2,
    test_share: float = 0.2,
) -> npt.NDArray[np.str_]:
    """Give every picture to train, val or test.

    Pictures given to val or test stay there. A part that nobody gave is taken, class by class, from the pictures
    left for training; every class keeps at least one of them, so a class of one picture goes to train.

    Args:
        labels: (N,), all of them known.
        given: (N,) as the owner said, `unassigned` where nothing was said.
        seed: the same seed and pictures give the same parts.
        val_share: of a class's pictures that are neither given to val nor to test.
        test_share: likewise.

    Returns:
        (N,) strings, each one of train, val, test.
    """
    splits = np.where(given == UNASSIGNED, TRAIN, given)
    rng = np.random.default_rng(seed)
    shares = []
    if not (given == TEST).any():
        shares.append((TEST, test_share))
    if not (given == VAL).any():
        shares.append((VAL, val_share))
    for label in np.unique(labels):
        free = rng.permutation(np.flatnonzero((labels == label) & (splits == TRAIN)))
        sizes = [round(share * len(free)) for _, share in shares]
        taken = 0
        for (part, _), size in zip(shares, sizes, strict=True):
            size = max(0, min(size, len(free) - taken - 1))
            splits[free[taken : taken + size]] = part
            taken += size
    return splits


def check_splits(
    labels: npt.NDArray[np.int64], splits: npt.NDArray[np.str_], class_names: tuple[str, ...]
) -> list[str]:
    """Sentences about classes that are thin; nothing is said when all is well.

    Raises:
        LabelError: a part is empty, or the training part lacks a class that val or test has.
    """
    for part in (TRAIN, VAL, TEST):
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
