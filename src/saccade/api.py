"""The Python face of saccade: train, check and compare here; classifier.py and finished.py have what they lead to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from saccade.classifier import Classifier as Classifier
from saccade.classifier import load as load
from saccade.compare import TYPICAL, Compared
from saccade.compare import compare as compare_recipes
from saccade.data.augment import OwnChange
from saccade.data.sources.given import Given, placed
from saccade.engine import choose_device
from saccade.finished import Run as Run
from saccade.learning import Own
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
from saccade.screen import QuietScreen, RichScreen, Screen
from saccade.training.callbacks import Callback as Callback
from saccade.training.distributed import leads
from saccade.training.shapes import OwnShape
from saccade.use.check import Asked, check_pictures, open_looker
from saccade.use.comparison_page import write_comparison, write_missing_reports
from saccade.use.findings import Findings


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
    stream: bool | None = None,
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
            `saccade train --help` and `saccade.recipe.Recipe` say what each field means. Without `model` the size of
            the pictures decides, without `recipe` the pictures and the network.
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
    shown = None if pictures is None else placed(pictures)
    folder = train_recipe(
        make_recipe(recipe, changes), shown, place, screen, Own(augment_with, shape, tuple(callbacks))
    )
    run = Run(folder)
    if leads():
        run.report()
    return run


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
    return Findings(check_pictures(placed(pictures), asked, screen))


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
        changes: fields of the recipe that all runs have in common, for example {"image_size": 96}; those that are
            arguments here (model, recipe, folds, fold, fraction) are refused.
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
    compared = compare_recipes(plan, None if pictures is None else placed(pictures), place, screen)
    write_missing_reports(compared.folder, lambda done, total: None)
    write_comparison(compared.folder)
    return compared
