"""Which side each picture stands on: parts that copies and groups never straddle, and what is wrong with given ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.duplicates import Duplicates, joined
from saccade.data.listing import TEST, TRAIN, UNASSIGNED, VAL
from saccade.data.pack import Pack
from saccade.data.split import Draw, fold_of, make_splits, place_of
from saccade.errors import RecipeError


class Sides(NamedTuple):
    """The pictures that are used, their parts, and what was found on the way.

    Attributes:
        rows: int64 (M,), rows of the pack, ascending.
        parts: (M,) strings, each one of train, val, test.
        leaked: rows in val or test (as given) that have a copy, or a picture of their group, on an earlier side.
        copies: the rows on the earlier side, of which `leaked` are copies: with `drop_leaks` they are not used.
        conflicts: rows that show the same picture as another one of another class.
    """

    rows: npt.NDArray[np.int64]
    parts: npt.NDArray[np.str_]
    leaked: npt.NDArray[np.int64]
    copies: npt.NDArray[np.int64]
    conflicts: npt.NDArray[np.int64]


def take_sides(
    pack: Pack, duplicates: Duplicates, groups: Sequence[str], draw: Draw, *, drop_leaks: bool = False
) -> Sides:
    """Give every usable picture to a part.

    Copies of a picture, and pictures of one group, get the same part where the parts are made here. A picture that
    stands in two classes never judges: it goes to train, or is left out where its owner gave it to val or test. Parts
    that were given stay as they are; with `drop_leaks` the copies leave the side that comes first (train before val
    before test), so that the test pictures stay those that were given.

    Args:
        pack: the pictures.
        duplicates: which of them are the same.
        groups: (N,) "" for a picture alone.
        draw: how parts are made that were not given.
        drop_leaks: leave out copies on the earlier side.
    """
    rows = pack.usable
    units = units_of(pack, duplicates, groups)[rows]
    in_conflict = np.isin(rows, label_conflicts(pack, duplicates))
    given = pack.splits[rows].copy()
    if draw.folds:
        folds = fold_of(pack.labels[rows[~in_conflict]], units[~in_conflict].tolist(), draw.folds, draw.seed)
        given[:] = UNASSIGNED
        given[np.flatnonzero(~in_conflict)[folds == draw.fold - 1]] = TEST
    judging = np.isin(given, (VAL, TEST))
    kept = ~(in_conflict & judging)
    parts = np.full(len(rows), TRAIN, dtype=given.dtype)
    drawn = ~in_conflict
    parts[drawn] = make_splits(pack.labels[rows[drawn]], given[drawn], units[drawn].tolist(), draw)
    parts[judging] = given[judging]
    leaked, copies = find_leaks(units, np.where(kept, parts, UNASSIGNED))
    if drop_leaks:
        kept &= ~copies
    conflicts = rows[in_conflict]
    return Sides(rows[kept], parts[kept], rows[leaked], rows[copies], conflicts)


def learn_from_fewer(
    pack: Pack, sides: Sides, share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    """Rows and parts with that share of every class's training pictures; a smaller share is a part of a larger one.

    Args:
        pack: the pictures.
        sides: rows and parts of all of them.
        share: 0..1; every class keeps at least one picture.
        seed: of the draw.
    """
    draws = np.array([place_of(seed, f"learn:{name}") for name in pack.looks["sha256"][sides.rows].tolist()])
    labels, kept = pack.labels[sides.rows], sides.parts != TRAIN
    for label in np.unique(labels).tolist():
        own = np.flatnonzero((labels == label) & (sides.parts == TRAIN))
        kept[own[np.argsort(draws[own], kind="stable")][: max(1, round(share * len(own)))]] = True
    return sides.rows[kept], sides.parts[kept]


def find_leaks(
    units: npt.NDArray[np.str_], parts: npt.NDArray[np.str_]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Pictures of val or test whose unit has pictures on an earlier side, and those pictures.

    Returns:
        Two masks (M,): the leaked ones, and their copies on the earlier side.
    """
    _, unit_of = np.unique(units, return_inverse=True)
    side = np.select([parts == TRAIN, parts == VAL, parts == TEST], [0, 1, 2], default=-1)
    first = np.full(unit_of.max(initial=-1) + 1, 3)
    last = np.full(len(first), -1)
    np.minimum.at(first, unit_of[side >= 0], side[side >= 0])
    np.maximum.at(last, unit_of, side)
    return side > first[unit_of], (side >= 0) & (side < last[unit_of])


def label_conflicts(pack: Pack, duplicates: Duplicates) -> npt.NDArray[np.int64]:
    """Rows of groups of copies that have more than one class, ascending."""
    rows = pack.usable
    groups, labels = duplicates.groups[rows], pack.labels[rows]
    low, high = np.full(len(pack.names), np.iinfo(np.int64).max), np.full(len(pack.names), -1)
    np.minimum.at(low, groups, labels)
    np.maximum.at(high, groups, labels)
    return np.asarray(rows[low[groups] < high[groups]], dtype=np.int64)


def units_of(pack: Pack, duplicates: Duplicates, groups: Sequence[str]) -> npt.NDArray[np.str_]:
    """What must stay together, as text that does not change when pictures are added: (N,).

    A picture alone is called by its checksum, a group by its name; copies and groups that touch are called by the
    first of these names in plain string order.
    """
    names = np.where(np.asarray(groups) != "", np.char.add("group:", np.asarray(groups, dtype=np.str_)), "")
    names = np.where(names != "", names, pack.looks["sha256"].astype(np.str_))
    _, by_name = np.unique(names, return_inverse=True)
    component = joined(duplicates.groups, by_name)
    order = np.lexsort((names, component))
    starts = np.flatnonzero(np.diff(component[order], prepend=-1))
    first_name = names[order][starts]
    return np.asarray(first_name[component])


def groups_from(names: Sequence[str], listed: npt.NDArray[np.str_], pattern: str | None) -> list[str]:
    """The group of every picture: from the pictures' own table, or from their names.

    Args:
        names: of the pictures.
        listed: (N,) groups that came with the pictures, "" where there are none.
        pattern: a regular expression searched for in the names; what its first bracket matches (or all of it, without
            brackets) is the group. None: as listed.

    Raises:
        RecipeError: it is not a regular expression, or it fits no name at all.
    """
    if pattern is None or ((listed != "").any() and re.escape(pattern) == pattern):
        return [str(group) for group in listed.tolist()]
    try:
        searched = re.compile(pattern)
    except re.error as error:
        raise RecipeError(
            f"{pattern!r} is not a regular expression: {error}",
            where="--group-by",
            remedy=r"for names such as cat/patient12_3.png write --group-by 'patient(\d+)'",
        ) from None
    found = [searched.search(name) for name in names]
    groups = ["" if match is None else (match[1] if searched.groups else match[0]) or "" for match in found]
    if not any(groups):
        raise RecipeError(
            f"{pattern!r} fits no name of a picture, and there is no column of that name",
            where=f"--group-by; the first picture is {names[0]}",
            remedy="name a column of the table, or write an expression that fits the paths of the pictures",
        )
    return groups
