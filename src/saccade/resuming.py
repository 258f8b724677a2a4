"""Which run goes on, and whether it still is what it was.

training/resume.py brings the state back; safekeeping.py writes what a run folder holds; charge.py says who trains it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.pack import Pack
from saccade.errors import UsageError
from saccade.presets import ADVICE, make_recipe
from saccade.recipe import AUTO, STRENGTHS, Recipe
from saccade.results import cut_rows
from saccade.runs import RunFolder
from saccade.screen import Screen
from saccade.training.checkpoint import Checkpoint

NEWEST = "newest"
# Fields that change how long a run takes and where, but not what it learns.
FREE = frozenset({"workers", "stream", "cache_budget", "checkpoint_minutes", "device", "data_dir"})
# Fields that `Recipe.resolved` fills in after another one.
_FOLLOWING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "augment": tuple(STRENGTHS["none"]),
        "optimizer": ("learning_rate", "weight_decay"),
        "schedule": ("patience",),
    }
)


class Place(NamedTuple):
    """Where a run is written: `project/name`, numbered when it is taken; without a name, after the pictures.

    Attributes:
        resume: "" for a new run, `newest` for the newest unfinished one in `project`, or the path of a run folder.
        allow_change: go on even though the recipe or the pictures are no longer the same.
        adopt: take the folder of that name if a command was interrupted before anything was begun in it; with `resume`
            that is always so.
    """

    project: Path = Path("runs")
    name: str | None = None
    resume: str = ""
    allow_change: bool = False
    adopt: bool = False


class Begun(NamedTuple):
    """A run, new or begun before.

    Attributes:
        recipe: to go on with.
        changes: how that differs from what it was begun with, in words.
        checkpoint: None where it was interrupted before the first one.
        allow_change: as in `Place`.
    """

    run: RunFolder
    recipe: Recipe
    changes: tuple[str, ...] = ()
    checkpoint: Checkpoint | None = None
    allow_change: bool = False

    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.run.is_finished

    @property
    def seconds(self) -> float:
        """That were spent on training before now."""
        if self.checkpoint is None:
            return 0.0
        position = self.checkpoint.values["position"]
        return float(position["seconds_before"] + position["seconds"])


def name_after(source: str) -> str:
    """The name of a run without one."""
    return Path(source).name.split(".")[0].lstrip("-") or "run"


def find_begun(
    place: Place, named: str | Path | None, asked: Recipe, resolve: Callable[[Recipe], Recipe]
) -> Begun | None:
    """The run to go on with; None for a new one.

    Args:
        place: says whether, and where to look.
        named: the pictures, as the command names them; None where it does not.
        asked: the recipe with what the command changes of it.
        resolve: fills in the open fields of a recipe.

    Raises:
        UsageError: no run can go on, or its recipe is another one and that was not allowed.
        RunError: the folder named is no run.
    """
    if not place.resume:
        return None
    pictures = None if named is None else str(named)
    if place.resume != NEWEST:
        run: RunFolder | None = RunFolder.open(place.resume)
    else:
        run = _newest(
            place, pictures, lambda it: not _differences(resolve(it.recipe), _now(it, asked, resolve, pictures))
        )
    if run is None and pictures is None:
        raise UsageError(
            "there is no run to go on with",
            where=str(place.project),
            remedy="name its folder: saccade train --resume runs/NAME; or begin one: saccade train PICTURES",
        )
    if run is None:
        return None
    recipe = run.recipe if run.is_finished else _now(run, asked, resolve, pictures)
    # Resolved again: a field that is newer than the run has its default.
    changes = () if run.is_finished else tuple(_differences(resolve(run.recipe), recipe))
    if changes and not place.allow_change:
        raise refusal(run, changes)
    return Begun(run, recipe, changes, None, place.allow_change)


def refusal(run: RunFolder, changes: Sequence[str]) -> UsageError:
    """What is answered where a run would go on as something else."""
    return UsageError(
        "this run was begun differently: " + "; ".join(changes),
        where=str(run.path),
        remedy="--allow-change goes on all the same, from the epoch that was interrupted; "
        "without --resume a new run begins beside it",
    )


def _newest(place: Place, pictures: str | None, fits: Callable[[RunFolder], bool]) -> RunFolder | None:
    """Unfinished before finished, those that fit the command before others, and then the newest."""
    folders = sorted(place.project.iterdir()) if place.project.is_dir() else []
    runs = [run for run in map(RunFolder, folders) if run.is_begun]
    if pictures is not None:
        name = re.compile(re.escape(place.name or name_after(pictures)) + r"(-\d+)?")
        runs = [run for run in runs if name.fullmatch(run.path.name)]
        runs = [run for run in runs if place.name or _is_of(run, pictures)]
    runs.sort(key=lambda run: run.begun_at, reverse=True)
    unfinished = [run for run in runs if not run.is_finished]
    finished = [run for run in runs if run.is_finished and (pictures is None or fits(run))]
    fitting = [run for run in unfinished if fits(run)]
    return next(iter([*fitting, *unfinished, *finished]), None)


def _is_of(run: RunFolder, pictures: str) -> bool:
    source = str(run.data_report.get("source"))
    return source == pictures or Path(source) == Path(pictures).resolve()


def _now(run: RunFolder, asked: Recipe, resolve: Callable[[Recipe], Recipe], pictures: str | None) -> Recipe:
    """The recipe that a command asks an existing run to have."""
    begun = run.recipe
    if asked.model == AUTO:  # the network and its size that were chosen then
        asked = asked.model_copy(update={"model": begun.model, "image_size": asked.image_size or begun.image_size})
    fields = {field: getattr(asked, field) for field in asked.model_fields_set - {"recipe"}}
    if asked.recipe != ADVICE:
        return resolve(asked)
    if pictures is not None:  # the same command again: advice would choose the same again
        return resolve(make_recipe(begun.recipe, fields))
    following = {name: None for field in fields for name in _FOLLOWING.get(field, ()) if name not in fields}
    return resolve(begun.model_copy(update={**following, **fields}))


def _differences(before: Recipe, now: Recipe) -> list[str]:
    return [
        f"{field} was {getattr(before, field)!r}, now {getattr(now, field)!r}"
        for field in Recipe.model_fields
        if field not in FREE and getattr(before, field) != getattr(now, field)
    ]


def about_pictures(pack: Pack, rows: npt.NDArray[np.int64], parts: npt.NDArray[np.str_]) -> dict[str, str]:
    """Which pictures a run learns from: the pack's fingerprint, and a checksum of names, bytes, classes and parts."""
    digest = hashlib.sha256("\n".join(pack.class_names).encode(errors="backslashreplace"))
    sums = pack.looks["sha256"]
    for row, part in zip(rows.tolist(), parts.tolist(), strict=True):
        line = f"{pack.names[row]}\n{pack.labels[row]} {part} "
        digest.update(line.encode(errors="backslashreplace") + bytes(sums[row]))
    return {"fingerprint": pack.fingerprint, "content": digest.hexdigest()}


def source_of(pictures: str | Path | None, begun: Begun | None) -> str | Path:
    """The pictures that were named or, where none were, those that the run was begun with.

    Raises:
        UsageError: there are neither.
    """
    if pictures is not None:
        return pictures
    if begun is None:
        raise UsageError("no pictures were named", remedy="name a folder, an archive, a table or a word")
    return str(begun.run.data_report["source"])


def check_pictures(begun: Begun, about: Mapping[str, str], splits: Mapping[str, str], screen: Screen) -> Begun:
    """Whether a run that was begun before still learns from the same pictures.

    Args:
        begun: with its checkpoint.
        about: the pictures of now, from `about_pictures`.
        splits: picture -> part, of now.
        screen: told of changes that are allowed.

    Raises:
        UsageError: it does not, and that was not allowed.
    """
    if begun.checkpoint is None:
        cut_rows(begun.run.results_path, -1)  # solved heads stand there as epoch 0
        return begun
    changes = tuple(_picture_changes(begun.run, begun.checkpoint, about, splits))
    return accept(begun, changes, screen.warn)


def accept(begun: Begun, changes: Sequence[str], warn: Callable[[str], None]) -> Begun:
    """Go on although something changed, where that is allowed.

    Raises:
        UsageError: it is not.
    """
    if changes and not begun.allow_change:
        raise refusal(begun.run, changes)
    for change in changes:
        warn(f"going on although: {change}")
    return begun._replace(changes=(*begun.changes, *changes))


def _picture_changes(
    run: RunFolder, checkpoint: Checkpoint, about: Mapping[str, str], splits: Mapping[str, str]
) -> list[str]:
    """How the pictures differ from those that the checkpoint knows, in words."""
    if checkpoint.values["about"]["pictures"]["content"] == about["content"]:
        return []
    before = run.splits
    found = []
    for what, names in (
        ("new", splits.keys() - before.keys()),
        ("gone", before.keys() - splits.keys()),
        ("in another part", {name for name in splits.keys() & before.keys() if splits[name] != before[name]}),
    ):
        if names:
            found.append(f"{len(names)} pictures are {what}, among them {min(names)}")
    return found or ["pictures of the same names have other content or other classes"]
