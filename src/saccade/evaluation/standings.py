"""Finished runs, side by side: who stands where, how surely, and at what price."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.listing import TEST
from saccade.errors import DataError, RunError
from saccade.evaluation.notebook import html_table
from saccade.evaluation.rivals import Correct, Paired, accuracy_interval, compare_pair, holm
from saccade.metrics import Interval
from saccade.runs import RunFolder

SURE = 0.05  # a corrected p below this is called a difference


class Price(NamedTuple):
    """What a network costs.

    Attributes:
        parameters: all of them.
        learning: those that learned.
        megabytes: of the weights on disk.
        pictures_per_second: when predicting, pictures decoded before; None where it was not measured.
    """

    parameters: int
    learning: int
    megabytes: float
    pictures_per_second: float | None = None


@dataclass(frozen=True)
class Standing:
    """One recipe's place in a comparison.

    Attributes:
        label: network and recipe.
        accuracies: by run name (its path where several have that name), in the order of seeds and folds.
        accuracy: their mean over pictures.
        interval: 95 %, over pictures and seeds.
        against_best: the best one minus this one; None for the best.
        p: how often chance alone would make a difference as large, corrected for all pairs that were looked at.
        seconds: of one run, on average; work that runs share counts where it was done.
        price: None where it was not asked for.
        num_seeds: that it was trained from.
    """

    label: str
    accuracies: Mapping[str, float]
    accuracy: float
    interval: Interval
    against_best: Paired | None
    p: float | None
    seconds: float
    price: Price | None = None
    num_seeds: int = 1

    @property
    def is_behind(self) -> bool:
        """The best one is better, and that is more than chance."""
        return self.p is not None and self.p < SURE

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        against = self.against_best
        return {
            "label": self.label,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "num_seeds": self.num_seeds,
            "runs": dict(self.accuracies),
            "behind_best": None if against is None else against.difference,
            "behind_best_interval": None if against is None else list(against.interval),
            "p": self.p,
            "distinguishable": None if against is None else self.is_behind,
            "seconds": self.seconds,
            **({} if self.price is None else self.price._asdict()),
        }


class Group(NamedTuple):
    """The runs of one recipe: a row per seed, and in each the folds that together show every picture once."""

    label: str
    runs: tuple[tuple[RunFolder, ...], ...]

    @property
    def all_runs(self) -> list[RunFolder]:
        """In order."""
        return [run for row in self.runs for run in row]


@dataclass(frozen=True)
class Comparison:
    """Recipes on the same test pictures, the best first.

    Attributes:
        standings: sorted by accuracy.
        num_pictures: that judged.
        num_seeds: of each recipe; the fewest where they differ.
        baseline: accuracy of always saying the biggest class of these pictures.
        pairwise: by the two labels, the corrected p of every pair.
    """

    standings: tuple[Standing, ...]
    num_pictures: int
    num_seeds: int
    baseline: float
    pairwise: Mapping[tuple[str, str], float]

    def in_words(self) -> str:
        """What the table says, in a sentence or two."""
        best, *others = self.standings
        pictures = f"{self.num_pictures:,} pictures"
        if not others:
            return f"{best.label}: {best.accuracy:.1%} on {pictures}"
        level = [each.label for each in others if not each.is_behind]
        behind = [each.label for each in others if each.is_behind]
        words = f"{best.label} is the best with {best.accuracy:.1%}"
        if level:
            words += f"; not distinguishable from it on {pictures}: {', '.join(level)}"
        if behind:
            words += f"; behind it, and that is more than chance: {', '.join(behind)}"
        return words

    def _repr_html_(self) -> str:
        rows = [
            (
                each.label,
                f"{each.accuracy:.1%}",
                f"{each.interval.low:.1%} to {each.interval.high:.1%}",
                "" if each.against_best is None else f"{100 * each.against_best.difference:.1f} points",
                "" if each.p is None else f"{'no' if each.is_behind else 'can be'} (p {each.p:.3f})",
                f"{each.seconds:,.0f}",
            )
            for each in self.standings
        ]
        header = ("", "accuracy", "95 % interval", "behind the best", "only chance?", "seconds")
        return html_table(header, rows) + f"<p>{escape(self.in_words())}.</p>"

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "num_pictures": self.num_pictures,
            "num_seeds": self.num_seeds,
            "baseline": self.baseline,
            "in_words": self.in_words(),
            "standings": [each.to_json() for each in self.standings],
            "pairwise": [{"first": a, "second": b, "p": p} for (a, b), p in self.pairwise.items()],
        }


def compare_runs(groups: Sequence[Group], prices: Mapping[str, Price] | None = None) -> Comparison:
    """Where recipes stand, from their finished runs.

    Args:
        groups: of every recipe the runs, from one seed or several.
        prices: by label.

    Raises:
        RunError: a run is not finished.
        DataError: they were not judged by the same pictures.
    """
    answers = [answers_of(group) for group in groups]
    check_same_pictures(groups)
    correct = {group.label: each.correct for group, each in zip(groups, answers, strict=True)}
    if any(not np.array_equal(each.labels, answers[0].labels) for each in answers):
        raise DataError(
            "the same pictures come in another order, so they cannot be told from each other",
            where=", ".join(str(run.path) for run in groups[0].all_runs),
            remedy="train from the same folder or archive: saccade compare PICTURES does",
        )
    best = max(correct, key=lambda label: correct[label].mean())
    pairs = [(a, b) for place, a in enumerate(correct) for b in list(correct)[place + 1 :]]
    found = {pair: compare_pair(correct[pair[0]], correct[pair[1]]) for pair in pairs}
    corrected = dict(zip(found, holm([each.p for each in found.values()]), strict=True))
    standings, names = [], names_of([run for group in groups for run in group.all_runs])
    for group in groups:
        pair = None if group.label == best else (best, group.label)
        against = None if pair is None else compare_pair(correct[best], correct[group.label])
        key = pair if pair in corrected else None if pair is None else (pair[1], pair[0])
        runs = group.all_runs
        standings.append(
            Standing(
                label=group.label,
                accuracies={names[run.path]: float(run.metrics[TEST]["accuracy"]) for run in runs},
                accuracy=float(correct[group.label].mean()),
                interval=accuracy_interval(correct[group.label]),
                against_best=against,
                p=None if key is None else corrected[key],
                seconds=float(np.mean([sum(run.metrics["seconds"].values()) for run in runs])),
                price=(prices or {}).get(group.label),
                num_seeds=len(group.runs),
            )
        )
    standings.sort(key=lambda each: (-each.accuracy, each.label != best, each.seconds))
    seeds = min(each.num_seeds for each in standings)
    return Comparison(tuple(standings), len(answers[0].labels), seeds, _baseline(answers[0].labels), corrected)


def names_of(runs: Sequence[RunFolder]) -> dict[Path, str]:
    """What to call each run: its name, or all of its path where several have that name."""
    times = Counter(run.path.name for run in runs)
    return {run.path: run.path.name if times[run.path.name] == 1 else str(run.path) for run in runs}


class Answers(NamedTuple):
    """What a recipe's networks got right: (S, N), and the true classes (N,)."""

    correct: Correct
    labels: npt.NDArray[np.str_]


def answers_of(group: Group) -> Answers:
    """What the networks of a recipe got right, pictures in the order of their names."""
    rows = []
    for folds in group.runs:
        said = [row for run in folds for row in _predictions(run)]
        said.sort(key=lambda row: row["path"])
        rows.append(np.array([row["label"] == row["predicted"] for row in said]))
        labels = np.array([row["label"] for row in said])
    if len({len(row) for row in rows}) > 1:
        raise DataError(
            f"the runs of {group.label} were judged by different numbers of pictures",
            where=", ".join(str(run.path) for run in group.all_runs),
            remedy="compare runs of the same pictures, with the same --split-seed",
        )
    return Answers(np.stack(rows), labels)


def _predictions(run: RunFolder) -> list[dict[str, str]]:
    check_finished(run)
    return run.predictions


def check_finished(run: RunFolder) -> None:
    """Only what was judged can be compared.

    Raises:
        RunError: the run is not finished.
    """
    if not run.is_finished:
        raise RunError(
            "the run is not finished, so nothing is known about its test pictures",
            where=str(run.path),
            remedy=f"saccade train --resume {run.path}",
        )


def check_same_pictures(groups: Sequence[Group]) -> None:
    """Only networks that were judged by the same pictures can be compared.

    Raises:
        DataError: they were not; the message names two runs that differ.
    """
    first: tuple[str, RunFolder] | None = None
    for group in groups:
        for folds in group.runs:
            now = "+".join(sorted(judged_by(run) for run in folds))
            if first is None:
                first = now, folds[0]
            elif now != first[0]:
                raise DataError(
                    "these runs were judged by different pictures, so their accuracies cannot be compared",
                    where=f"{first[1].path} and {folds[0].path}",
                    remedy="train them with the same pictures and --split-seed; saccade compare PICTURES does",
                )


def judged_by(run: RunFolder) -> str:
    """Which pictures judged a run: a checksum of their bytes and classes; of older runs, of names and classes."""
    known = run.data_report.get("test_pictures")
    if known:
        return str(known)
    digest = hashlib.sha256()
    for row in sorted(run.predictions, key=lambda row: row["path"]):
        digest.update(f"{row['path']}\n{row['label']}\n".encode(errors="backslashreplace"))
    return digest.hexdigest()


def _baseline(labels: npt.NDArray[np.str_]) -> float:
    _, counts = np.unique(labels, return_counts=True)
    return float(counts.max() / counts.sum())
