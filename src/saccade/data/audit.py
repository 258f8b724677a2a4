"""What is wrong with the pictures, counted and put into words. Nothing disappears silently."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from saccade.data.listing import TEST, TRAIN, UNASSIGNED, VAL
from saccade.data.pack import Pack
from saccade.errors import DataError

# Seen and left out on purpose; they say nothing about the quality of the collection.
_HARMLESS = frozenset({"not_a_picture_name", "link_not_followed", "seen_before", "link_loop"})


def check_bad_pictures(pack: Pack, max_bad: float) -> None:
    """Stop when too many pictures are broken for the rest to be trusted.

    Raises:
        DataError: their share is above `max_bad`; reasons are counted and examples named.
    """
    broken = [skipped for skipped in pack.skipped if skipped.reason not in _HARMLESS]
    seen = _num_seen(pack) - (len(pack.skipped) - len(broken))
    # Divided, not multiplied: 0.29 * 100 is less than 29, and the share offered below must be accepted.
    if not broken or len(broken) / seen <= max_bad:
        return
    examples = "; ".join(f"{skipped.name} ({skipped.reason})" for skipped in broken[:3])
    raise DataError(
        f"{len(broken):,} of {seen:,} pictures cannot be used ({_reasons(pack)}); "
        f"that is more than the {100 * max_bad:g} % that are skipped without asking",
        where=examples,
        remedy=f"mend or remove them, or accept it with --max-bad {np.ceil(100 * len(broken) / seen) / 100:g}",
    )


def check_classes_left(pack: Pack) -> None:
    """Stop when every picture of a class is broken: the network would have a class it can never learn.

    Raises:
        DataError: the classes are named.
    """
    seen, left = np.unique(pack.labels), np.unique(pack.labels[pack.usable])
    lost = [pack.class_names[label] for label in np.setdiff1d(seen, left).tolist() if label >= 0]
    if lost:
        raise DataError(
            f"not one picture of {', '.join(map(repr, lost))} can be used ({_reasons(pack)})",
            where=str(pack.folder / "index.csv"),
            remedy="mend or replace those pictures, or remove the class",
        )


def describe_pictures(
    pack: Pack,
    rows: npt.NDArray[np.int64],
    splits: npt.NDArray[np.str_],
    source: str,
    notes: list[str],
    num_left_out: int = 0,
) -> dict[str, Any]:
    """As it stands in data_report.json.

    Args:
        pack: the decoded pictures.
        rows: those that are used.
        splits: their parts.
        source: where they came from.
        notes: what was said about them.
        num_left_out: usable ones that a `fraction` leaves out; all others that are not used were set aside.
    """
    labels = pack.labels[rows]
    parts = (TRAIN, VAL, TEST)
    return {
        "source": source,
        "fingerprint": pack.fingerprint,
        "num_seen": _num_seen(pack),
        "num_used": len(rows),
        "num_skipped": len(pack.skipped),
        "num_set_aside": len(pack.usable) - len(rows) - num_left_out,
        "num_left_out": num_left_out,
        "skipped": dict(Counter(skipped.reason for skipped in pack.skipped).most_common()),
        "noted": pack.noted(),
        "notes": notes,
        "splits_given": bool((pack.splits != UNASSIGNED).any()),
        "classes": {
            name: {part: int(((labels == index) & (splits == part)).sum()) for part in parts}
            for index, name in enumerate(pack.class_names)
        },
        "preparation": pack.preparation.to_json(),
    }


def fingerprint_of(pack: Pack, rows: npt.NDArray[np.int64]) -> str:
    """Of pictures by their bytes and classes, whatever they are called and in whatever order they come."""
    sums = pack.looks["sha256"]
    lines = sorted(f"{bytes(sums[row]).hex()} {pack.class_names[pack.labels[row]]}" for row in rows.tolist())
    return hashlib.sha256("\n".join(lines).encode(errors="backslashreplace")).hexdigest()


def pictures_in_words(report: dict[str, Any]) -> list[str]:
    """The last lines of a run: how many were seen, used, noted and skipped, by reason."""
    lines = [f"pictures: {report['num_seen']:,} seen, {report['num_used']:,} used, {report['num_skipped']:,} skipped"]
    if report.get("num_set_aside"):
        lines[0] += f", {report['num_set_aside']:,} set aside (copies across parts or classes)"
    if report.get("num_left_out"):
        lines[0] += f", {report['num_left_out']:,} not learned from (--fraction)"
    for key, what in (("skipped", "skipped"), ("noted", "used, but noted")):
        if report[key]:
            lines.append(f"  {what}: " + ", ".join(f"{count:,} {reason}" for reason, count in report[key].items()))
    return lines


def _num_seen(pack: Pack) -> int:
    """Broken pictures of the pack are in `names` and in `skipped`."""
    return len(pack.names) + len(pack.skipped) - sum(1 for reason in pack.reasons if reason)


def _reasons(pack: Pack) -> str:
    counts = Counter(skipped.reason for skipped in pack.skipped if skipped.reason not in _HARMLESS)
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
