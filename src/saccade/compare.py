"""Several recipes on the same pictures, one after the other, and where they stand: one table with intervals.

Every run of a comparison is an ordinary run, made by pipeline.py, in a folder of the comparison. They find each other's
packs and frozen features in the cache, so nothing is computed twice; a comparison that was killed goes on with the run
that was interrupted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from saccade.advice import has_published_weights
from saccade.errors import RunError, UsageError
from saccade.evaluation.learning_curve import LearningCurve, learning_curves
from saccade.evaluation.standings import Comparison, Group, Price, compare_runs
from saccade.models.network import side_of
from saccade.pipeline import train
from saccade.presets import make_recipe
from saccade.recipe import Recipe
from saccade.resuming import NEWEST, Place, name_after
from saccade.runs import RunFolder
from saccade.screen import Bar, QuietScreen, Screen
from saccade.training.freeze import freeze
from saccade.whole import whole_file

TYPICAL = ("scratch", "features", "finetune", "finetune+augment")
PLAN, RESULT = "plan.json", "compare.json"
_SPEED_BATCH, _SPEED_SECONDS = 32, 1.0


class Plan(NamedTuple):
    """What is compared.

    Attributes:
        models: names of the catalogue.
        recipes: presets, or .yaml files.
        changes: fields that all of them have in common.
        seeds: 0, 1, ... of the weights, the order and the augmentation; the split stays the same.
        folds: of a cross-validation; 0 for the split that there is.
        fractions: of the training pictures, ascending; the last one is compared, the others make the learning curve.
    """

    models: tuple[str, ...]
    recipes: tuple[str, ...]
    changes: Mapping[str, object]
    seeds: int = 1
    folds: int = 0
    fractions: tuple[float, ...] = (1.0,)


class Job(NamedTuple):
    """One run of a comparison: its folder's name, what it is a run of, and its recipe."""

    name: str
    label: str
    seed: int
    fold: int
    fraction: float
    preset: str
    changes: dict[str, object]

    @property
    def recipe(self) -> Recipe:
        """To train by."""
        return make_recipe(self.preset, self.changes)


class Progress(NamedTuple):
    """How far a comparison is.

    Attributes:
        done: jobs that are finished.
        total: all of them.
        now: what is being done, in words.
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
    folder, source, jobs, left_out = _begin(plan, pictures, place, screen)
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


def compare_finished(paths: Sequence[str | Path]) -> Comparison:
    """Runs that exist already, each by itself.

    Raises:
        RunError: one is no finished run.
        DataError: they were judged by different pictures.
    """
    groups = [Group(Path(path).name, ((RunFolder.open(path),),)) for path in paths]
    names = [group.label for group in groups]
    groups = [
        group._replace(label=str(path)) if names.count(group.label) > 1 else group
        for group, path in zip(groups, paths, strict=True)
    ]
    compare_runs(groups)  # refuses what cannot be compared before anything is loaded
    return compare_runs(groups, {group.label: _price(group) for group in groups})


def jobs_of(plan: Plan) -> tuple[list[Job], list[str]]:
    """The runs of a plan: every recipe once before the first one's second seed. And what is left out, in words."""
    entrants, left_out = [], []
    for model, preset in product(plan.models, plan.recipes):
        changes = {**plan.changes, "model": model}
        bare = make_recipe(preset, {}).weights == "none"
        if bare:
            changes.pop("weights", None)
        elif plan.changes.get("weights") is None and not has_published_weights(model):
            left_out.append(f"{model} has no published weights, so {preset} is left out (--weights FILE gives it some)")
            continue
        entrants.append((_label(model, preset, plan), preset, changes))
    if not entrants:
        raise UsageError("nothing is left to compare", where="--model, --recipe", remedy="; ".join(left_out))
    split_seed = plan.changes.get("split_seed") or plan.changes.get("seed") or 0
    first_seed = int(str(plan.changes.get("seed") or 0))
    folds = range(1, plan.folds + 1) if plan.folds else (1,)
    jobs = []
    for seed, fold, fraction, (label, preset, changes) in product(
        range(first_seed, first_seed + plan.seeds), folds, plan.fractions, entrants
    ):
        name = f"{label.replace(' ', '-')}-seed{seed}"
        name += f"-fold{fold}" if plan.folds else ""
        name += f"-{fraction:g}" if len(plan.fractions) > 1 else ""
        own = {**changes, "seed": seed, "split_seed": split_seed, "folds": plan.folds, "fold": fold}
        jobs.append(Job(name, label, seed, fold, fraction, preset, {**own, "fraction": fraction}))
    return jobs, left_out


def _label(model: str, preset: str, plan: Plan) -> str:
    recipe = Path(preset).stem if preset.endswith((".yaml", ".yml")) else preset
    return f"{model.replace('/', '-')} {recipe}" if len(plan.recipes) > 1 or len(plan.models) == 1 else model


def _begin(
    plan: Plan, pictures: str | Path | None, place: Place, screen: Screen
) -> tuple[Path, str, list[Job], list[str]]:
    """The comparison's folder with its plan: a new one, or the one that goes on."""
    if place.resume:
        folder = _newest(place) if place.resume == NEWEST else Path(place.resume)
        return folder, *_read_plan(folder)
    if pictures is None:
        raise UsageError("no pictures were named", remedy="saccade compare PICTURES --model resnet18")
    jobs, left_out = jobs_of(plan)
    for job in jobs:
        make_recipe(job.preset, job.changes)  # a mistake is said before anything is made
    folder = _new_folder(place.project, place.name or f"compare-{name_after(str(pictures))}")
    source = str(Path(pictures).resolve()) if Path(pictures).exists() else str(pictures)
    about = {"pictures": source, "jobs": [job._asdict() for job in jobs], "left_out": left_out}
    with whole_file(folder / PLAN) as partial:
        partial.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder, source, jobs, left_out


def _new_folder(project: Path, name: str) -> Path:
    """A folder of that name, numbered when it is taken."""
    for number in range(1, 100_000):
        folder = project / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise RunError(f"no free name is left for {name!r}", where=str(project), remedy="--name chooses another one")


def _newest(place: Place) -> Path:
    found = [path.parent for path in place.project.glob(f"*/{PLAN}")]
    if not found:
        raise UsageError(
            "there is no comparison to go on with",
            where=str(place.project),
            remedy="name its folder: saccade compare --resume runs/compare-NAME",
        )
    return max(found, key=lambda folder: (folder / PLAN).stat().st_mtime)


def _read_plan(folder: Path) -> tuple[str, list[Job], list[str]]:
    try:
        about = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        jobs = [Job(**{**job, "changes": dict(job["changes"])}) for job in about["jobs"]]
        return str(about["pictures"]), jobs, [str(line) for line in about["left_out"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"the comparison cannot be read: {type(error).__name__}: {error}",
            where=str(folder / PLAN),
            remedy="begin it again: saccade compare PICTURES",
        ) from None


def _run(job: Job, folder: Path, source: str, screen: Screen) -> None:
    """Train, or go on, or find that nothing is left to do."""
    run = RunFolder(folder / job.name)
    if run.is_finished:
        return
    resume = str(run.path) if run.is_begun else ""
    train(job.recipe, None if resume else source, Place(folder, job.name, resume), screen)


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
    about = comparison.to_json() | {"learning_curves": [curve.to_json() for curve in curves]}
    with whole_file(folder / RESULT) as partial:
        partial.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Compared(folder, comparison, curves, tuple(left_out))


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
