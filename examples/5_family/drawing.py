"""The drawings of exercise 5: gradients by stage, first losses, accuracy over cost, accuracy over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK, LINE, MUTED = "#1c1f23", "#e3e3de", "#666c73"
BESIDE = {  # else names would meet
    "resnet32_cifar": ((-8, 4), "right"),
    "inception_v3": ((-20, -4), "right"),
    "resnet18_cifar": ((16, -4), "left"),
    "densenet_cifar": ((-5, 7), "right"),
    "googlenet_cifar": ((0, -25), "center"),
}
COLOURS = ("#1d6a86", "#c2703d", "#7f76c0", "#444b54", "#4f9a5b", "#c05a78", "#8a7a3c")


class Result(NamedTuple):
    """What a training of the family gave: accuracy 0..1 with its 95 % interval, and what it cost."""

    name: str
    accuracy: float
    low: float
    high: float
    parameters: int
    multiply_adds: int
    seconds: float
    val_accuracy: Sequence[float]


def draw_family(results: Sequence[Result], folder: Path, seconds: str = "seconds of training") -> None:
    """Accuracy over seconds of training and over multiply-adds per picture: family.svg."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, cost, words in (
        (left, "seconds", seconds),
        (right, "multiply_adds", "multiply-adds of one picture"),
    ):
        for result, colour in zip(results, COLOURS, strict=False):
            across = getattr(result, cost)
            errors = [[result.accuracy - result.low], [result.high - result.accuracy]]
            # The area says how many parameters there are.
            axes.scatter(across, result.accuracy, 20 + result.parameters / 2e4, color=colour, alpha=0.35, linewidth=0)
            axes.errorbar(across, result.accuracy, errors, color=colour, marker="o", markersize=4, linewidth=1)
            name, (offset, side) = result.name.removesuffix("_cifar"), BESIDE.get(result.name, ((10, -4), "left"))
            axes.annotate(name, (across, result.accuracy), offset, textcoords="offset points", ha=side, color=INK)
        axes.set_xscale("log")
        axes.margins(x=0.25, y=0.15)
        axes.set_xlabel(words, color=INK)
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
        _dress(axes, "Test accuracy" if axes is left else "")
    figure.savefig(folder / "family.svg", metadata={"Date": None})


def draw_epochs(results: Sequence[Result], folder: Path) -> None:
    """Validation accuracy over the share of each network's training: epochs.svg."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for result, colour in zip(results, COLOURS, strict=False):
        epochs = range(1, len(result.val_accuracy) + 1)
        axes.plot(epochs, result.val_accuracy, color=colour, marker="o", markersize=3, label=result.name)
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    _dress(axes, "Validation accuracy")
    figure.savefig(folder / "epochs.svg", metadata={"Date": None})


def draw_gradients(found: Mapping[str, Mapping[str, float]], folder: Path) -> None:
    """Gradient over weights, stage by stage, on a logarithmic axis: gradients.svg."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, title in ((left, "34 layers"), (right, "GoogLeNet, without BatchNorm")):
        mine = [words for words in found if words.startswith("googlenet") == (axes is right)]
        for words, colour in zip(mine, COLOURS, strict=False):
            shares = found[words]
            label = words.removeprefix("googlenet, ")
            axes.plot(range(1, len(shares) + 1), list(shares.values()), color=colour, marker="o", ms=3, label=label)
        axes.set_yscale("log")
        axes.set_xlabel("stage, the first one sees the picture", color=INK)
        _dress(axes, title)
    left.set_ylabel("length of the gradient / of the weights", color=INK)
    figure.savefig(folder / "gradients.svg", metadata={"Date": None})


def draw_losses(learned: Mapping[str, Sequence[float]], folder: Path) -> None:
    """The loss of the first updates, a mean over ten of them: shortcuts.svg."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for (words, losses), colour in zip(learned.items(), COLOURS, strict=False):
        width = min(10, len(losses))
        smooth = np.convolve(losses, np.full(width, 1 / width), "valid")
        axes.plot(np.arange(len(smooth)) + width, smooth, color=colour, linewidth=2, label=words)
    axes.set_ylim(top=3.0)  # the very first ones shoot above it
    axes.set_xlabel("update", color=INK)
    _dress(axes, "Loss of a ResNet-34, with BatchNorm")
    figure.savefig(folder / "shortcuts.svg", metadata={"Date": None})


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, color=INK)
    axes.grid(axis="y", color=LINE)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(which="both", length=0, colors=MUTED)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)
