"""The Python face of saccade: train and load, and the two thin objects they return."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from saccade.compare import TYPICAL, Compared
from saccade.compare import compare as compare_recipes
from saccade.data.augment import OwnChange
from saccade.data.packing import Work
from saccade.data.sources.given import Given, keep_given
from saccade.engine import choose_device, num_cores
from saccade.errors import UsageError
from saccade.evaluation.evidence import Evidence, judge_run
from saccade.learning import Own
from saccade.models.certainty import Certainty
from saccade.pipeline import train as train_recipe
from saccade.plan import Plan
from saccade.presets import ADVICE, make_recipe
from saccade.recipe import (
    Augment,
    Balance,
    Compile,
    Fit,
    Looks,
    MemoryLayout,
    Metric,
    Policy,
    Precision,
    Recipe,
    Sampling,
    Schedule,
)
from saccade.resuming import NEWEST, Place
from saccade.runs import RunFolder, TrainedNetwork
from saccade.screen import QuietScreen, RichScreen, Screen
from saccade.training.callbacks import Callback as Callback
from saccade.training.distributed import leads
from saccade.training.shapes import OwnShape
from saccade.use.answer import Answerer, Wanted
from saccade.use.check import Asked, check_pictures, open_looker
from saccade.use.comparison_page import write_comparison, write_missing_reports
from saccade.use.explain import Explanations
from saccade.use.explain import explain as explain_pictures
from saccade.use.explain_run import explain_classes, explain_mistakes, own_pictures
from saccade.use.export import Format, Wish, export_run
from saccade.use.exported import Exported
from saccade.use.fast import USUAL, Speed
from saccade.use.findings import Findings
from saccade.use.heatmaps import Method, Question
from saccade.use.inputs import expand, named
from saccade.use.onnx_file import OnnxNetwork, PrecisionName, names_an_onnx_file, open_onnx
from saccade.use.predict import Picture, Prediction, Predictions
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
    callbacks: Sequence[Callback] = (),
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
    flip_turns: bool | None = None,
    shift: float | None = None,
    whole_pixels: bool | None = None,
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
    small_first: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    accumulate: int | None = None,
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "muon"] | None = None,
    learning_rate: float | None = None,
    depth_rate: float | None = None,
    bias_rate: float | None = None,
    head_rate: float | None = None,
    weight_decay: float | None = None,
    momentum: float | None = None,
    schedule: Schedule | OwnShape | None = None,
    warmup: float | None = None,
    step_epochs: str | None = None,
    step_factor: float | None = None,
    clip_norm: float | None = None,
    ema: float | None = None,
    l2: str | None = None,
    label_smoothing: float | None = None,
    class_weights: Balance | None = None,
    sampling: Sampling | None = None,
    best_by: Metric | None = None,
    tta: Looks | None = None,
    min_accuracy: float | None = None,
    patience: int | None = None,
    tensorboard: bool | None = None,
    val_share: float | None = None,
    test_share: float | None = None,
    split_seed: int | None = None,
    folds: int | None = None,
    fold: int | None = None,
    fraction: float | None = None,
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
    sync_batch_norm: bool | None = None,
    precision: Precision | None = None,
    layout: MemoryLayout | None = None,
    compile: Compile | None = None,  # noqa: A002 (as the flag and torch have it)
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
        callbacks: asked after every update and every epoch, see `saccade.Callback`.
        schedule: a name, or any function of the epochs done so far (2.5 in the middle of the third) that returns the
            share of the learning rate for the next update.

    Returns:
        The finished run, with its report written.

    Raises:
        SaccadeError: see `saccade.errors`; each message says what, where and what to do.
    """
    given = locals()
    changes = {field: given[field] for field in Recipe.model_fields if field in given and field != "recipe"}
    shape = schedule if callable(schedule) else None
    if shape is not None:
        changes["schedule"] = "own"
    screen: Screen = QuietScreen() if quiet else RichScreen()
    going_on = NEWEST if resume is True else str(resume or "")
    place = Place(Path(project), name, going_on, allow_change)
    shown = None if pictures is None else _named(pictures)
    folder = train_recipe(
        make_recipe(recipe, changes), shown, place, screen, Own(augment_with, shape, tuple(callbacks))
    )
    run = Run(folder)
    if leads():
        run.report()
    return run


def _named(pictures: str | Path | Given) -> str | Path:
    """Pictures by path; those that lie in memory are written into the cache."""
    return pictures if isinstance(pictures, str | Path) else keep_given(pictures)


def check(
    pictures: str | Path | Given,
    *,
    run: str | Path | None = None,
    weights: str = "default",
    group_by: str | None = None,
    data_dir: str | None = None,
    device: str = "auto",
    seed: int = 0,
    quiet: bool = False,
) -> Findings:
    """Find what is wrong with labelled pictures before anything learns from them. Nothing is changed.

    Args:
        pictures: as for `train`.
        run: look for wrong labels with this run folder, or this network of the catalogue.
        weights: of a network that is no run: default (published) or a file.
        group_by: a column of the table, or an expression for the names, that says which pictures belong together.
        data_dir: where the files of a data set that is given by its word lie.
        device: auto, cpu, cuda, mps.
        seed: of the split that is looked at where none is given.
        quiet: say nothing.

    Raises:
        SaccadeError: see `saccade.errors`; each message says what, where and what to do.
    """
    screen: Screen = QuietScreen() if quiet else RichScreen()
    looker = None if run is None else open_looker(str(run), weights, screen.say)
    asked = Asked(group_by, seed, data_dir, looker, choose_device(device))
    return Findings(check_pictures(_named(pictures), asked, screen))


def load(
    run: str | Path,
    *,
    device: str = "auto",
    weights: Literal["best", "last"] = "best",
    precision: Precision = "float32",
    compile: Compile = "off",  # noqa: A002 - what the flag is called
    workers: int = 0,
    say: Callable[[str], None] | None = None,
) -> Classifier:
    """The classifier in a run folder; or, where there is no such folder, a published one such as `resnet50`.

    Args:
        run: a run folder, a network of the catalogue, or `timm/NAME`; the last two name ImageNet's classes. Or an
            .onnx file that `Run.export` wrote: it computes on the CPU, as it was written.
        device: auto, cpu, cuda, mps.
        weights: of a run.
        precision: float32, tf32, bfloat16 or auto, the fastest that is safe here; only float32 gives the same bits
            everywhere.
        compile: off, on, or auto: where it pays. What is compiled differs in the last digits.
        workers: processes that decode pictures; 0: one per core.
        say: told where published weights come from, and their terms.

    Raises:
        RunError: there is no run there.
        ModelError: the .onnx file is not there, damaged, or not saccade's.
        WeightsError: its weights are damaged or from a newer version.
        ResourceError: published weights are not here and cannot be downloaded.
    """
    if names_an_onnx_file(run):
        trained, device = open_onnx(Path(run)).trained, "cpu"
    else:
        trained = pretrained(str(run), say=say) if names_a_network(run) else RunFolder.open(run).load(weights)
    return Classifier(trained, device, Speed(precision, compile), workers)


def _one_by_one(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    """Folders and globs become the pictures that they stand for."""
    several = [pictures] if isinstance(pictures, str | Path | np.ndarray) else list(pictures)
    return [one for each in several for one in ([each] if isinstance(each, np.ndarray) else expand([each]))]


class Classifier:
    """A trained network, ready for new pictures.

    Args:
        trained: out of a run folder, or published.
        device: auto, cpu, cuda, mps.
        speed: what may be given up for it.
        workers: processes that decode pictures; 0: one per core.

    Attributes:
        answerer: what answers; it holds the processes that decode, which end with it or with its `close`.
    """

    def __init__(self, trained: TrainedNetwork, device: str = "auto", speed: Speed = USUAL, workers: int = 0) -> None:
        self.device = choose_device(device)
        self._trained = trained
        self.answerer = Answerer(trained, self.device, speed, workers)

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the network's outputs."""
        return self._trained.class_names

    @property
    def certainty(self) -> Certainty:
        """The temperature of its probabilities, and when it is "not sure"."""
        return self._trained.certainty

    def predict(
        self,
        pictures: Picture | Iterable[Picture],
        *,
        top: int = 3,
        min_accuracy: float | None = None,
        tta: Looks = "none",
    ) -> Predictions:
        """Name what pictures show.

        Args:
            pictures: a path, a folder, a glob, a zip or tar, a table with a column of paths, a uint8 array (H, W),
                (H, W, 1) or (H, W, 3), or several of them.
            top: how many classes to name.
            min_accuracy: that answers should have, 0..1; those below the confidence that follows from it are not
                sure. None as the run was trained with; 0: all are sure.
            tta: how often to look at a picture: none (once), flip (also at its mirror), shifts (also moved by a pixel).

        Returns:
            A prediction per picture; one that cannot be read has no guesses and a reason.

        Raises:
            UsageError: an accuracy is asked for, and nothing is known from which a threshold could follow.
            ArchiveError, TableError: an archive or a table that was named cannot be read.
        """
        return Predictions(self.predict_iter(pictures, top=top, min_accuracy=min_accuracy, tta=tta))

    def predict_iter(
        self,
        pictures: Picture | Iterable[Picture],
        *,
        top: int = 3,
        min_accuracy: float | None = None,
        tta: Looks = "none",
    ) -> Generator[Prediction]:
        """The same for any number of pictures in constant memory: each is taken, and answered, when its turn comes.

        Args:
            pictures: as for `predict`; also a generator without end.
            top, min_accuracy, tta: likewise.

        Yields:
            A prediction per picture, in order; a few dozen pictures are read ahead of it.

        Raises:
            UsageError, ArchiveError, TableError: as `predict`.
        """
        return self.answerer.stream(named(pictures), Wanted(top, min_accuracy, tta))

    def explain(
        self,
        pictures: Picture | Iterable[Picture] = (),
        *,
        method: Method = "gradcam",
        stage: str | None = None,
        class_name: str | None = None,
    ) -> Explanations:
        """Show where in pictures the network finds what it names, or what its stages make of them.

        Args:
            pictures: as for `predict`; the method `filters` looks at none.
            method: gradcam, occlusion, features (the maps of a stage) or filters (of the first layer).
            stage: for gradcam and features; None for the deepest whose map has at least 5 × 5 places.
            class_name: that the heat is about; None for the one that the network names.

        Returns:
            A drawn explanation per picture; one that cannot be read has no image and a reason. `save(folder)` writes
            them as PNG.

        Raises:
            UsageError: there is no such method, class or stage, or the stage gives no map.
        """
        if isinstance(self._trained.network, OnnxNetwork):
            raise UsageError("an ONNX file has no stages to look into", remedy="load the run that it was exported from")
        return Explanations(explain_pictures(self._trained, _one_by_one(pictures), Question(method, stage, class_name)))

    def __repr__(self) -> str:
        spec = self._trained.network.spec
        return f"Classifier({spec.model}, {spec.image_size} pixels, {len(self.class_names)} classes, {self.device})"


def compare(
    pictures: str | Path | Given | None = None,
    *,
    models: Sequence[str] = ("resnet18",),
    recipes: Sequence[str] = TYPICAL,
    seeds: int = 1,
    folds: int = 0,
    fractions: Sequence[float] = (1.0,),
    changes: Mapping[str, object] = MappingProxyType({}),
    project: str | Path = "runs",
    name: str | None = None,
    resume: bool | str | Path = False,
    quiet: bool = False,
) -> Compared:
    """Train several recipes on the same pictures, one after the other, and say where they stand.

    Args:
        pictures: as for `train`; None for those of the comparison that goes on.
        models: names of networks.
        recipes: presets, or .yaml files; those that need pretrained weights are left out of networks that have none.
        seeds: trainings of each, from other random numbers, on the same split.
        folds: of a cross-validation, in which every picture judges once; 0 for the split that there is.
        fractions: of the training pictures; with more than one the result has learning curves.
        changes: fields of the recipe that all runs have in common, for example {"image_size": 96}.
        project: where the comparison's folder is made.
        name: of it; numbered when it is taken.
        resume: go on with an interrupted comparison: True for the newest in `project`, or its folder.
        quiet: say nothing.

    Returns:
        Its folder, in which compare.html lies, `comparison` (the table: it shows itself in a notebook) and `curves`.

    Raises:
        SaccadeError: see `saccade.errors`; what was finished by then is not trained again.
    """
    plan = Plan(tuple(models), tuple(recipes), dict(changes), seeds, folds, tuple(sorted(set(fractions))))
    place = Place(Path(project), name, NEWEST if resume is True else str(resume or ""))
    screen: Screen = QuietScreen() if quiet else RichScreen()
    compared = compare_recipes(plan, None if pictures is None else _named(pictures), place, screen)
    write_missing_reports(compared.folder, lambda done, total: None)
    write_comparison(compared.folder)
    return compared


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

    def evaluate(
        self,
        pictures: str | Path | Given | None = None,
        *,
        min_accuracy: float | None = None,
        device: str = "auto",
    ) -> Evidence:
        """Judge the best weights on the run's own test pictures, or on others.

        Args:
            pictures: as for `train`, with classes that the run knows; None for its own test pictures.
            min_accuracy: that answers should have, or the network is "not sure"; None as it was trained with.
            device: auto, cpu, cuda, mps.

        Raises:
            DataError: the run's own pictures are no longer where they were.
            LabelError: the pictures show a class the network does not know.
        """
        chosen = None if pictures is None else _named(pictures)
        work = Work(num_cores(), strict=False, progress=lambda done, total: None)
        return judge_run(self.folder, chosen, choose_device(device), work, min_accuracy)

    def classifier(self, *, device: str = "auto") -> Classifier:
        """Ready for new pictures."""
        return Classifier(self.folder.load(), device)

    def explain(
        self,
        *,
        mistakes: int = 0,
        per_class: int = 8,
        method: Method = "gradcam",
        stage: str | None = None,
        device: str = "auto",
    ) -> Explanations:
        """Heat maps of the run's own test pictures: a sheet per class, or the most confident mistakes.

        Args:
            mistakes: how many of them; 0 for the sheets.
            per_class: pictures on a sheet.
            method: gradcam or occlusion.
            stage: for gradcam; None for the deepest whose map has at least 5 × 5 places.
            device: auto, cpu, cuda, mps.

        Returns:
            Sheets; `warnings` names the classes whose heat lies clearly at the border, `save(folder)` writes PNGs.

        Raises:
            DataError: the run's pictures are no longer where they were.
            UsageError: the method gives no heat, or there is no such stage.
        """
        trained, question = self.folder.load(), Question(method, stage)
        trained.network.to(choose_device(device))
        own = own_pictures(self.folder, trained)
        if mistakes:
            return explain_mistakes(own, mistakes, question)
        return explain_classes(own, per_class, question, lambda done, total: None)

    def export(
        self,
        output: str | Path | None = None,
        *,
        format: Format = "onnx",  # noqa: A002 - what the flag is called
        precision: PrecisionName = "float32",
        quiet: bool = False,
    ) -> Exported:
        """Write the network as one file that takes pictures as they are, and prove that it answers as this run does.

        Args:
            output: the file; None for model.onnx in the run folder.
            format: onnx, or pt2 (torch.export).
            precision: float32, float16 or int8 (onnx alone) for weights and sums.
            quiet: say nothing.

        Returns:
            Its path, and what came of trying it on the run's test pictures.

        Raises:
            ExportError: the network has no such form, or the file does not answer as it does; nothing is written.
            MissingExtraError: a library of `saccade[export]` is not installed.
        """
        screen: Screen = QuietScreen() if quiet else RichScreen()
        return export_run(self.folder, Wish(format, precision, None if output is None else Path(output)), screen)

    def report(self) -> Path:
        """Write report.html anew; returns where it lies."""
        return write_report(self.folder)

    def __repr__(self) -> str:
        return f"Run({self.path})"

    def _repr_html_(self) -> str:
        test = self.metrics.get("test")
        if test is None:
            return f"<b>{escape(str(self.path))}</b>: not finished"
        low, high = test["interval"]
        return (
            f"<b>{escape(str(self.path))}</b>: {test['accuracy']:.1%} of {test['num_pictures']:,} test pictures right "
            f"(95 % interval {low:.1%} to {high:.1%})"
        )
