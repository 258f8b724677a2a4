"""What a comparison consists of: its plan, the runs that follow from it, and the folder in which both are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from saccade.advice import has_published_weights, why_not_its_own
from saccade.errors import RunError, UsageError
from saccade.presets import make_recipe
from saccade.recipe import Recipe
from saccade.resuming import NEWEST, Place, name_after
from saccade.whole import whole_file

PLAN = "plan.json"
# Fields of the recipe that a comparison decides for each of its runs, and the argument that says how.
_DECIDED: Mapping[str, str] = MappingProxyType(
    {
        "model": "models=['resnet18']",
        "recipe": "recipes=['finetune']",
        "folds": "folds=5",
        "fold": "folds=5, which trains all of them",
        "fraction": "fractions=[0.5]",
    }
)


class Plan(NamedTuple):
    """What is compared.

    Attributes:
        models: names of the catalogue.
        recipes: presets, or .yaml files.
        changes: fields that all of them have in common; `seed` is the first one.
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


def jobs_of(plan: Plan) -> tuple[list[Job], list[str]]:
    """The runs of a plan: every recipe once before the first one's second seed. And what is left out, in words.

    Raises:
        UsageError: nothing is left, or the plan changes a field that is different for each run.
        RecipeError: there is no such recipe.
    """
    if name := next((name for name in _DECIDED if name in plan.changes), None):
        what = f"a comparison decides {name} for each of its runs, so it is none of their common changes"
        raise UsageError(what, where=f"changes={{{name!r}: ...}}", remedy=f"say {_DECIDED[name]} instead")
    entrants, left_out = [], []
    bare = {preset for preset in plan.recipes if make_recipe(preset, {}).weights == "none"}
    lacking = {model: _lacking(model, plan) for model in plan.models} if set(plan.recipes) - bare else {}
    for model, preset in product(plan.models, plan.recipes):
        changes = {**plan.changes, "model": model}
        if preset in bare:
            changes.pop("weights", None)
        elif lacking[model]:
            left_out.append(f"{lacking[model]}, so {preset} is left out")
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


def _lacking(model: str, plan: Plan) -> str:
    """Why a network cannot begin from pretrained weights here, in words; empty where it can."""
    weights = plan.changes.get("weights")
    if weights is None:
        return (
            "" if has_published_weights(model) else f"{model} has no published weights (--weights FILE gives it some)"
        )
    # A file belongs to one of several networks; of a single one its own message, with remedy, comes from the training.
    return why_not_its_own(model, str(weights)) if len(plan.models) > 1 else ""


def _label(model: str, preset: str, plan: Plan) -> str:
    recipe = Path(preset).stem if preset.endswith((".yaml", ".yml")) else preset
    return f"{model.replace('/', '-')} {recipe}" if len(plan.recipes) > 1 or len(plan.models) == 1 else model


def begin(plan: Plan, pictures: str | Path | None, place: Place) -> tuple[Path, str, list[Job], list[str]]:
    """The comparison's folder with its plan: a new one, or the one that goes on.

    Returns:
        The folder, the pictures, the runs, and in words what is left out.

    Raises:
        UsageError: there is nothing to compare, or nothing to go on with.
        RecipeError: a recipe has a mistake; nothing was made then.
        RunError: the plan cannot be read.
    """
    if place.resume:
        folder = _newest(place) if place.resume == NEWEST else Path(place.resume)
        return folder, *_read_plan(folder)
    if pictures is None:
        raise UsageError("no pictures were named", remedy="saccade compare PICTURES --model resnet18")
    jobs, left_out = jobs_of(plan)
    for job in jobs:
        make_recipe(job.preset, job.changes)  # a mistake is said before anything is made
    folder = new_folder(place.project, place.name or f"compare-{name_after(str(pictures))}")
    source = str(Path(pictures).resolve()) if Path(pictures).exists() else str(pictures)
    about = {"pictures": source, "jobs": [job._asdict() for job in jobs], "left_out": left_out}
    with whole_file(folder / PLAN) as partial:
        partial.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder, source, jobs, left_out


def new_folder(project: Path, name: str) -> Path:
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
