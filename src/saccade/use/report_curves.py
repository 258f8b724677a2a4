"""How well each class is told from the rest, for the page: ROC and precision-recall curves, areas with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure

from saccade.use.figures import COLOURS, MUTED, PAGE_COLOURS, dress, themed_svg

_WIDTH, _HEIGHT, _POINTS_PER_INCH = 420, 340, 72

Record = Mapping[str, Any]
Kind = Literal["roc", "precision_recall"]
# What it is called where it cannot be seen; its title; its axes.
_KINDS: Mapping[Kind, tuple[str, str, tuple[str, str]]] = MappingProxyType(
    {
        "roc": ("ROC curves, each class against all others", "ROC", ("others taken for it", "found of its own")),
        "precision_recall": ("Precision over recall", "Precision and recall", ("recall", "precision")),
    }
)


class Line(NamedTuple):
    """A curve of a figure: its colour on the page, its class and the area under it."""

    colour: str
    class_name: str
    area: float


class Drawn(NamedTuple):
    """A figure as SVG, and what its lines are."""

    svg: str
    lines: tuple[Line, ...]


class AreaRow(NamedTuple):
    """A class of the test pictures: areas 0..1, their 95 % intervals where these are known, and its pictures."""

    name: str
    roc: float | None
    interval: Sequence[float] | None
    average_precision: float | None
    precision_interval: Sequence[float] | None
    support: int


class Separation(NamedTuple):
    """Both figures, and the areas of all classes, the smallest first.

    Attributes:
        two: of two classes the one that is drawn; "" where there are more.
        roc: the curves with the smallest areas.
        precision_recall: likewise.
        num_others: classes that have a curve but are not drawn.
        rows: all classes.
    """

    two: str
    roc: Drawn
    precision_recall: Drawn
    num_others: int
    rows: tuple[AreaRow, ...]


def separate(test: Record, curves: Record) -> Separation | None:
    """The section's record; None for runs of before, which have no curves, and where there is nothing to draw.

    Args:
        test: the entry of metrics.json.
        curves: curves.json.
    """
    rows = tuple(_area_row(each) for each in test.get("classes", ()))
    kinds = [sorted(curves.get(kind, ()), key=lambda curve: curve["area"]) for kind in ("roc", "precision_recall")]
    if not rows or not all(kinds):
        return None
    # Two classes: one is told from the other as the other is from it, so both figures show the one found less surely.
    two = str(kinds[1][0]["class"]) if len(rows) == 2 else ""
    roc, precise = ([each for each in kind if two in ("", each["class"])] for kind in kinds)
    rows = tuple(sorted(rows, key=lambda row: (row.roc is None, row.roc or 0, row.average_precision or 0)))
    num_others = 0 if two else sum(row.roc is not None for row in rows) - len(roc[: len(COLOURS)])
    return Separation(two, _drawn("roc", roc), _drawn("precision_recall", precise), num_others, rows)


def _area_row(each: Record) -> AreaRow:
    roc = each["roc_auc"], each.get("roc_auc_interval")
    precise = each["average_precision"], each.get("average_precision_interval")
    return AreaRow(each["name"], *roc, *precise, each["support"])


def _drawn(kind: Kind, curves: Sequence[Record]) -> Drawn:
    shown = curves[: len(COLOURS)]
    lines = tuple(Line(colour, each["class"], each["area"]) for colour, each in zip(PAGE_COLOURS, shown, strict=False))
    return Drawn(themed_svg(_figure(kind, shown), _KINDS[kind][0]), lines)


def _figure(kind: Kind, curves: Sequence[Record]) -> Figure:
    """The curves, the smallest area on top. What is whose stands on the page, where names of any length have room."""
    figure = Figure(figsize=(_WIDTH / _POINTS_PER_INCH, _HEIGHT / _POINTS_PER_INCH), layout="constrained")
    axes = figure.subplots()
    if kind == "roc":
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=":")
    for at, each in reversed(list(enumerate(curves))):
        axes.plot(each["across"], each["up"], color=COLOURS[at], linewidth=2 if at == 0 else 1.5)
    _, title, labels = _KINDS[kind]
    dress(axes, title, labels)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.03)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    return figure
