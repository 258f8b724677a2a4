"""What a check found, as text for a terminal."""

from __future__ import annotations

from typing import Any

from saccade.data.audit import pictures_in_words
from saccade.data.listing import TEST, TRAIN, VAL
from saccade.data.outliers import OUTLIERS
from saccade.use.check import Checked
from saccade.use.tables import aligned

_MOST_CLASSES = 60
_EXAMPLES = 3
_TOP_SUSPECTS = 10


def checked_in_words(checked: Checked) -> str:
    """Classes by split, then a line per finding, then what should not be overlooked."""
    report = checked.report
    lines = [*_classes(report), "", *pictures_in_words(report), *_looks(report), *_copies(report), *_outliers(report)]
    lines += _suspects(report["suspects"])
    lines += (
        ["", *(f"! {sentence}" for sentence in report["warnings"])] if report["warnings"] else ["", "nothing found"]
    )
    return "\n".join(lines)


def _classes(report: dict[str, Any]) -> list[str]:
    made = "as given, the rest drawn" if report["splits_given"] else "as they would be drawn"
    cells = [["class", TRAIN, VAL, TEST, "all"]]
    counted = list(report["classes"].items())
    for name, parts in counted[:_MOST_CLASSES]:
        cells.append([name, *(f"{parts[part]:,}" for part in (TRAIN, VAL, TEST)), f"{sum(parts.values()):,}"])
    totals = [sum(parts[part] for _, parts in counted) for part in (TRAIN, VAL, TEST)]
    cells.append(["all", *(f"{total:,}" for total in totals), f"{sum(totals):,}"])
    more = [f"… and {len(counted) - _MOST_CLASSES:,} more classes"] if len(counted) > _MOST_CLASSES else []
    return [f"{report['source']} ({len(counted):,} classes, parts {made})", "", aligned(cells, left=1), *more]


def _looks(report: dict[str, Any]) -> list[str]:
    width, height = report["sizes"]["width"], report["sizes"]["height"]
    formats = ", ".join(f"{count:,} {name}" for name, count in report["formats"].items())
    return [
        f"sizes: {width['least']}×{height['least']} to {width['most']}×{height['most']}, "
        f"median {width['median']:g}×{height['median']:g}",
        f"formats: {formats}; {report['num_grey']:,} without colour",
    ]


def _copies(report: dict[str, Any]) -> list[str]:
    copies, leaks, conflicts = report["duplicates"], report["leaks"], report["conflicts"]
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in copies["num_pairs"].items())
    lines = [
        f"copies: {copies['num_groups']:,} more than once (pairs: {kinds}); "
        f"{copies['num_pairs_across_classes']:,} pairs across classes",
        f"leaks: {leaks['num_test']:,} test and {leaks['num_val']:,} val pictures are on an earlier side too",
    ]
    lines += [f"  {' = '.join(group[:_EXAMPLES])}" for group in copies["groups"][:_EXAMPLES]]
    lines += [f"  in two classes: {name}" for name in conflicts["pictures"][:_EXAMPLES]]
    return lines


def _outliers(report: dict[str, Any]) -> list[str]:
    lines = []
    for name, about in report["outliers"].items():
        if about["num_pictures"]:
            examples = ", ".join(about["pictures"][:_EXAMPLES])
            lines.append(f"{name.replace('_', ' ')}: {about['num_pictures']:,} ({OUTLIERS[name]}): {examples}")
    return lines


def _suspects(suspects: dict[str, Any] | None) -> list[str]:
    if suspects is None:
        return ["labels: not looked at; --run RUN (or --run resnet18) does"]
    lines = [f"labels: {suspects['num_pictures']:,} look wrong"]
    cells = [
        [f"  {each['picture']}", each["label"], each["likely"], f"{each['confidence']:.1%}"]
        for each in suspects["pictures"][:_TOP_SUSPECTS]
    ]
    header = ["  picture", "label", "rather", "sure"]
    return [*lines, aligned([header, *cells], left=3)] if cells else lines
