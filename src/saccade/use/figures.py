"""Drawings: learning curves as matplotlib figures, figures as SVG that follows a page's colours, thumbnails."""

from __future__ import annotations

import base64
import html
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from saccade.recipe import Metric
from saccade.whole import whole_file

Quantity = Literal["loss", "accuracy"]
Results = Sequence[Mapping[str, float]]

# Every colour that a figure may use, and the property of the page's stylesheet that stands for it there.
ACCENT, INK, MUTED, LINE = "#1d6a86", "#1c1f23", "#666c73", "#e3e3de"
_PROPERTIES: Mapping[str, str] = MappingProxyType(
    {ACCENT: "var(--accent)", INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"}
)
# For lines of one figure: told apart by most people, and at least 3:1 against a light and a dark page.
COLOURS = (ACCENT, "#c2703d", "#7f76c0", "#4f9a5b", "#c05a78", "#8f8a3c", "#4f7fd0", "#9a7358")
PAGE_COLOURS = (_PROPERTIES[ACCENT], *COLOURS[1:])  # the same in a page's own style
_WIDTH, _HEIGHT = 420, 270  # points: half a page wide on a desktop, the whole width of a phone
_POINTS_PER_INCH = 72
_DOTTED_UP_TO = 15  # epochs; with more of them the dots would hide the line

_THUMBNAIL_SIDE = 160
_LOSSLESS_SIDE = 32  # up to this PNG is small, and JPEG would blur every pixel


def best_epoch(results: Results, by: Metric | None = None) -> int:
    """The epoch whose weights were kept: the highest validation accuracy, then the lowest loss, then the first.

    By val_loss the loss comes before the accuracy.
    """

    def rank(row: Mapping[str, float]) -> tuple[float, float, float]:
        accuracy, loss = row["val_accuracy"], -row["val_loss"]
        return (loss, accuracy, -row["epoch"]) if by == "val_loss" else (accuracy, loss, -row["epoch"])

    return int(max(results, key=rank)["epoch"])


def curve(results: Results, quantity: Quantity, best: int | None = None) -> Figure:
    """How the loss or the accuracy went over the epochs, in training and in validation.

    Args:
        results: a record per epoch, as in results.csv; at least one.
        quantity: loss (nats per picture) or accuracy (0..1).
        best: the epoch whose weights were kept; None: as `best_epoch` finds it.
    """
    figure = Figure(figsize=(_WIDTH / _POINTS_PER_INCH, _HEIGHT / _POINTS_PER_INCH), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in results]
    marker = "o" if len(results) <= _DOTTED_UP_TO else ""
    for part, words, colour, width in (("train", "training", MUTED, 1.4), ("val", "validation", ACCENT, 2.0)):
        values = [row[f"{part}_{quantity}"] for row in results]
        axes.plot(epochs, values, color=colour, linewidth=width, marker=marker, markersize=3, label=words)
    best = best_epoch(results) if best is None else best
    height = results[epochs.index(best)][f"val_{quantity}"]
    ring = axes.scatter([best], [height], s=80, facecolor="none", edgecolor=ACCENT, linewidth=1.6, clip_on=False)
    ring.set_label(f"kept: epoch {best}")
    room = 0.03 * (epochs[-1] - epochs[0]) or 0.5  # one epoch alone has no extent of its own
    axes.set_xlim(epochs[0] - room, epochs[-1] + room)
    _dress(axes, quantity)
    return figure


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure as SVG on white paper, whole or not at all.

    Letters stay letters: whoever looks at the file brings a font that has them, which Matplotlib's may not.
    """
    with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "none"}), whole_file(path) as partial:
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(partial, format="svg", facecolor="white", metadata={"Date": None})


def themed_svg(figure: Figure, description: str) -> str:
    """A figure as an <svg> element whose colours and letters are those of the page around it.

    Matplotlib writes a file: prolog, metadata, a style for everything (`*`, the page's elements included), fonts and
    fixed colours. What remains here is the drawing alone; the figure keeps no ground. `description` is for those who
    cannot see it.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    for ground in (figure.patch, *(axes.patch for axes in figure.axes)):
        ground.set(facecolor="none", edgecolor="none")
    # Letters stay text; the salt makes the names inside repeatable, and different in different figures of a page.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        # Not `savefig`, which goes through all that is drawn twice: the same drawing in 0.7 of the time.
        FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)  # type: ignore[no-untyped-call]
    drawing = buffer.getvalue().partition("<svg")[2].partition(">")[2]
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    drawing = re.sub(r"font-family: [^;\"]*;?", "", drawing)
    drawing = re.sub(r'"[^"]*"', lambda quoted: re.sub(r"(\.\d\d)\d+", r"\1", quoted[0]), drawing)  # a third smaller
    for colour, stands_for in _PROPERTIES.items():
        drawing = drawing.replace(colour, stands_for)
    width, height = (f"{inches * _POINTS_PER_INCH:.1f}" for inches in figure.get_size_inches())
    label = html.escape(description)
    return f'<svg class="figure" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{drawing}'.rstrip()


def thumbnail(pixels: npt.NDArray[np.uint8], size: tuple[int, int] | None = None, most: int = _THUMBNAIL_SIDE) -> str:
    """A picture (H, W, 1) or (H, W, 3) as a data URI of at most 160 × 160 pixels.

    Args:
        pixels: uint8.
        size: width and height whose proportions it is given back, where it was squashed; None: it has them.
        most: its longer side is at most so many pixels.

    It is encoded anew from its pixels: nothing that lay beside them in a file (EXIF, place, comments) comes along.
    """
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if size is not None and size[0] != size[1]:
        side = min(most, max(picture.size))
        width, height = (max(1, round(side * length / max(size))) for length in size)
        picture = picture.resize((width, height))
    picture.thumbnail((most, most))
    lossless = max(picture.size) <= _LOSSLESS_SIDE
    buffer = io.BytesIO()
    if lossless:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=85, optimize=True)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def dress(axes: Axes, title: str, labels: tuple[str, str], columns: int = 2) -> None:
    """Title, labels (across, up), legend and lines in a quiet hand."""
    has_legend = bool(axes.get_legend_handles_labels()[1])
    axes.set_title(title, loc="left", pad=28 if has_legend else 12, color=INK, fontsize=14, fontweight="bold")
    if has_legend:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 0.99),
            ncols=columns,
            frameon=False,
            labelcolor=MUTED,
            fontsize=12,
            handlelength=1.3,
            columnspacing=1.4,
            borderpad=0.3,
        )
    axes.set_xlabel(labels[0], color=MUTED, fontsize=12)
    axes.set_ylabel(labels[1], color=MUTED, fontsize=12)
    axes.tick_params(which="both", colors=MUTED, labelsize=12, length=0)
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)


def _dress(axes: Axes, quantity: Quantity) -> None:
    """What stands around a curve over epochs: whole epochs across, few round values up."""
    dress(axes, quantity.capitalize(), ("epoch", ""), columns=3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    low, high = axes.dataLim.intervaly
    if quantity == "loss":
        axes.set_ylim(0, 1.08 * high if 0 < high < math.inf else 1)  # a training that broke down still has a figure
    else:
        axes.set_ylim(max(0.0, low - 0.03), min(1.01, high + 0.03))  # a line at 100 % is not cut through its middle
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
