"""The page of a check: one HTML file with the pictures that were found, self-contained and silent like the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.duplicates import Kind
from saccade.data.outliers import OUTLIERS
from saccade.use.check import Checked
from saccade.use.figures import thumbnail
from saccade.use.report_page import page_templates
from saccade.use.report_pictures import size_before
from saccade.whole import whole_file

_MOST_PAIRS = 24
_MOST_PICTURES = 12  # of each kind of outlier
_MOST_SUSPECTS = 48


class Shown(NamedTuple):
    """A picture on the page: its name, class and part, and a data URI."""

    name: str
    class_name: str
    part: str
    image: str


class ShownPair(NamedTuple):
    """Two pictures that are the same, how alike they are (0..1), and the kind in words."""

    first: Shown
    second: Shown
    likeness: float
    kind: str


class ShownSuspect(NamedTuple):
    """A picture whose label looks wrong: what it rather shows, and how sure that is."""

    shown: Shown
    likely: str
    confidence: float


class Section(NamedTuple):
    """Pictures under a heading: some of `total`."""

    name: str
    words: str
    total: int
    pictures: tuple[Shown, ...]


def write_check_page(path: Path, checked: Checked) -> Path:
    """Write the page; returns where it lies."""
    with whole_file(path) as partial:
        partial.write_text(render_check(checked), encoding="utf-8", errors="backslashreplace")
    return path


def render_check(checked: Checked) -> str:
    """The page as text."""
    return (
        page_templates()
        .get_template("check.html")
        .render(
            name=Path(checked.listing.source).name,
            data=checked.report,
            leaks=tuple(_pairs(checked, _leaking(checked))),
            conflicts=tuple(_pairs(checked, _conflicting(checked))),
            copies=tuple(_pairs(checked, _weakest_and_strongest(checked))),
            outliers=tuple(_outliers(checked)),
            suspects=tuple(_suspects(checked)),
            version=version("saccade"),
        )
    )


def _pairs(checked: Checked, chosen: Sequence[int]) -> Iterator[ShownPair]:
    words = {Kind.EXACT: "the same file", Kind.NEAR: "the same picture", Kind.MIRRORED: "mirrored"}
    for pair in checked.duplicates.pairs[list(chosen)]:
        first, second = (_shown(checked, int(pair[side])) for side in ("first", "second"))
        yield ShownPair(first, second, float(pair["likeness"]), words[Kind(int(pair["kind"]))])


def _leaking(checked: Checked) -> list[int]:
    parts, pairs = checked.parts, checked.duplicates.pairs
    first, second = parts[pairs["first"]], parts[pairs["second"]]
    return _spread(np.flatnonzero((first != second) & (first != "") & (second != "")))


def _conflicting(checked: Checked) -> list[int]:
    labels, pairs = checked.pack.labels, checked.duplicates.pairs
    return _spread(np.flatnonzero(labels[pairs["first"]] != labels[pairs["second"]]))


def _weakest_and_strongest(checked: Checked) -> list[int]:
    """All degrees of likeness, so that a reader sees where the line was drawn."""
    return _spread(np.argsort(-checked.duplicates.pairs["likeness"], kind="stable"))


def _spread(found: npt.NDArray[np.int64]) -> list[int]:
    places = np.unique(np.linspace(0, len(found) - 1, min(_MOST_PAIRS, len(found))).astype(int))
    return [int(index) for index in found[places]]


def _outliers(checked: Checked) -> Iterator[Section]:
    row_of = {name: row for row, name in enumerate(checked.pack.names)}
    for name, about in checked.report["outliers"].items():
        if about["num_pictures"]:
            shown = tuple(_shown(checked, row_of[picture]) for picture in about["pictures"][:_MOST_PICTURES])
            yield Section(name.replace("_", " "), OUTLIERS[name], about["num_pictures"], shown)


def _suspects(checked: Checked) -> Iterator[ShownSuspect]:
    for suspect in checked.suspects[:_MOST_SUSPECTS]:
        likely = checked.pack.class_names[suspect.likely]
        yield ShownSuspect(_shown(checked, suspect.picture), likely, suspect.confidence)


def _shown(checked: Checked, row: int) -> Shown:
    pack = checked.pack
    part = str(checked.parts[row])
    return Shown(
        pack.names[row], pack.class_names[pack.labels[row]], part, thumbnail(pack.images[row], size_before(pack, row))
    )
