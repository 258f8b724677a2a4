"""An evaluation drawn: how far confidence can be trusted, what "not sure" costs, the curves, the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saccade.data.listing import VAL
from saccade.errors import ResourceError
from saccade.evaluation.curves import Curve, precision_recall_curves, roc_curves
from saccade.evaluation.evidence import Evidence
from saccade.metrics import ConfidenceBin, Evaluation, wilson
from saccade.runs import RunFolder
from saccade.use.figures import ACCENT, INK, LINE, MUTED, best_epoch, curve, save_svg

_POINTS_PER_INCH = 72
_SIDE = 330  # points
_MOST_NAMED = 10  # classes that a legend names and that each have a colour of their own
_WIDEST_WITH_NUMBERS = 15
_LONGEST_NAME = 18


def write_figures(found: Evidence, folder: Path) -> list[Path]:
    """Draw all figures of an evaluation as SVG; returns where they lie.

    Raises:
        ResourceError: the folder cannot be made or written.
    """
    drawn = {
        "reliability": reliability_diagram(found),
        "coverage": coverage_curve(found),
        "roc": class_curves(roc_curves(found), "roc"),
        "precision_recall": class_curves(precision_recall_curves(found), "precision_recall"),
        "confusion": confusion_matrix(found),
    }
    return _write(drawn, folder)


def write_curves(run: RunFolder, folder: Path) -> list[Path]:
    """Draw a run's loss and accuracy over the epochs as SVG; nothing where its head was solved and nothing learned.

    Raises:
        ResourceError: the folder cannot be made or written.
    """
    results = run.results
    if not any(row["epoch"] > 0 for row in results):
        return []
    best = best_epoch(results, run.recipe.best_by) if VAL in run.metrics else int(results[-1]["epoch"])
    return _write({"loss": curve(results, "loss", best), "accuracy": curve(results, "accuracy", best)}, folder)


def _write(drawn: Mapping[str, Figure], folder: Path) -> list[Path]:
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            paths.append(folder / f"{name}.svg")
            save_svg(figure, paths[-1])
    except OSError as error:
        raise ResourceError(f"the figures cannot be written: {error.strerror}", where=str(folder)) from None
    return paths


def reliability_diagram(found: Evidence) -> Figure:
    """The share that was right at each confidence, with its 95 % interval; below it how many pictures there were.

    A network that can be trusted stays on the diagonal. Where it was calibrated, what it was before is drawn too.
    """
    figure = Figure(figsize=(_SIDE / _POINTS_PER_INCH, 1.15 * _SIDE / _POINTS_PER_INCH), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    above.plot((0, 1), (0, 1), color=LINE, linewidth=1.5)
    if found.temperature != 1:
        before = found.uncalibrated
        label = f"at temperature 1 (ECE {before.ece:.1%})"
        _draw_bins(above, before.confidence_bins(), MUTED, label)
    _draw_bins(above, found.confidence_bins(), ACCENT, f"as it answers (ECE {found.ece:.1%})")
    _dress(above, "Reliability", "", "right")
    above.set_ylim(-0.02, 1.02)
    bins = found.confidence_bins()
    widths = [each.high - each.low for each in bins]
    below.bar([each.low for each in bins], [each.num_pictures for each in bins], widths, align="edge", color=ACCENT)
    _dress(below, "", "confidence", "pictures", shares=False)
    below.set_xlim(-0.02, 1.02)
    return figure


def coverage_curve(found: Evidence) -> Figure:
    """What share of the answers is right when only the surest pictures are answered, with its 95 % interval."""
    figure, axes = _square()
    total = len(found.labels)
    shares = [step.num_answered / total for step in found.coverage]
    right = [step.num_correct / step.num_answered for step in found.coverage]
    bounds = np.array([wilson(step.num_correct, step.num_answered) for step in found.coverage])
    axes.fill_between(shares, bounds[:, 0], bounds[:, 1], color=ACCENT, alpha=0.15, linewidth=0)
    axes.plot(shares, right, color=ACCENT, linewidth=2)
    chosen = found.answered
    if found.certainty.min_accuracy and chosen.num_answered:
        across, up = [chosen.num_answered / total], [chosen.num_correct / chosen.num_answered]
        label = f"from a confidence of {chosen.threshold:.1%}"
        axes.scatter(across, up, s=70, facecolor="none", edgecolor=INK, zorder=3, label=label)
        axes.axhline(found.certainty.min_accuracy, color=MUTED, linewidth=1, linestyle=":")
    _dress(axes, 'Coverage: what "not sure" costs', "share answered", "right")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(max(0.0, float(bounds[:, 0].min()) - 0.03), 1.01)
    return figure


def class_curves(curves: Sequence[Curve], kind: str) -> Figure:
    """ROC (`roc`) or precision-recall curves (`precision_recall`), each class against the rest.

    With more than ten classes the ten with the smallest areas are named, and the others are drawn behind them.
    """
    figure, axes = _square()
    ranked = sorted(curves, key=lambda curve: curve.area)
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for unnamed in ranked[_MOST_NAMED:]:
        axes.plot(unnamed.across, unnamed.up, color=LINE, linewidth=0.8)
    for named, colour in zip(ranked[:_MOST_NAMED], colours, strict=False):
        label = f"{_plain(_short(named.class_name))}  {named.area:.3f}"
        axes.plot(named.across, named.up, color=colour, linewidth=1.4, label=label)
    if kind == "roc":
        axes.plot((0, 1), (0, 1), color=LINE, linewidth=1)
        _dress(axes, "ROC", "others taken for it", "of its own found")
    else:
        _dress(axes, "Precision and recall", "recall", "precision")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    return figure


def confusion_matrix(found: Evaluation) -> Figure:
    """Shares of the true class by colour; the counts stand in the cells where there are few classes."""
    num = len(found.class_names)
    side = max(_SIDE, 26 * num + 110) / _POINTS_PER_INCH
    figure = Figure(figsize=(min(side, 14), min(side, 14)), layout="constrained")
    axes = figure.subplots()
    counts = found.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if num <= _WIDEST_WITH_NUMBERS:
        for row, column in np.argwhere(counts > 0).tolist():
            colour = "white" if shares[row, column] > 0.5 else INK
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=9)
    names = [_plain(_short(name)) for name in found.class_names]
    size = 10 if num <= 2 * _WIDEST_WITH_NUMBERS else 5
    axes.set_xticks(range(num), names, rotation=90 if num * max(map(len, names)) > 40 else 0, fontsize=size)
    axes.set_yticks(range(num), names, fontsize=size)
    axes.tick_params(colors=MUTED, length=0)
    axes.set_xlabel("predicted", color=MUTED)
    axes.set_ylabel("true class", color=MUTED)
    axes.spines[:].set_color(LINE)
    return figure


def _draw_bins(axes: Axes, bins: Sequence[ConfidenceBin], colour: str, label: str) -> None:
    where = [each.confidence for each in bins]
    right = np.array([each.accuracy for each in bins])
    bounds = np.array([wilson(each.num_correct, each.num_pictures) for each in bins])
    errors = np.clip([right - bounds[:, 0], bounds[:, 1] - right], 0, None)
    axes.errorbar(
        where, right, errors, color=colour, marker="o", markersize=3.5, linewidth=1.4, elinewidth=0.7, label=label
    )


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_SIDE / _POINTS_PER_INCH, _SIDE / _POINTS_PER_INCH), layout="constrained")
    return figure, figure.subplots()


def _dress(axes: Axes, title: str, across: str, up: str, *, shares: bool = True) -> None:
    """Title, labels, legend and lines in a quiet hand."""
    if title:
        axes.set_title(title, loc="left", color=INK, fontsize=13, fontweight="bold")
    axes.set_xlabel(across, color=MUTED, fontsize=11)
    axes.set_ylabel(up, color=MUTED, fontsize=11)
    axes.tick_params(colors=MUTED, labelsize=10, length=0)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    if shares:
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best", facecolor="white", edgecolor="none", framealpha=0.8, labelcolor=MUTED, fontsize=9)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _plain(name: str) -> str:
    """Matplotlib takes what stands between two dollar signs for mathematics."""
    return name.replace("$", r"\$")
