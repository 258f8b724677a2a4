"""The figures of exercise 3 that saccade has not: some pictures, and recipes side by side with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from saccade.use.figures import ACCENT, INK, MUTED, dress, save_svg

_OF_EACH, _SIDE, _RIM = 8, 64, 3  # pictures in a row, and their pixels


def draw_pictures(npz: Path, folder: Path) -> None:
    """A row of training pictures of each kind: pictures.png."""
    with np.load(npz) as arrays:
        images, labels, kinds = arrays["X_train"], arrays["y_train"], len(arrays["class_names"])
    step = _SIDE + _RIM
    sheet = Image.new("RGB", (_OF_EACH * step - _RIM, kinds * step - _RIM), "white")
    for kind in range(kinds):
        for column, row in enumerate(np.flatnonzero(labels == kind)[:_OF_EACH]):
            sheet.paste(Image.fromarray(images[row]).resize((_SIDE, _SIDE)), (column * step, kind * step))
    folder.mkdir(parents=True, exist_ok=True)
    sheet.save(folder / "pictures.png", optimize=True)


def draw_recipes(standings: Sequence[Mapping[str, Any]], baseline: float, folder: Path) -> None:
    """Accuracy of each recipe with its 95 % interval and every seed's own: recipes.svg.

    Args:
        standings: of compare.json, the best first.
        baseline: of always saying the same, 0..1.
        folder: where.
    """
    figure = Figure(figsize=(5.84, 0.9 + 0.45 * len(standings)), layout="constrained")
    axes = figure.subplots()
    for row, each in enumerate(reversed(standings)):
        axes.plot(each["interval"], (row, row), color=ACCENT, linewidth=2)
        axes.scatter([each["accuracy"]], [row], s=70, color=ACCENT, zorder=3)
        axes.scatter(list(each["runs"].values()), [row] * len(each["runs"]), s=60, marker="|", color=INK, zorder=4)
    axes.axvline(baseline, color=MUTED, linewidth=1, linestyle=":")
    axes.annotate("guessing", (baseline, -0.6), (4, 0), textcoords="offset points", color=MUTED, fontsize=12)
    dress(axes, "Accuracy on the test pictures", ("", ""))
    axes.set_yticks(range(len(standings)), [each["label"] for each in reversed(standings)])
    axes.set_ylim(-0.8, len(standings) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
    folder.mkdir(parents=True, exist_ok=True)
    save_svg(figure, folder / "recipes.svg")
