"""The drawings of exercise 1: a convolution in numbers, on a digit, and ten probabilities as bars."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

Grid = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

VERTICAL: Grid = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]], dtype=np.float32)
INK, ACCENT, MARKED = "#1c1f23", "#1d6a86", "#f08c00"


def read_test_digits(folder: str | Path) -> tuple[Picture, npt.NDArray[np.uint8]]:
    """MNIST's test pictures (10000, 28, 28) and labels (10000,), both 0..255, out of its own files."""
    images = gzip.decompress((Path(folder) / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((Path(folder) / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def convolved(channels: Grid, filters: Grid) -> Grid:
    """Channels (C, H, W) under one filter (C, 3, 3): the sums (H - 2, W - 2) that a convolution gives."""
    return F.conv2d(torch.from_numpy(channels)[None], torch.from_numpy(filters)[None])[0, 0].numpy()


def pooled(values: Grid) -> Grid:
    """The greatest of every two by two values."""
    return F.max_pool2d(torch.from_numpy(values)[None], 2)[0].numpy()


def draw_one_channel(folder: Path) -> None:
    """A bright bar of 6×6 numbers under the vertical-edge filter, ReLU, max-pool: convolution.svg."""
    picture = np.zeros((6, 6), np.float32)
    picture[2:, 2:4] = 9
    sums = convolved(picture[None], VERTICAL[None])
    kept = np.maximum(sums, 0)
    steps = {
        "picture 6×6": picture,
        "filter 3×3": VERTICAL,
        "sums 4×4": sums,
        "after ReLU": kept,
        "max-pool 2×2": pooled(kept),
    }
    figure = Figure(figsize=(11, 2.9), layout="constrained")
    all_axes = figure.subplots(1, 5, width_ratios=[grid.shape[1] for grid in steps.values()])
    for axes, (title, grid) in zip(all_axes, steps.items(), strict=True):
        draw_numbers(axes, grid, title, grey=title.startswith("picture"))
    for axes, place, side in ((all_axes[0], (3, 0), 3), (all_axes[2], (3, 0), 1), (all_axes[3], (2, 0), 2)):
        mark(axes, place, side)
    mark(all_axes[4], (1, 0), 1)
    figure.savefig(folder / "convolution.svg", metadata={"Date": None})


def draw_three_channels(folder: Path) -> None:
    """A colour picture under two filters: each filter has a slice per channel, and gives one map: channels.svg."""
    red, green, blue = np.zeros((3, 4, 4), np.float32)
    red[:, :2], green[2:], blue[:] = 9, 9, 3
    channels = np.stack([red, green, blue])
    edge = np.stack([VERTICAL, np.zeros((3, 3)), np.zeros((3, 3))]).astype(np.float32)
    mixed = np.stack([np.zeros((3, 3)), VERTICAL.T, np.eye(3)]).astype(np.float32)
    figure = Figure(figsize=(9.5, 8), layout="constrained")
    rows = figure.subplots(4, 5, width_ratios=[4, 3, 2, 3, 2], height_ratios=[4, 4, 4, 2.4])
    for number, (name, channel) in enumerate(zip(("red", "green", "blue"), channels, strict=True)):
        draw_numbers(rows[number, 0], channel, f"{name} channel", grey=True)
        for column, (label, one) in enumerate((("first", edge), ("second", mixed))):
            draw_numbers(rows[number, 1 + 2 * column], one[number], f"{label} filter, {name}")
            part = convolved(channel[None], one[None, number])
            draw_numbers(rows[number, 2 + 2 * column], part, "sums")
    for axes in (rows[3, 0], rows[3, 1], rows[3, 3]):
        axes.axis("off")
    for column, one, bias in ((2, edge, 1), (4, mixed, -2)):
        rows[3, column - 1].text(
            1, 0.5, f"three together,\nbias {bias:+d}:".replace("-", "−"), ha="right", va="center", fontsize=11
        )
        draw_numbers(rows[3, column], convolved(channels, one) + bias, "map")
    figure.savefig(folder / "channels.svg", metadata={"Date": None})


def draw_digit(picture: Picture, folder: Path) -> None:
    """A digit under the filters for vertical and horizontal edges, after ReLU and after pooling: edges.svg."""
    pixels = picture.astype(np.float32) / 255
    figure = Figure(figsize=(9.5, 5), layout="constrained")
    rows = figure.subplots(2, 4)
    for axes, (name, edges) in zip(rows, {"vertical": VERTICAL, "horizontal": VERTICAL.T.copy()}.items(), strict=True):
        sums = convolved(pixels[None], edges[None])
        draw_picture(axes[0], 255 * pixels, "the digit, 28×28", "gray")
        draw_picture(axes[1], sums, f"{name} edges, 26×26", "RdBu_r")
        draw_picture(axes[2], np.maximum(sums, 0), "after ReLU", "gray")
        draw_picture(axes[3], pooled(np.maximum(sums, 0)), "after max-pool, 13×13", "gray")
    figure.savefig(folder / "edges.svg", metadata={"Date": None})


def draw_probabilities(shown: Sequence[tuple[Picture, Sequence[tuple[str, float]]]], folder: Path) -> None:
    """Digits and the probability of each class, a row per picture: probabilities.svg."""
    figure = Figure(figsize=(7, 2.8 * len(shown)), layout="constrained")
    rows = figure.subplots(len(shown), 2, width_ratios=[1, 2], squeeze=False)
    for (left, right), (picture, guesses) in zip(rows, shown, strict=True):
        draw_picture(left, picture.astype(np.float32), "the picture", "gray")
        by_name = sorted(guesses)
        shares = [100 * share for _, share in by_name]
        words = [f"{share:.2f} %" if share >= 0.005 else "less than 0.01 %" for share in shares]
        right.bar_label(right.barh([name for name, _ in by_name], shares, color=ACCENT), words, padding=3, fontsize=9)
        right.set(xlim=(0, 118), xticks=[], title="probability of each class")
        right.invert_yaxis()
        right.spines[["top", "right", "bottom"]].set_visible(False)
    figure.savefig(folder / "probabilities.svg", metadata={"Date": None})


def draw_numbers(axes: Axes, grid: Grid, title: str, *, grey: bool = False) -> None:
    """Numbers in cells: the brighter the greater for a picture, else blue below zero and red above it."""
    most = 3 * (float(np.abs(grid).max()) or 1)  # pale, so that the numbers can be read
    if grey:
        axes.imshow(grid, cmap="gray", vmin=0, vmax=9)
    else:
        axes.imshow(grid, cmap="RdBu_r", vmin=-most, vmax=most)
    for row, column in np.ndindex(*grid.shape):
        dark = grey and grid[row, column] < 5
        axes.text(
            column,
            row,
            f"{grid[row, column]:.0f}".replace("-", "−"),
            ha="center",
            va="center",
            color="white" if dark else INK,
        )
    axes.set_title(title, fontsize=11)
    for line in np.arange(0.5, max(grid.shape) - 1):
        axes.axhline(line, color="#888888", linewidth=0.5)
        axes.axvline(line, color="#888888", linewidth=0.5)
    axes.set(xticks=[], yticks=[])


def draw_picture(axes: Axes, pixels: Grid, title: str, colours: str) -> None:
    """A picture without smoothing; in two colours zero is white."""
    most = float(np.abs(pixels).max()) or 1
    axes.imshow(pixels, cmap=colours, vmin=0 if colours == "gray" else -most, vmax=most)
    axes.set_title(title, fontsize=11)
    axes.set(xticks=[], yticks=[])


def mark(axes: Axes, place: tuple[int, int], side: int) -> None:
    """A frame around side × side cells from (column, row) on."""
    corner = (place[0] - 0.5, place[1] - 0.5)
    axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=MARKED, linewidth=2.5, clip_on=False, zorder=5))
