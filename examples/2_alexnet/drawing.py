"""The drawings of exercise 2: three variants at two rates; rate and loss of a training that waits for a plateau."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

ACCENT, MUTED, INK, LINE, MARKED = "#1d6a86", "#9aa1a8", "#1c1f23", "#e3e3de", "#c2703d"
COLOURS = (ACCENT, "#9cc3d1")
VARIANTS = ("alexnet_lrn", "alexnet", "alexnet_bn")


def draw_variants(found: Mapping[float, Mapping[str, Any]], folder: Path) -> None:
    """A bar per variant and rate with its 95 % interval, and what guessing gives: variants.svg.

    Args:
        found: by rate, what compare.json holds.
        folder: where.
    """
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(found)
    for number, ((rate, comparison), colour) in enumerate(zip(found.items(), COLOURS, strict=False)):
        standings = {each["label"]: each for each in comparison["standings"]}
        for place, name in enumerate(VARIANTS):
            accuracy, (low, high) = standings[name]["accuracy"], standings[name]["interval"]
            where = place + (number - (len(found) - 1) / 2) * width
            axes.bar(where, accuracy, 0.92 * width, color=colour, label=f"rate {rate:g}" if place == 0 else None)
            axes.errorbar(where, accuracy, [[accuracy - low], [high - accuracy]], color=INK, linewidth=1)
            axes.text(where, high + 0.015, f"{accuracy:.1%}", ha="center", color=INK, fontsize=10)
    baseline = next(iter(found.values()))["baseline"]
    axes.axhline(baseline, color=MARKED, linewidth=1, linestyle="--", label="always the same class")
    axes.set_xticks(range(len(VARIANTS)), VARIANTS)
    axes.set_ylim(0, 1)
    _dress(axes, "Test accuracy")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    figure.savefig(folder / "variants.svg", metadata={"Date": None})


def draw_plateau(results: Sequence[Mapping[str, float]], folder: Path) -> None:
    """Losses above, the rate of each epoch below, its falls marked in both: plateau.svg."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    epochs = [int(row["epoch"]) for row in results]
    for part, words, colour in (("train", "training", MUTED), ("val", "validation", ACCENT)):
        above.plot(epochs, [row[f"{part}_loss"] for row in results], color=colour, linewidth=2, label=words)
    best = min(results, key=lambda row: row["val_loss"])
    above.scatter([best["epoch"]], [best["val_loss"]], s=70, facecolor="none", edgecolor=INK, zorder=3, label="lowest")
    # results.csv has the rate after the epoch's last update: an epoch learns at the rate of the row before it.
    rates = [results[0]["learning_rate"], *(row["learning_rate"] for row in results[:-1])]
    below.step(epochs, rates, where="mid", color=ACCENT, linewidth=2)
    below.set_yscale("log")
    below.yaxis.set_minor_formatter(NullFormatter())
    for epoch, earlier, now in zip(epochs[1:], rates, rates[1:], strict=False):
        if now < 0.9 * earlier:
            for axes in (above, below):
                axes.axvline(epoch - 0.5, color=MARKED, linewidth=1, linestyle=":")
    below.set_xlabel("epoch", color=INK)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    above.set_ylim(0)
    _dress(above, "Loss")
    _dress(below, "Learning rate")
    figure.savefig(folder / "plateau.svg", metadata={"Date": None})


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, color=INK)
    axes.grid(axis="y", color=LINE)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(which="both", length=0)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), fontsize=10)
