"""A comparison drawn: accuracy over the number of training pictures, and over what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from saccade.use.figures import ACCENT, COLOURS, INK, MUTED, dress

_WIDTH, _POINTS_PER_INCH = 420, 72

Record = Mapping[str, Any]
Cost = Literal["seconds", "pictures_per_second"]


def curves_figure(curves: Sequence[Record]) -> Figure:
    """The learning curves with their 95 % intervals, the number of pictures on a logarithmic axis.

    What is whose stands on the page, where names of any length have room: the curves take turns with `COLOURS`.

    Args:
        curves: of compare.json, one at least.
    """
    figure = Figure(figsize=(_WIDTH / _POINTS_PER_INCH, 300 / _POINTS_PER_INCH), layout="constrained")
    axes = figure.subplots()
    dodge = 0.012  # so that bars at the same number do not cover each other
    for number, curve in enumerate(curves):
        colour, shift = COLOURS[number % len(COLOURS)], 1 + dodge * (number - (len(curves) - 1) / 2)
        across = [point["num_train"] * shift for point in curve["points"]]
        up = [point["accuracy"] for point in curve["points"]]
        low, high = zip(*(point["interval"] for point in curve["points"]), strict=True)
        errors = [[max(0.0, a - b) for a, b in zip(up, low, strict=True)], _above(up, high)]
        style = "-" if number < len(COLOURS) else "--"
        axes.errorbar(across, up, errors, color=colour, linestyle=style, marker="o", markersize=4, elinewidth=1)
    dress(axes, "Accuracy", ("training pictures", ""))
    numbers = sorted({int(point["num_train"]) for curve in curves for point in curve["points"]})
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    return figure


def price_figure(standings: Sequence[Record], cost: Cost) -> Figure:
    """Accuracy with its 95 % interval over a cost, each recipe marked with its rank in the table.

    Args:
        standings: of compare.json, the best first.
        cost: of one training, or of predicting.
    """
    figure = Figure(figsize=(_WIDTH / _POINTS_PER_INCH, 300 / _POINTS_PER_INCH), layout="constrained")
    axes = figure.subplots()
    across = [max(float(each[cost]), 1e-3) for each in standings]
    up = [float(each["accuracy"]) for each in standings]
    low, high = zip(*(each["interval"] for each in standings), strict=True)
    below = [max(0.0, a - b) for a, b in zip(up, low, strict=True)]
    axes.errorbar(across, up, [below, _above(up, high)], color=MUTED, linestyle="", elinewidth=1)
    axes.scatter(across, up, s=40, color=ACCENT, zorder=3)
    for rank, (x, y) in enumerate(zip(across, up, strict=True), start=1):
        offset = (7, 5 if rank % 2 else -13)  # neighbours in the table are often neighbours here
        axes.annotate(str(rank), (x, y), offset, textcoords="offset points", color=INK, fontsize=12, fontweight="bold")
    words = {"seconds": "seconds of one training", "pictures_per_second": "pictures per second when predicting"}
    dress(axes, "Accuracy", (words[cost], ""))
    _logarithmic(axes, across)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    return figure


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """Where values lie far apart; ticks are plain numbers."""
    if max(values) > 10 * min(values):
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 1.6, max(values) * 1.9)
        # Over more than two decades numbers at 2 and 5 would run into each other.
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 60 * min(values) else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = 0.1 * (max(values) - min(values)) or 0.5 * max(values)
        axes.set_xlim(max(0.0, min(values) - room), max(values) + 1.5 * room)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def _above(up: Sequence[float], high: Sequence[float]) -> list[float]:
    return [max(0.0, b - a) for a, b in zip(up, high, strict=True)]
