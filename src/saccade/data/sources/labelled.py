"""Labelled: what a source found, classes still by name; and the checks on classes that every form goes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from saccade.data.listing import (
    TEST,
    TRAIN,
    UNASSIGNED,
    UNKNOWN_LABEL,
    VAL,
    Item,
    Listing,
    RowItem,
    Skipped,
    no_groups,
)
from saccade.errors import LabelError, LayoutError


@dataclass(frozen=True)
class Labelled:
    """What a source found, before the classes got their index.

    Attributes:
        source: what the user named.
        items: N pictures, all of one kind.
        names: class names in any order, each once.
        codes: int64 (N,), the index into `names`.
        splits: (N,) strings, each one of train, val, test, unassigned.
        declared: per split, classes that exist there even if no picture shows them (empty folders, one-hot columns).
        array, skipped, notes, stamp, groups: as in `Listing`.
    """

    source: str
    items: Sequence[Item]
    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]
    splits: npt.NDArray[np.str_]
    declared: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    array: npt.NDArray[np.uint8] | None = None
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    stamp: bytes = b""
    groups: npt.NDArray[np.str_] = field(default_factory=no_groups)


def index_classes(found: Labelled, *, allow_empty_class: bool = False) -> Listing:
    """Number the classes, in plain string order of the training part's names, and check that they can be learnt.

    Where no training part is given, all parts together name the classes.

    Raises:
        LayoutError: there is no picture at all.
        LabelError: one single class, an empty class, or parts whose classes differ.
    """
    if len(found.items) == 0:
        raise LayoutError(
            f"no picture was found ({len(found.skipped)} files were left out)",
            where=found.source,
            remedy="give a folder that holds one folder of pictures per class",
        )
    shown = {split: _shown(found, split) for split in np.unique(found.splits).tolist()}
    reference = TRAIN if TRAIN in shown else None
    given = [reference] if reference else list(shown)
    present = set().union(*(shown[split] for split in given))
    known = present.union(*(found.declared.get(split, frozenset()) for split in given))
    notes = _check_learnable(found, known, present, allow_empty=allow_empty_class)
    if reference:
        for split in (VAL, TEST, UNASSIGNED):
            if split in shown:
                notes += _compare(found.source, split, known, shown[split], allow_missing=allow_empty_class)
    class_names = tuple(sorted(known))
    index = {name: number for number, name in enumerate(class_names)}
    numbers = np.array([index.get(name, UNKNOWN_LABEL) for name in found.names], dtype=np.int64)
    return Listing(
        source=found.source,
        items=found.items,
        labels=numbers[found.codes],
        class_names=class_names,
        splits=found.splits,
        array=found.array,
        skipped=found.skipped,
        notes=(*found.notes, *notes),
        stamp=found.stamp,
        groups=found.groups,
    )


def _shown(found: Labelled, split: str) -> set[str]:
    return {found.names[code] for code in np.unique(found.codes[found.splits == split]).tolist()}


def _check_learnable(found: Labelled, known: set[str], present: set[str], *, allow_empty: bool) -> list[str]:
    if len(known) == 1:
        raise LabelError(
            f"there is one single class, {next(iter(known))!r}: with nothing to tell it from, nothing can be learnt",
            where=found.source,
            remedy="add a folder of pictures that show something else; to find what is unusual among pictures of "
            "one kind, look for anomaly detection",
        )
    empty = sorted(known - present)
    if empty and not allow_empty:
        raise LabelError(
            f"{len(empty)} of {len(known)} classes have no picture: {_some(empty)}{_left_out(found)}",
            where=found.source,
            remedy="add pictures, remove the class, or keep it with allow_empty_class (--allow-empty-class)",
        )
    return [f"classes without a picture, kept as asked: {_some(empty)}"] if empty else []


def _left_out(found: Labelled) -> str:
    reasons = Counter(skipped.reason for skipped in found.skipped)
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f" (files left out: {counts})" if counts else ""


def _compare(source: str, split: str, known: set[str], shown: set[str], *, allow_missing: bool) -> list[str]:
    extra, missing = sorted(shown - known), sorted(known - shown)
    lists = f"train has {_some(sorted(known))}; {split} has {_some(sorted(shown))}"
    if extra:
        raise LabelError(
            f"{split} has classes that train lacks: {_some(extra)} ({lists})",
            where=source,
            remedy="give every part the same classes, with the same names",
        )
    if missing and not allow_missing:
        raise LabelError(
            f"train has classes that {split} lacks: {_some(missing)} ({lists})",
            where=source,
            remedy="give every part the same classes, or accept it with allow_empty_class (--allow-empty-class)",
        )
    return [f"classes of train that {split} lacks: {_some(missing)}"] if missing else []


def _some(names: Sequence[str]) -> str:
    """A list for a sentence, its middle left out where it is long."""
    quoted = [repr(name) for name in names]
    return ", ".join(quoted if len(quoted) <= 20 else [*quoted[:10], "...", *quoted[-5:]])


def row_items(sizes: Sequence[tuple[str, int]]) -> tuple[RowItem, ...]:
    """Items for arrays that were joined one after another, from (name of the array, number of its rows)."""
    names = (f"{name}[{row}]" for name, size in sizes for row in range(size))
    return tuple(RowItem(name, row) for row, name in enumerate(names))
