"""What was found in the pictures: as values for data_report.json, and as the few sentences said before a training."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from saccade.data.duplicates import Duplicates, Kind
from saccade.data.listing import TEST, TRAIN, VAL
from saccade.data.looks import is_grey
from saccade.data.outliers import find_outliers
from saccade.data.pack import Pack
from saccade.data.shortcuts import Shortcut, find_shortcuts
from saccade.data.sides import Sides

_IMBALANCED = 10  # the largest class against the smallest: from here on it is said
_MOST_NAMED = 1000  # pictures or groups that are listed by name; more are counted


def describe_sides(pack: Pack, duplicates: Duplicates, sides: Sides) -> dict[str, Any]:
    """Duplicates, leaks, conflicts, shortcuts and imbalance: what goes into every run's data_report.json."""
    rows = pack.usable
    labels = pack.labels[rows]
    pairs = duplicates.pairs
    between = pack.labels[pairs["first"]] != pack.labels[pairs["second"]]
    kinds = Counter(pairs["kind"].tolist())
    in_test, in_val = (_leaked_in(sides, pack, part) for part in (TEST, VAL))
    return {
        "duplicates": {
            "num_pairs": {kind.name.lower(): kinds[kind.value] for kind in Kind},
            "num_groups": len(duplicates.members()),
            "num_pairs_across_classes": int(between.sum()),
            "groups": [_named(pack, group) for group in duplicates.members()[:_MOST_NAMED]],
        },
        "leaks": {
            "num_test": len(in_test),
            "num_val": len(in_val),
            "num_copies": len(sides.copies),
            "dropped": not np.isin(sides.copies, sides.rows).any() if len(sides.copies) else False,
            "pictures": _named(pack, sides.leaked[:_MOST_NAMED]),
        },
        "conflicts": {"num_pictures": len(sides.conflicts), "pictures": _named(pack, sides.conflicts[:_MOST_NAMED])},
        "shortcuts": [found._asdict() for found in find_shortcuts(pack.looks[rows], labels)],
        "imbalance": _imbalance(labels, pack.class_names),
    }


def describe_looks(pack: Pack) -> dict[str, Any]:
    """Sizes, formats, colour and outliers."""
    rows = pack.usable
    looks = pack.looks[rows]
    formats = Counter(name.decode("ascii") for name in looks["format"].tolist())
    outliers = {name: rows[found] for name, found in find_outliers(looks).items()}
    return {
        "sizes": {side: _spread(looks[side]) for side in ("width", "height")},
        "formats": dict(formats.most_common()),
        "num_grey": int(is_grey(looks).sum()),
        "outliers": {
            name: {"num_pictures": len(found), "pictures": _named(pack, found[:_MOST_NAMED])}
            for name, found in outliers.items()
        },
    }


def brief(found: dict[str, Any]) -> list[str]:
    """Sentences about what should not be overlooked in what `describe_sides` found; none when all is well."""
    return [
        *_about_leaks(found["leaks"]),
        *_about_copies(found),
        *(shortcut_in_words(Shortcut(**shortcut)) for shortcut in found["shortcuts"]),
        *_about_imbalance(found["imbalance"]),
    ]


def shortcut_in_words(found: Shortcut) -> str:
    """One sentence."""
    facts = {"size": "the size of a picture", "format": "the file format", "greyness": "whether a picture is grey"}
    return (
        f"{facts[found.fact]} gives the class away: from that alone {found.accuracy:.0%} are named rightly "
        f"(guessing: {found.chance:.0%}); the network may learn this and nothing else"
    )


def _about_leaks(leaks: dict[str, Any]) -> list[str]:
    if not leaks["num_copies"]:
        return []
    where = " and ".join(f"{leaks[f'num_{part}']:,} {part}" for part in (TEST, VAL) if leaks[f"num_{part}"])
    if leaks["dropped"]:
        return [
            f"{where} pictures are there a second time on the side they judge; "
            f"those {leaks['num_copies']:,} copies are not used"
        ]
    return [
        f"{where} pictures, as given, are there a second time on the side they judge, so their accuracy is too good to "
        f"be true; --drop-leaks leaves those {leaks['num_copies']:,} copies out"
    ]


def _about_copies(found: dict[str, Any]) -> list[str]:
    sentences = []
    num_conflicts = found["conflicts"]["num_pictures"]
    if num_conflicts:
        sentences.append(
            f"{num_conflicts:,} pictures show the same as a picture of another class "
            f"({', '.join(found['conflicts']['pictures'][:3])}{', …' if num_conflicts > 3 else ''}); they judge nothing"
        )
    copies, pairs = found["duplicates"], found["duplicates"]["num_pairs"]
    if copies["num_groups"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in pairs.items() if count)
        num = copies["num_groups"]
        sentences.append(f"{num:,} picture{'s are' if num > 1 else ' is'} there more than once (pairs: {kinds})")
    return sentences


def _about_imbalance(found: dict[str, Any]) -> list[str]:
    if found["ratio"] < _IMBALANCED:
        return []
    return [
        f"class {found['largest']!r} has {found['ratio']:,.0f} times as many pictures as {found['smallest']!r}; "
        f"always saying it would be right {found['baseline']:.1%} of the time, so look at the classes one by one"
    ]


def _imbalance(labels: npt.NDArray[np.int64], class_names: tuple[str, ...]) -> dict[str, Any]:
    counts = np.bincount(labels, minlength=len(class_names))
    there = np.flatnonzero(counts)
    smallest, largest = there[counts[there].argmin()], there[counts[there].argmax()]
    return {
        "smallest": class_names[smallest],
        "largest": class_names[largest],
        "ratio": float(counts[largest] / counts[smallest]),
        "baseline": float(counts[largest] / len(labels)),
    }


def _leaked_in(sides: Sides, pack: Pack, part: str) -> npt.NDArray[np.int64]:
    part_of = np.full(len(pack.names), TRAIN, dtype=pack.splits.dtype)
    part_of[sides.rows] = sides.parts
    return np.asarray(sides.leaked[part_of[sides.leaked] == part], dtype=np.int64)


def _named(pack: Pack, rows: npt.NDArray[np.int64]) -> list[str]:
    return [pack.names[row] for row in rows.tolist()]


def _spread(values: npt.NDArray[np.integer]) -> dict[str, float]:
    return {"least": int(values.min()), "median": float(np.median(values)), "most": int(values.max())}
