"""The curve of a search for the learning rate, as a picture and as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from saccade.data.cells import write_csv
from saccade.use.figures import ACCENT, INK, LINE, MUTED
from saccade.whole import whole_file

_DOTS_PER_INCH = 150
_ABOVE = 0.3  # of the height the loss fell by: how far above its beginning the picture reaches


class Tried(NamedTuple):
    """One update of the search: the rate, the loss of its batch in nats, and that averaged with those before it."""

    rate: float
    loss: float
    smoothed: float


def write_rates(stem: Path, tried: Sequence[Tried], marks: Mapping[str, float]) -> tuple[Path, Path]:
    """Write STEM.png and STEM.csv; returns both.

    Args:
        stem: path without suffix; what was there under these names is replaced.
        tried: ascending in their rates.
        marks: what is said of single rates, by words such as "suggested".
    """
    picture, table = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.csv")
    stem.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(picture) as partial:
        rate_curve(tried, marks).savefig(partial, format="png", dpi=_DOTS_PER_INCH)
    write_csv(table, Tried._fields, tried)
    return picture, table


def rate_curve(tried: Sequence[Tried], marks: Mapping[str, float]) -> Figure:
    """The loss over the rate, with the rates that are suggested.

    Args:
        tried: at least one, ascending in their rates.
        marks: words -> rate, one of those tried.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    rates, smoothed = [each.rate for each in tried], [each.smoothed for each in tried]
    axes.plot(rates, [each.loss for each in tried], color=MUTED, linewidth=0.9, alpha=0.55, label="each batch")
    axes.plot(rates, smoothed, color=ACCENT, linewidth=2, label="averaged")
    axes.set_xscale("log")
    axes.set_ylim(*_span(tried))
    axes.set_xlim(rates[0], max(rates[-1], 1.01 * rates[0]))
    for number, (words, rate) in enumerate(marks.items()):
        height = smoothed[rates.index(rate)]
        axes.scatter([rate], [height], s=70, facecolor="none", edgecolor=INK, linewidth=1.5, zorder=3)
        axes.annotate(
            f"{words} {rate:.2g}",
            (rate, height),
            (-22, -20 - 18 * number),  # below and to the left of the fall there is room, a line for each
            textcoords="offset points",
            horizontalalignment="right",
            color=INK,
            fontsize=11,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.8, "shrinkB": 5},
        )
    axes.set_title("Loss at rising learning rates", loc="left", color=INK, fontsize=14, fontweight="bold", pad=24)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=2, frameon=False, labelcolor=MUTED, fontsize=11)
    axes.set_xlabel("learning rate", color=MUTED, fontsize=12)
    axes.tick_params(which="both", colors=MUTED, labelsize=11, length=0)
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    return figure


def _span(tried: Sequence[Tried]) -> tuple[float, float]:
    """The losses that the picture reaches over: what diverged is cut off, or nothing else could be seen."""
    losses = [each.loss for each in tried]
    begin = float(np.median(losses[: max(len(losses) // 5, 1)]))
    room = max(begin - min(losses), 0.1 * abs(begin), 1e-3)
    return max(min(losses) - 0.08 * room, 0.0), begin + _ABOVE * room
