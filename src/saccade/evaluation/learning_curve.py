"""Would more pictures help? The accuracy of a recipe over the number of pictures it learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from saccade.data.listing import TRAIN
from saccade.evaluation.rivals import Paired, compare_pair
from saccade.evaluation.standings import SURE, Comparison, Group, answers_of, compare_runs
from saccade.metrics import Interval
from saccade.runs import RunFolder


class Point(NamedTuple):
    """Pictures that were learned from, the accuracy they led to, and its 95 % interval."""

    num_train: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class LearningCurve:
    """One recipe's.

    Attributes:
        label: network and recipe.
        points: ascending.
        last_step: the last point against the one before, on the same test pictures.
        num_test: how many those are.
    """

    label: str
    points: tuple[Point, ...]
    last_step: Paired
    num_test: int

    def in_words(self) -> str:
        """An answer to the question, as far as the test pictures can tell."""
        before, after = self.points[-2:]
        low, high = self.last_step.interval
        change = (
            f"from {before.num_train:,} to {after.num_train:,} training pictures the accuracy of {self.label} went "
        )
        change += f"from {before.accuracy:.1%} to {after.accuracy:.1%} (95 % interval of it {low:+.1%} to {high:+.1%})"
        if self.last_step.p < SURE and self.last_step.difference > 0:
            return f"more pictures are likely to help: {change}"
        if high < 0.02:
            return f"more pictures of this kind are unlikely to help much: {change}"
        return f"whether more pictures would help cannot be told from {self.num_test:,} test pictures: {change}"

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        points = [{**point._asdict(), "interval": list(point.interval)} for point in self.points]
        return {"label": self.label, "points": points, "in_words": self.in_words()}


def learning_curves(by_fraction: Mapping[float, Sequence[Group]]) -> tuple[LearningCurve, ...]:
    """The curves of all recipes.

    Args:
        by_fraction: for two fractions or more the finished runs by recipe; all judged by the same pictures.

    Raises:
        DataError: they were not.
    """
    fractions = sorted(by_fraction)
    tables: list[Comparison] = [compare_runs(by_fraction[fraction]) for fraction in fractions]
    curves = []
    for number, group in enumerate(by_fraction[fractions[-1]]):
        groups = [by_fraction[fraction][number] for fraction in fractions]
        standings = [next(each for each in table.standings if each.label == group.label) for table in tables]
        points = tuple(
            Point(_num_train(runs.all_runs), standing.accuracy, standing.interval)
            for runs, standing in zip(groups, standings, strict=True)
        )
        step = compare_pair(answers_of(groups[-1]).correct, answers_of(groups[-2]).correct)
        curves.append(LearningCurve(group.label, points, step, tables[-1].num_pictures))
    return tuple(curves)


def _num_train(runs: Sequence[RunFolder]) -> int:
    """Of one run, on average over folds."""
    counts = [sum(parts[TRAIN] for parts in run.data_report["classes"].values()) for run in runs]
    return round(float(np.mean(counts)))
