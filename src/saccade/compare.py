"""Several recipes on the same pictures, one after the other, and where they stand: one table with intervals.

Every run of a comparison is an ordinary run, made by pipeline.py, in a folder of the comparison. They find each other's
packs and frozen features in the cache, so nothing is computed twice; a comparison that was killed goes on with the run
that was interrupted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import NamedTuple

import torch

from saccade.errors import UsageError
from saccade.evaluation.learning_curve import LearningCurve, learning_curves
from saccade.evaluation.seeds import group_by_recipe, in_words
from saccade.evaluation.standings import Comparison, Group, Price, check_finished, compare_runs, names_of
from saccade.models.network import side_of
from saccade.pipeline import train
from saccade.plan import PLAN, Job, Plan, begin, new_folder
from saccade.resuming import FREE, Place
from saccade.runs import RunFolder, command_line
from saccade.screen import Bar, QuietScreen, Screen
from saccade.training.freeze import freeze
from saccade.whole import whole_file

TYPICAL = ("scratch", "features", "finetune", "finetune+augment")
RESULT = "compare.json"
_SPEED_BATCH, _SPEED_SECONDS = 32, 1.0


class Progress(NamedTuple):
    """How far a comparison is.

    Attributes:
        done: jobs that are finished.
        total: all of them.
        now: what is being done, in words; empty when all is done.
        so_far: the table of the recipes that have finished at least one seed, None before the first.
    """

    done: int
    total: int
    now: str
    so_far: Comparison | None


Watch = Callable[[Progress], None]


class Compared(NamedTuple):
    """A finished comparison: its folder, the table, and the curves where there were several fractions."""

    folder: Path
    comparison: Comparison
    curves: tuple[LearningCurve, ...]
    left_out: tuple[str, ...]

    def _repr_html_(self) -> str:
        words = (*(curve.in_words() for curve in self.curves), *self.left_out, str(self.folder))
        return self.comparison._repr_html_() + "".join(f"<p>{escape(each)}</p>" for each in words)


def compare(
    plan: Plan,
    pictures: str | Path | None,
    place: Place | None = None,
    screen: Screen | None = None,
    watch: Watch | None = None,
) -> Compared:
    """Train every recipe from every seed on the same split, and say where they stand.

    Args:
        plan: what is compared.
        pictures: as for `pipeline.train`; None for those of the comparison that goes on.
        place: where the comparison's folder is made, or which one goes on.
        screen: where warnings are said.
        watch: told after every step; for a live table.

    Returns:
        What was found; compare.json and compare.csv lie in the folder.

    Raises:
        SaccadeError: of every run; see errors.py. What was finished by then stays and is not trained again.
    """
    place, screen = place or Place(), screen or QuietScreen()
    folder, source, jobs, left_out = begin(plan, pictures, place)
    for sentence in left_out:
        screen.say(sentence)
    total = len(jobs)
    show = watch or (lambda progress: None)
    seen: set[str] = set()
    for number, job in enumerate(jobs):
        so_far = _so_far(folder, jobs)
        show(Progress(number, total, f"{job.label}, seed {job.seed}", so_far))
        inner = _Inner(screen, seen, lambda words: show(Progress(number, total, words, so_far)), job)  # noqa: B023
        _run(job, folder, source, inner)
    prices = {group.label: _price(group) for group in _groups(folder, jobs, _largest(jobs))}
    compared = _result(folder, jobs, prices, left_out)
    show(Progress(total, total, "", compared.comparison))
    return compared


def compare_finished(paths: Sequence[str | Path], say: Callable[[str], None] | None = None) -> Comparison:
    """Runs that exist already; those that differ only in their seed are one row, as of a comparison with seeds.

    Args:
        paths: of their folders.
        say: told which runs are one row.

    Raises:
        RunError: one is no finished run.
        DataError: they were judged by different pictures.
        UsageError: one was named twice.
    """
    groups = _grouped(paths)
    compare_runs(groups)  # refuses what cannot be compared before anything is loaded
    for sentence in filter(None, map(in_words, groups)):
        if say:
            say(sentence)
    return compare_runs(groups, {group.label: _price(group) for group in groups})


def keep_finished(comparison: Comparison, paths: Sequence[str | Path], output: Path | None, place: Place) -> Compared:
    """Write compare.json of runs that existed already, and where and when that was said; nothing is written into them.

    Args:
        comparison: of `compare_finished`.
        paths: of its runs.
        output: the folder; what such a comparison left there is replaced. None for a new one.
        place: where that is made, and its name.

    Raises:
        UsageError: the folder belongs to a run, or to a comparison that trained its own.
    """
    if output is not None and any((output / name).exists() for name in (PLAN, "recipe.yaml")):
        raise UsageError(
            "the folder belongs to a run, or to a comparison that trained its own",
            where=f"--output {output}",
            remedy="name another folder; it is made where it does not exist",
        )
    folder = output or new_folder(place.project, place.name or "compare")
    folder.mkdir(parents=True, exist_ok=True)
    homes = names_of([RunFolder.open(path) for path in paths])
    folders = {name: Path(os.path.relpath(home.resolve(), folder.resolve())).as_posix() for home, name in homes.items()}
    RunFolder(folder).write_environment(command_line(), datetime.now(UTC).isoformat(timespec="seconds"))
    _write(folder, comparison.to_json() | {"folders": folders})
    return Compared(folder, comparison, (), ())


def _grouped(paths: Sequence[str | Path]) -> list[Group]:
    places = [Path(path).resolve() for path in paths]
    if twice := next((path for path, place in zip(paths, places, strict=True) if places.count(place) > 1), None):
        raise UsageError("this run was named twice", where=str(twice), remedy="name it once")
    runs = [RunFolder.open(path) for path in paths]
    for run in runs:
        check_finished(run)
    return group_by_recipe(runs, FREE)


def _run(job: Job, folder: Path, source: str, screen: Screen) -> None:
    """Train, or go on, or find that nothing is left to do."""
    run = RunFolder(folder / job.name)
    if run.is_finished:
        return
    resume = str(run.path) if run.is_begun else ""
    train(job.recipe, None if resume else source, Place(folder, job.name, resume, adopt=True), screen)


def _largest(jobs: Sequence[Job]) -> float:
    return max(job.fraction for job in jobs)


def _groups(folder: Path, jobs: Sequence[Job], fraction: float) -> list[Group]:
    """The finished runs by recipe; of each as many seeds as all of them have finished in every fold."""
    runs: dict[str, dict[int, list[RunFolder]]] = {}
    wanted = len({job.fold for job in jobs})
    for job in jobs:
        run = RunFolder(folder / job.name)
        if job.fraction == fraction and run.is_finished:
            runs.setdefault(job.label, {}).setdefault(job.seed, []).append(run)
    whole = {label: [row for row in by_seed.values() if len(row) == wanted] for label, by_seed in runs.items()}
    seeds = min((len(rows) for rows in whole.values() if rows), default=0)
    return [Group(label, tuple(tuple(row) for row in rows[:seeds])) for label, rows in whole.items() if rows]


def _so_far(folder: Path, jobs: Sequence[Job]) -> Comparison | None:
    groups = _groups(folder, jobs, _largest(jobs))
    return compare_runs(groups) if groups else None


def _result(folder: Path, jobs: Sequence[Job], prices: Mapping[str, Price], left_out: Sequence[str]) -> Compared:
    comparison = compare_runs(_groups(folder, jobs, _largest(jobs)), prices)
    fractions = sorted({job.fraction for job in jobs})
    curves = (
        learning_curves({fraction: _groups(folder, jobs, fraction) for fraction in fractions})
        if len(fractions) > 1
        else ()
    )
    _write(folder, comparison.to_json() | {"learning_curves": [curve.to_json() for curve in curves]})
    return Compared(folder, comparison, curves, tuple(left_out))


def _write(folder: Path, about: Mapping[str, object]) -> None:
    with whole_file(folder / RESULT) as partial:
        partial.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _price(group: Group) -> Price:
    """What the first run's network costs: its parts counted, its speed measured on made-up pictures for a second."""
    run = group.all_runs[0]
    trained = run.load()
    network = trained.network.eval()
    learning = freeze(network, run.recipe.train).num_learning
    side, channels = side_of(network.spec), network.spec.in_channels
    images = torch.zeros(_SPEED_BATCH, channels, side, side, dtype=torch.uint8)
    network = network.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    best, spent = float("inf"), 0.0
    with torch.inference_mode():
        while spent < _SPEED_SECONDS:
            began = time.perf_counter()
            network(images)
            last = time.perf_counter() - began
            best, spent = min(best, last), spent + last
    total = sum(parameter.numel() for parameter in network.parameters())
    return Price(total, learning, run.best_path.stat().st_size / 1e6, _SPEED_BATCH / best)


class _Inner:
    """The screen of a run inside a comparison: it says warnings once, and where it is."""

    def __init__(self, outer: Screen, seen: set[str], tell: Callable[[str], None], job: Job) -> None:
        self._outer, self._seen, self._tell, self._job = outer, seen, tell, job

    def say(self, text: str) -> None:
        """Nothing: log.txt of the run has it."""

    def warn(self, text: str) -> None:
        """What was not said of another run before."""
        if text not in self._seen:
            self._seen.add(text)
            self._outer.warn(f"{self._job.label}: {text}")

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """Told to whoever watches, ten times a second at most."""
        last = 0.0

        def show(done: int, words: str) -> None:
            nonlocal last
            if time.monotonic() - last > 0.1:
                last = time.monotonic()
                self._tell(f"{self._job.label}, seed {self._job.seed}: {label} {done / max(1, total):.0%}")

        yield show
