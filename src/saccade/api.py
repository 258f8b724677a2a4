"""The Python face of saccade: train and load, and the two thin objects they return."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from saccade.data.augment import OwnChange
from saccade.data.packing import Work
from saccade.data.sources.given import Given, keep_given
from saccade.engine import choose_device, num_cores
from saccade.evaluation.evaluate import evaluate, reopen_pictures
from saccade.metrics import Evaluation
from saccade.pipeline import train as train_recipe
from saccade.presets import ADVICE, make_recipe
from saccade.recipe import Augment, Fit, Policy, Precision, Recipe
from saccade.resuming import NEWEST, Place
from saccade.runs import RunFolder, TrainedNetwork
from saccade.screen import QuietScreen, RichScreen, Screen
from saccade.use.predict import Picture, Predictions, expand, predict
from saccade.use.pretrained import names_a_network, pretrained
from saccade.use.report import write_report


def train(
    pictures: str | Path | Given | None = None,
    *,
    project: str | Path = "runs",
    name: str | None = None,
    resume: bool | str | Path = False,
    allow_change: bool = False,
    quiet: bool = False,
    augment_with: OwnChange | None = None,
    recipe: str = ADVICE,
    model: str | None = None,
    weights: str | None = None,
    train: str | None = None,
    solve_head: bool | None = None,
    batch_norm: Literal["learn", "keep"] | None = None,
    head: str | None = None,
    image_size: int | None = None,
    fit: Fit | None = None,
    augment: Augment | None = None,
    flip: float | None = None,
    shift: float | None = None,
    rotation: float | None = None,
    zoom: float | None = None,
    fill: Literal["nearest", "constant"] | None = None,
    fill_value: float | None = None,
    brightness: float | None = None,
    contrast: float | None = None,
    saturation: float | None = None,
    hue: float | None = None,
    pca_colour: float | None = None,
    erasing: float | None = None,
    policy: Policy | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    views: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop"] | None = None,
    learning_rate: float | None = None,
    depth_rate: float | None = None,
    weight_decay: float | None = None,
    momentum: float | None = None,
    schedule: Literal["onecycle", "cosine", "plateau", "constant"] | None = None,
    label_smoothing: float | None = None,
    patience: int | None = None,
    val_share: float | None = None,
    test_share: float | None = None,
    group_by: str | None = None,
    drop_leaks: bool | None = None,
    max_bad: float | None = None,
    strict: bool | None = None,
    data_dir: str | None = None,
    allow_empty_class: bool | None = None,
    max_pixels: int | None = None,
    reduce_large: bool | None = None,
    prefix_cache: bool | None = None,
    cache_budget: float | None = None,
    precision: Precision | None = None,
    checkpoint_minutes: float | None = None,
    device: str | None = None,
    workers: int | None = None,
    seed: int | None = None,
    deterministic: bool | None = None,
) -> Run:
    """Train an image classifier on labelled pictures.

    Args:
        pictures: a folder, a .zip or .tar, a .csv, .tsv or .parquet, an .npz or .npy, a folder of idx files, a CIFAR
            archive, WebDataset shards, or one of the words digits, mnist, fashion-mnist, cifar10, cifar100. Or pictures
            in memory, which are written into the cache first: (images, labels) with images (N, H, W), (N, H, W, C) or
            (N, C, H, W) of 0..255 or 0..1 and labels (N,) that are numbers or names; {"train": (images, labels),
            "test": ...}; a Hugging Face `Dataset` or `DatasetDict`.
        project: where run folders are made.
        name: of the run; numbered when it is taken; default: after the pictures.
        resume: go on with an interrupted run: True for the newest in `project`, or its folder; `pictures` may then be
            left out. A run that is finished comes back as it is.
        allow_change: let `resume` go on though the recipe or the pictures are no longer the same.
        quiet: say nothing.
        recipe: a preset or a .yaml file; every other argument changes one of its fields (None: as the recipe has it).
            `saccade train --help` and `saccade.recipe.Recipe` say what each field means.
        augment_with: any function of a float batch (B, C, H, W) in 0..255 and a torch.Generator that returns a batch
            like it; it changes training batches after the recipe's own augmentation, and no frozen stage is then kept.

    Returns:
        The finished run, with its report written.

    Raises:
        SaccadeError: see `saccade.errors`; each message says what, where and what to do.
    """
    given = locals()
    changes = {field: given[field] for field in Recipe.model_fields if field in given and field != "recipe"}
    screen: Screen = QuietScreen() if quiet else RichScreen()
    going_on = NEWEST if resume is True else str(resume or "")
    place = Place(Path(project), name, going_on, allow_change)
    shown = None if pictures is None else _named(pictures)
    folder = train_recipe(make_recipe(recipe, changes), shown, place, screen, augment_with)
    run = Run(folder)
    run.report()
    return run


def _named(pictures: str | Path | Given) -> str | Path:
    """Pictures by path; those that lie in memory are written into the cache."""
    return pictures if isinstance(pictures, str | Path) else keep_given(pictures)


def load(
    run: str | Path,
    *,
    device: str = "auto",
    weights: Literal["best", "last"] = "best",
    say: Callable[[str], None] | None = None,
) -> Classifier:
    """The classifier in a run folder; or, where there is no such folder, a published one such as `resnet50`.

    Args:
        run: a run folder, a network of the catalogue, or `timm/NAME`; the last two name ImageNet's classes.
        device: auto, cpu, cuda, mps.
        weights: of a run.
        say: told where published weights come from, and their terms.

    Raises:
        RunError: there is no run there.
        WeightsError: its weights are damaged or from a newer version.
        ResourceError: published weights are not here and cannot be downloaded.
    """
    if names_a_network(run):
        return Classifier(pretrained(str(run), say=say), device)
    return Classifier(RunFolder.open(run).load(weights), device)


class Classifier:
    """A trained network, ready for new pictures.

    Args:
        trained: out of a run folder, or published.
        device: auto, cpu, cuda, mps.
    """

    def __init__(self, trained: TrainedNetwork, device: str = "auto") -> None:
        self.device = choose_device(device)
        self._trained = trained
        trained.network.to(self.device).eval()

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the network's outputs."""
        return self._trained.class_names

    def predict(self, pictures: Picture | Iterable[Picture], *, top: int = 3) -> Predictions:
        """Name what pictures show.

        Args:
            pictures: a path, a folder, a glob, a uint8 array (H, W), (H, W, 1) or (H, W, 3), or several of them.
            top: how many classes to name.

        Returns:
            A prediction per picture; one that cannot be read has no guesses and a reason.
        """
        several = [pictures] if isinstance(pictures, str | Path | np.ndarray) else list(pictures)
        listed = [one for each in several for one in ([each] if isinstance(each, np.ndarray) else expand([each]))]
        return Predictions(predict(self._trained, listed, self.device, top))

    def __repr__(self) -> str:
        spec = self._trained.network.spec
        return f"Classifier({spec.model}, {spec.image_size} pixels, {len(self.class_names)} classes, {self.device})"


class Run:
    """A finished training."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: accuracy, interval and more for val and test; seconds by stage."""
        return self.folder.metrics

    @property
    def results(self) -> list[dict[str, float]]:
        """A record per epoch."""
        return self.folder.results

    def evaluate(self, pictures: str | Path | Given | None = None, *, device: str = "auto") -> Evaluation:
        """Judge the best weights on the run's own test pictures, or on others.

        Raises:
            DataError: the run's own pictures are no longer where they were.
            LabelError: the pictures show a class the network does not know.
        """
        where, chosen = choose_device(device), None if pictures is None else _named(pictures)
        trained = self.folder.load()
        trained.network.to(where)
        work = Work(num_cores(), strict=False, progress=lambda done, total: None)
        return evaluate(trained, reopen_pictures(self.folder, trained, chosen, work), where)

    def classifier(self, *, device: str = "auto") -> Classifier:
        """Ready for new pictures."""
        return Classifier(self.folder.load(), device)

    def report(self) -> Path:
        """Write report.html anew; returns where it lies."""
        return write_report(self.folder)

    def __repr__(self) -> str:
        return f"Run({self.path})"

    def _repr_html_(self) -> str:
        test = self.metrics.get("test")
        if test is None:
            return f"<b>{self.path}</b>: not finished"
        low, high = test["interval"]
        return (
            f"<b>{self.path}</b>: {test['accuracy']:.1%} of {test['num_pictures']:,} test pictures right "
            f"(95 % interval {low:.1%} to {high:.1%})"
        )
