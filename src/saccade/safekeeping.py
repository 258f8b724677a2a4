"""What a run folder must hold so that its training can go on, written whatever the disk says.

training/resume.py keeps the state of a training; here it meets the run folder, and disks that are full.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from saccade.data.batches import Batches
from saccade.data.pack import Pack
from saccade.errors import ResourceError
from saccade.keeping import Way
from saccade.models.network import Network
from saccade.recipe import Recipe
from saccade.results import append_row, cut_rows
from saccade.resuming import Begun, accept
from saccade.runs import RunFolder
from saccade.screen import Screen
from saccade.trained import TrainedNetwork
from saccade.training.callbacks import EpochResult
from saccade.training.checkpoint import Checkpoint, CheckpointFolder
from saccade.training.disk_keeper import DiskKeeper, Surroundings
from saccade.training.distributed import leads
from saccade.training.in_mode import InMode
from saccade.training.progress import BatchPlace, Keeper

# Numbers that an optimizer keeps per parameter, at most.
_NUM_STATES = MappingProxyType({"adamw": 2, "adam": 2, "rmsprop": 2, "sgd": 1, "muon": 1})


class RunWriter:
    """Writes rows and weights into a run folder; what the disk refuses is kept in memory and tried again.

    Of several processes that train together the leader writes; in the others nothing is written.

    Args:
        run: the folder.
        trained: the network that is trained, with what its weights need beside them.
        screen: told what could not be written.
    """

    def __init__(self, run: RunFolder, trained: TrainedNetwork, screen: Screen) -> None:
        self.run = run
        self.trained = trained
        self.screen = screen
        self._rows: list[EpochResult] = []
        self._best: TrainedNetwork | None = None

    def append(self, row: EpochResult) -> None:
        """A row of results.csv."""
        self._rows.append(row)
        self._try("results.csv", self._write_rows)

    def save(self, which: str) -> None:
        """Weights of now; `best` ones are copied where they cannot be written at once."""
        if which == "last":
            self._try("the last weights", lambda: self.run.save_weights("last", self.trained))
            return
        self._best = self.trained
        if not self._try("the best weights", self._write_best):
            self._best = self.trained._replace(network=copy.deepcopy(self.trained.network).cpu())

    def ready(self) -> None:
        """Write what is waiting.

        Raises:
            OSError: the disk still refuses.
        """
        self._write_rows()
        self._write_best()

    def finish(self) -> None:
        """At the end nothing may wait any longer.

        Raises:
            ResourceError: something could not be written.
        """
        if not leads():
            return
        try:
            self.ready()
            self.run.save_weights("last", self.trained)
        except (OSError, ResourceError) as error:
            raise ResourceError(
                f"what was learnt cannot be written: {_reason(error)}",
                where=str(self.run.path),
                remedy=f"free some space there, then: saccade train --resume {self.run.path}",
            ) from None

    def rewind(self, checkpoint: Checkpoint, last_epoch: int) -> None:
        """Take back what was written after a checkpoint."""
        self._rows, self._best = [], None
        cut_rows(self.run.results_path, last_epoch)
        best = checkpoint.path / self.run.best_path.name
        if best.exists():
            partial = self.run.best_path.with_name(f"{best.name}.partial")
            partial.parent.mkdir(exist_ok=True)
            partial.unlink(missing_ok=True)
            try:
                os.link(best, partial)
            except OSError:
                shutil.copyfile(best, partial)
            partial.replace(self.run.best_path)

    def _write_rows(self) -> None:
        while self._rows:
            append_row(self.run.results_path, self._rows[0])
            del self._rows[0]

    def _write_best(self) -> None:
        if self._best is not None:
            try:
                self.run.save_weights("best", self._best)
            except ResourceError as error:
                raise OSError(error.what) from None
            self._best = None

    def _try(self, what: str, write: Callable[[], None]) -> bool:
        try:
            if leads():
                write()
        except (OSError, ResourceError) as error:
            self.screen.warn(
                f"{what} could not be written ({_reason(error)}); the training goes on, and it is tried again"
            )
            return False
        return True


def _reason(error: OSError | ResourceError) -> str:
    return error.what if isinstance(error, ResourceError) else error.strerror or str(error)


def about_run(recipe: Recipe, pictures: Mapping[str, str], way: Way) -> dict[str, Any]:
    """What a checkpoint says of its origin, so that a change is noticed."""
    kept = "nothing" if way.prefix is None else str(way.prefix.dtype).removeprefix("torch.")
    training = str(way.learner.mode) if isinstance(way.learner, InMode) else "float32"
    return {
        "recipe": recipe.model_dump(mode="json"),
        "pictures": dict(pictures),
        "computed_in": {"features kept": kept, "training": training},
    }


def make_keeper(begun: Begun, writer: RunWriter, pixels: Batches, pack: Pack, about: Mapping[str, Any]) -> Keeper:
    """What keeps the state of a run; nothing in a process that does not lead.

    Args:
        begun: the run, and the checkpoint it goes on from.
        writer: of its folder.
        pixels: the training part.
        pack: names its pictures.
        about: recipe, pictures and features, for the next who asks whether they changed.
    """

    def accuse(batches: Sequence[BatchPlace]) -> str:
        rows = [
            (place.epoch, place.batch, pack.names[row])
            for place in batches
            for rows_of_batch in islice(pixels.plan(place.epoch), place.batch - 1, place.batch)
            for row in rows_of_batch.tolist()
        ]
        return str(begun.run.write_accused(rows)) if rows else ""

    if not leads():
        return Keeper()
    if begun.checkpoint is not None:
        then, now = begun.checkpoint.values["about"]["computed_in"], about["computed_in"]
        changes = [f"{what}: {then[what]} then, {now[what]} now" for what in now if then[what] != now[what]]
        begun = accept(begun, changes, writer.screen.warn)
    around = Surroundings(about, begun.run.best_path, writer.ready, writer.rewind, accuse, writer.screen)
    folder = CheckpointFolder(begun.run.checkpoint_path)
    minutes = begun.recipe.checkpoint_minutes
    return DiskKeeper(folder, minutes, around, begun.checkpoint, changed=bool(begun.changes))


def check_project(project: Path) -> None:
    """Refuse a place that cannot be written before any work is done.

    Raises:
        ResourceError: it is read-only, or no folder.
    """
    nearest = next(path for path in (project, *project.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ResourceError(
            f"no run folder can be made there: {nearest} " + ("cannot be written" if nearest.is_dir() else "is a file"),
            where=str(project),
            remedy="choose a folder you may write to: --project DIR",
        )


def check_space(run: RunFolder, network: Network, recipe: Recipe, screen: Screen) -> None:
    """Say before the first step what a run will need on its disk, where that is more than there is.

    Raises:
        ResourceError: not even the weights fit.
    """
    if not leads():
        return
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    learning = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    checkpoint = weights + _NUM_STATES[recipe.optimizer] * learning
    needed, free = 3 * checkpoint + 4 * weights, shutil.disk_usage(run.path).free
    if free < 3 * weights:
        raise ResourceError(
            f"the weights of this run need {_size(3 * weights)}, and {_size(free)} are free",
            where=str(run.path),
            remedy="free some space there, or choose another disk: --project DIR",
        )
    if free < needed:
        screen.warn(
            f"weights and checkpoints of this run need {_size(needed)}, and {_size(free)} are free: "
            "checkpoints may fail, and then an interrupted training cannot go on"
        )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"


def end_run(run: RunFolder, keeper: Keeper | None) -> None:
    """The run is judged: its checkpoints have done their work.

    Raises:
        ResourceError: not one of them could ever be written.
    """
    if not leads():
        return
    if isinstance(keeper, DiskKeeper) and keeper.num_failed and not keeper.num_saved and keeper.resumed is None:
        raise ResourceError(
            f"the run is complete, but none of its {keeper.num_failed} checkpoints could be written",
            where=str(run.checkpoint_path),
            remedy=f"free some space there before the next run; `saccade report {run.path}` writes this one's page",
        )
    CheckpointFolder(run.checkpoint_path).clear()
