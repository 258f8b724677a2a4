"""The report's figures beside the learning curves: the rate, how far confidence can be trusted, what silence costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saccade.metrics import wilson
from saccade.use.figures import ACCENT, INK, MUTED, Results, dress

_WIDTH, _HEIGHT, _POINTS_PER_INCH = 420, 270, 72
_TALL = 360


def rate_curve(results: Results) -> Figure:
    """The learning rate over the epochs, without a solved head's.

    Args:
        results: a record per epoch, as in results.csv; at least one of an epoch above 0.
    """
    figure, axes = _sheet()
    rows = [row for row in results if row["epoch"] > 0]
    epochs, rates = ([row[key] for row in rows] for key in ("epoch", "learning_rate"))
    axes.plot(epochs, rates, color=ACCENT, linewidth=2, marker="o" if len(rows) <= 15 else "", markersize=3)
    dress(axes, "Learning rate", ("epoch", ""))
    axes.set_ylim(0, 1.08 * max(rates) or 1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    # As decimals: 5e-05 beside 0.0001 is read as the larger one.
    axes.yaxis.set_major_formatter(
        lambda rate, _: np.format_float_positional(rate, precision=2, fractional=False, trim="-")
    )
    return figure


def reliability(test: Mapping[str, Any]) -> Figure:
    """The share that was right at each confidence with its 95 % interval, before and after calibration.

    A network that can be trusted stays on the diagonal.

    Args:
        test: the entry of metrics.json, with `reliability`.
    """
    figure, axes = _sheet(_TALL)
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=":")
    before = test["uncalibrated"]
    if test["temperature"] != 1:
        _draw_bins(axes, before["reliability"], MUTED, f"before, error {before['ece']:.1%}")
    label = "after" if test["temperature"] != 1 else "as it answers"
    _draw_bins(axes, test["reliability"], ACCENT, f"{label}, error {test['ece']:.1%}")
    dress(axes, "Reliability", ("confidence", "right"))
    _in_percent(axes)
    lowest = min(float(each["low"]) for each in (*test["reliability"], *before["reliability"]))
    axes.set_xlim(lowest - 0.02, 1.02)
    axes.set_ylim(-0.02, 1.04)
    return figure


def coverage(test: Mapping[str, Any]) -> Figure:
    """What share of the answers is right when only the surest pictures are answered, with its 95 % interval.

    Args:
        test: the entry of metrics.json, with `coverage` and `not_sure`.
    """
    figure, axes = _sheet(_TALL)
    total = int(test["num_pictures"])
    steps = [(int(answered), int(right)) for _, answered, right in test["coverage"] if answered]
    shares = [answered / total for answered, _ in steps]
    bounds = np.array([wilson(right, answered) for answered, right in steps])
    axes.fill_between(shares, bounds[:, 0], bounds[:, 1], color=ACCENT, alpha=0.18, linewidth=0)
    axes.plot(shares, [right / answered for answered, right in steps], color=ACCENT, linewidth=2, label="test pictures")
    chosen = test["not_sure"]
    if chosen["min_accuracy"] and chosen["num_answered"]:
        at = ([chosen["num_answered"] / total], [chosen["num_correct"] / chosen["num_answered"]])
        axes.scatter(*at, s=70, facecolor="none", edgecolor=INK, zorder=3, label="the threshold")
        axes.axhline(chosen["min_accuracy"], color=MUTED, linewidth=1, linestyle=":")
    dress(axes, "Coverage", ("share answered, the surest first", "right"))
    _in_percent(axes)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(max(0.0, float(bounds[:, 0].min()) - 0.03), 1.015)
    return figure


def _draw_bins(axes: Axes, bins: Sequence[Mapping[str, Any]], colour: str, label: str) -> None:
    right = np.array([each["accuracy"] for each in bins])
    bounds = np.array([wilson(int(each["num_correct"]), int(each["num_pictures"])) for each in bins])
    errors = np.clip([right - bounds[:, 0], bounds[:, 1] - right], 0, None)
    where = [each["confidence"] for each in bins]
    axes.errorbar(
        where, right, errors, color=colour, marker="o", markersize=4, linewidth=1.6, elinewidth=0.8, label=label
    )


def _sheet(height: int = _HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH / _POINTS_PER_INCH, height / _POINTS_PER_INCH), layout="constrained")
    return figure, figure.subplots()


def _in_percent(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
