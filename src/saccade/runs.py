"""RunFolder: everything a training leaves behind, and the only file that knows the names inside."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from saccade.data.cells import read_csv, write_csv
from saccade.data.listing import Skipped
from saccade.errors import ResourceError, RunError, UsageError
from saccade.predictions import write_predictions
from saccade.presets import make_recipe
from saccade.recipe import Recipe
from saccade.trained import TrainedNetwork, load_trained, save_trained
from saccade.whole import whole_file

if TYPE_CHECKING:  # who loads a run to predict has no use for scikit-learn, and is ready a second sooner without
    from saccade.metrics import Evaluation

_NAMES_TRIED = 100_000
_BEFORE_TRAINING = frozenset(
    (
        *("weights", "lock", "log.txt", "environment.json", "classes.json", "data_report.json"),
        *("splits.csv", "skipped.csv", "recipe.yaml"),  # the last one half written: whole, the run is begun
    )
)


@dataclass(frozen=True)
class RunFolder:
    """A folder `runs/NAME`. Copied to another machine it predicts there, without the pictures."""

    path: Path

    @classmethod
    def create(cls, project: Path, name: str, *, adopt: bool = False) -> RunFolder:
        """A new folder, numbered when the name is taken (`animals`, `animals-2`, ...); nothing is overwritten.

        Args:
            project: where; it is made.
            name: of one folder.
            adopt: take a folder that an interrupted command made and in which nothing was begun.

        Raises:
            UsageError: the name would lead out of the project folder.
            ResourceError: the folder cannot be made or written.
        """
        if name in ("", ".", "..") or any(sign in name for sign in ("/", "\\", "\0")):
            raise UsageError(f"{name!r} cannot be the name of a run: it must be one folder name", where="--name")
        try:
            project.mkdir(parents=True, exist_ok=True)
            for number in range(1, _NAMES_TRIED):
                path = project / (name if number == 1 else f"{name}-{number}")
                try:
                    path.mkdir()  # fails when it exists, so two runs can never share a folder
                except FileExistsError:
                    if not (adopt and cls(path)._is_husk()):
                        continue
                (path / "weights").mkdir(exist_ok=True)
                return cls(path)
        except OSError as error:
            raise ResourceError(
                f"no run folder can be made there: {error.strerror}",
                where=str(project),
                remedy="choose a folder you may write to: --project DIR",
            ) from None
        raise ResourceError(f"{_NAMES_TRIED:,} runs are called {name!r} already", where=str(project))

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """A folder that exists.

        Raises:
            RunError: there is nothing, or no run, in that place.
        """
        run = cls(Path(path))
        if not (run.path / "recipe.yaml").is_file():
            there = "there is no such folder" if not run.path.is_dir() else "it holds no recipe.yaml"
            raise RunError(
                f"this is not a run of saccade: {there}",
                where=str(path),
                remedy="name a folder that `saccade train` made, for example runs/animals; "
                "to predict, a network that `saccade models` lists will do too",
            )
        return run

    @property
    def report_path(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def log_path(self) -> Path:
        """Every line that was said."""
        return self.path / "log.txt"

    @property
    def begun_at(self) -> float:
        """When its recipe was written, in seconds of the system's clock."""
        return (self.path / "recipe.yaml").stat().st_mtime

    @property
    def results_path(self) -> Path:
        """A row per epoch; results.py writes it."""
        return self.path / "results.csv"

    @property
    def best_path(self) -> Path:
        """The weights that are judged and used."""
        return self.path / "weights" / "best.safetensors"

    @property
    def checkpoint_path(self) -> Path:
        """The folder of the checkpoints; there while the run is not finished."""
        return self.path / "checkpoint"

    @property
    def tensorboard_path(self) -> Path:
        """The folder of TensorBoard's event files, where they were asked for."""
        return self.path / "tb"

    @property
    def is_begun(self) -> bool:
        """Whether training could begin: the recipe is written last of what is known before it."""
        return (self.path / "recipe.yaml").is_file()

    @property
    def is_finished(self) -> bool:
        """Whether it was trained and judged."""
        return (self.path / "metrics.json").is_file()

    @property
    def lock_path(self) -> Path:
        """Held by the process that trains it."""
        return self.path / "lock"

    @property
    def recipe(self) -> Recipe:
        """What was asked for, fully resolved."""
        return make_recipe(str(self.path / "recipe.yaml"), {})

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json; empty while the run is not finished."""
        return dict(self._read_json("metrics.json")) if (self.path / "metrics.json").exists() else {}

    @property
    def curves(self) -> dict[str, Any]:
        """curves.json: ROC and precision-recall curves of the test pictures; empty in runs of before."""
        return dict(self._read_json("curves.json")) if (self.path / "curves.json").exists() else {}

    @property
    def data_report(self) -> dict[str, Any]:
        """Which pictures were used and what was wrong with the others."""
        return dict(self._read_json("data_report.json"))

    @property
    def environment(self) -> dict[str, Any]:
        """Where, when and with which versions it ran."""
        return dict(self._read_json("environment.json"))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the network's outputs."""
        return tuple(self._read_json("classes.json"))

    @property
    def skipped(self) -> list[dict[str, str]]:
        """skipped.csv: what was seen and left out, each with its reason code and the detail in words."""
        return self._read_rows("skipped.csv")

    @property
    def results(self) -> list[dict[str, float]]:
        """results.csv, a record per epoch."""
        rows = self._read_rows("results.csv")
        return [{name: float(value) for name, value in row.items()} for row in rows]

    @property
    def splits(self) -> dict[str, str]:
        """Picture -> train, val or test."""
        return {row["path"]: row["split"] for row in self._read_rows("splits.csv")}

    @property
    def predictions(self) -> list[dict[str, str]]:
        """predictions.csv: what the best weights said about the test pictures."""
        return self._read_rows("predictions.csv")

    def write_recipe(self, recipe: Recipe) -> None:
        """recipe.yaml"""
        self._write_text("recipe.yaml", recipe.to_yaml())

    def write_environment(self, command: Sequence[str], started: str, job: str = "") -> None:
        """environment.json: the exact command, time, machine and versions, and the job of several processes."""
        versions = {"saccade": version("saccade"), "python": platform.python_version(), "torch": torch.__version__}
        machine = {"platform": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()}
        cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        about = {"command": list(command), "started": started, "versions": versions, "machine": machine, "cuda": cuda}
        self._write_json("environment.json", about | {"job": job})

    def write_pictures(
        self, report: Mapping[str, Any], splits: Iterable[tuple[str, str, str]], skipped: Iterable[Skipped]
    ) -> None:
        """data_report.json, splits.csv (path, class, split) and skipped.csv."""
        self._write_json("data_report.json", report)
        write_csv(self.path / "splits.csv", ("path", "class", "split"), splits)
        write_csv(self.path / "skipped.csv", ("path", "reason", "detail"), skipped)

    def write_accused(self, rows: Iterable[tuple[int, int, str]]) -> Path:
        """diverged.csv: the pictures of the batches that ended a training; returns where it lies."""
        write_csv(path := self.path / "diverged.csv", ("epoch", "batch", "path"), rows)
        return path

    def write_classes(self, class_names: Sequence[str]) -> None:
        """classes.json: the names in the order of the network's outputs."""
        self._write_json("classes.json", list(class_names))

    def save_weights(self, which: str, trained: TrainedNetwork) -> None:
        """weights/best.safetensors or weights/last.safetensors."""
        save_trained(self.path / "weights" / f"{which}.safetensors", trained)

    def load(self, which: str = "best") -> TrainedNetwork:
        """The network as trained.

        Raises:
            WeightsError: the file is missing, damaged or from a newer version.
            RunError: it does not say what its classes are.
        """
        return load_trained(self.path / "weights" / f"{which}.safetensors")

    def write_metrics(self, evaluations: Mapping[str, Evaluation], seconds: Mapping[str, float]) -> None:
        """metrics.json: an entry per part, and where the time went."""
        about: dict[str, Any] = {part: evaluation.to_json() for part, evaluation in evaluations.items()}
        self._write_json("metrics.json", about | {"seconds": dict(seconds)})

    def write_curves(self, curves: Mapping[str, Any]) -> None:
        """curves.json: ROC and precision-recall curves, in one line."""
        self._write_text("curves.json", json.dumps(curves) + "\n")

    def write_predictions(
        self, evaluation: Evaluation, threshold: float = 0.0, leaked: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """predictions.csv: a row per picture of a part."""
        write_predictions(self.path / "predictions.csv", evaluation, threshold, leaked)

    def write_report(self, html: str) -> Path:
        """report.html; returns where it lies."""
        self._write_text("report.html", html)
        return self.report_path

    def _is_husk(self) -> bool:
        """Whether a command made this folder and was interrupted before anything was begun in it."""
        inside = {path.name.removesuffix(".partial") for path in self.path.iterdir()} if self.path.is_dir() else {""}
        return not self.is_begun and inside <= _BEFORE_TRAINING

    def _write_json(self, name: str, value: object) -> None:
        self._write_text(name, json.dumps(value, indent=1, ensure_ascii=True) + "\n")

    def _write_text(self, name: str, text: str) -> None:
        with whole_file(self.path / name) as partial:
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")

    def _read_json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{name} cannot be read: {error}", where=str(self.path)) from None

    def _read_rows(self, name: str) -> list[dict[str, str]]:
        path = self.path / name
        return read_csv(path) if path.exists() else []


def command_line() -> list[str]:
    """The command that this process was started with, as a person would type it."""
    return ["saccade" if sys.argv[0].endswith(("saccade", "__main__.py")) else sys.argv[0], *sys.argv[1:]]
