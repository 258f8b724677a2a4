"""The flags of the command line: those that several commands share, and those of `train`, read from the recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from saccade.presets import ADVICE, PRESETS
from saccade.recipe import Recipe

# The flags of `train` by the heading they stand under in its help; a field that is not here is a test's failure.
FLAG_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Network": ("model", "weights", "train", "solve_head", "batch_norm", "head", "image_size", "fit"),
        "Augmentation": (
            "augment",
            "flip",
            "flip_turns",
            "shift",
            "whole_pixels",
            "rotation",
            "zoom",
            "fill",
            "fill_value",
            "brightness",
            "contrast",
            "saturation",
            "hue",
            "pca_colour",
            "erasing",
            "policy",
            "mixup",
            "cutmix",
            "views",
        ),
        "Training": (
            "small_first",
            "epochs",
            "batch_size",
            "accumulate",
            "optimizer",
            "learning_rate",
            "depth_rate",
            "bias_rate",
            "head_rate",
            "weight_decay",
            "momentum",
            "schedule",
            "warmup",
            "step_epochs",
            "step_factor",
            "clip_norm",
            "ema",
            "l2",
            "label_smoothing",
            "class_weights",
            "sampling",
            "best_by",
            "tta",
            "min_accuracy",
            "patience",
            "tensorboard",
        ),
        "Pictures": (
            "val_share",
            "test_share",
            "split_seed",
            "folds",
            "fold",
            "fraction",
            "group_by",
            "drop_leaks",
            "max_bad",
            "strict",
            "data_dir",
            "allow_empty_class",
            "max_pixels",
            "reduce_large",
        ),
        "Machine": (
            "prefix_cache",
            "cache_budget",
            "sync_batch_norm",
            "precision",
            "layout",
            "compile",
            "checkpoint_minutes",
            "device",
            "workers",
            "stream",
            "seed",
            "deterministic",
        ),
    }
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, for example runs/animals.")]
MinAccuracy = Annotated[
    float | None,
    typer.Option(
        min=0, max=0.9999, help='Say "not sure" where answers would be right less often. Default: the run\'s own.'
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")]


def train_parameters() -> list[inspect.Parameter]:
    """The parameters of `train`: its own, then every field of the recipe under its heading."""
    presets = f"A preset ({', '.join(PRESETS)}) or a .yaml file."
    pictures = "The labelled pictures; with --resume they may be left out."
    resume = "Go on with an interrupted run: this one or, without RUN, the newest in the project."
    change = "Let --resume go on though the recipe or the pictures are no longer the same."
    rates = "Train a copy briefly at rising learning rates, draw the losses, suggest a rate; make no run."
    own: list[tuple[str, Any, Any]] = [
        ("pictures", Annotated[str | None, typer.Argument(metavar="PICTURES", help=pictures)], None),
        ("recipe", Annotated[str, typer.Option(help=presets)], ADVICE),
        ("project", Annotated[Path, typer.Option(help="Folder in which run folders are made.")], Path("runs")),
        ("name", Annotated[str | None, typer.Option(help="Of the run; numbered when taken.")], None),
        ("resume", Annotated[str, typer.Option(metavar="[RUN]", help=resume, show_default=False)], ""),
        ("allow_change", Annotated[bool, typer.Option("--allow-change", help=change)], False),
        ("find_lr", Annotated[bool, typer.Option("--find-lr", help=rates)], False),
        ("as_json", AsJson, False),
        ("quiet", Quiet, False),
        ("debug", Debug, False),
    ]
    fields = [_flag(field, group) for group, names in FLAG_GROUPS.items() for field in names]
    return [_keyword(name, kind, default) for name, kind, default in own] + fields


# Fields of the recipe that `pack` has use for: those that decide what is listed and how it is decoded.
_PACK_FIELDS = frozenset(
    {"model", "image_size", "fit", "max_bad", "strict", "data_dir", "allow_empty_class", "max_pixels", "reduce_large"}
) | {"workers"}


def pack_parameters() -> list[inspect.Parameter]:
    """The parameters of `pack`: those of `train` that decide how pictures are decoded, and where shards go."""
    shards = Annotated[Path | None, typer.Option(metavar="DIR", help="Write WebDataset shards into this new folder.")]
    size = Annotated[int, typer.Option(min=1, metavar="MB", help="Size that no shard should exceed, in megabytes.")]
    own = [_keyword("shards", shards, None), _keyword("shard_size", size, 512)]
    shared = {"pictures", "recipe", "as_json", "quiet", "debug"} | _PACK_FIELDS
    found = [parameter for parameter in train_parameters() if parameter.name in shared]
    pictures = Annotated[str, typer.Argument(metavar="PICTURES", help="The labelled pictures.")]
    return [_keyword("pictures", pictures, inspect.Parameter.empty), *own, *found[1:]]


# Fields of the recipe that a comparison sets for each of its runs.
_COMPARED = frozenset({"model", "split_seed", "folds", "fold", "fraction"})


def compare_parameters() -> list[inspect.Parameter]:
    """The parameters of `compare`: its own, then every field of the recipe that its runs have in common."""
    pictures = "The labelled pictures; or the folders of finished runs."
    models = "Networks, with commas between."
    recipes = f"Presets ({', '.join(preset for preset in PRESETS if preset != ADVICE)}) or .yaml files, with commas."
    fractions = "Learn from these shares of the training pictures too: 0.1,0.25,0.5,1 draws the learning curve."
    resume = "Go on with an interrupted comparison: this one or, without a folder, the newest in the project."
    output = "Folder for the page and the table of runs that are finished. Default: a new one in the project."
    own: list[tuple[str, Any, Any]] = [
        ("pictures", Annotated[list[str] | None, typer.Argument(metavar="PICTURES | RUN...", help=pictures)], None),
        ("model", Annotated[str, typer.Option(help=models)], "resnet18"),
        ("recipe", Annotated[str, typer.Option(help=recipes)], "scratch,features,finetune,finetune+augment"),
        ("seeds", Annotated[int, typer.Option(min=1, help="Trainings of each, from other random numbers.")], 1),
        ("folds", Annotated[int, typer.Option(min=0, help="Of a cross-validation: every picture judges once.")], 0),
        ("fractions", Annotated[str, typer.Option(help=fractions)], "1"),
        ("project", Annotated[Path, typer.Option(help="Folder in which the comparison's is made.")], Path("runs")),
        ("name", Annotated[str | None, typer.Option(help="Of the comparison; numbered when taken.")], None),
        ("output", Annotated[Path | None, typer.Option(metavar="DIR", help=output)], None),
        ("resume", Annotated[str, typer.Option(metavar="[DIR]", help=resume, show_default=False)], ""),
        ("as_json", AsJson, False),
        ("quiet", Quiet, False),
        ("debug", Debug, False),
    ]
    split_seed = "Decides who learns, watches and judges, the same for every run. Default: as --seed."
    own.append(("split_seed", Annotated[int | None, typer.Option(min=0, help=split_seed)], None))
    fields = [_flag(name, group) for group, names in FLAG_GROUPS.items() for name in names if name not in _COMPARED]
    return [_keyword(name, kind, default) for name, kind, default in own] + fields


def with_parameters(command: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """Give a command the parameters that typer should make flags of."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _flag(field: str, group: str) -> inspect.Parameter:
    """A field of the recipe as a flag; None means that it was not given."""
    about = Recipe.model_fields[field]
    default = "" if about.default is None or about.annotation is bool else f" (default: {about.default})"
    names = [f"--{field.replace('_', '-')}"]
    if about.annotation is bool:
        names = [f"{names[0]}/--no-{field.replace('_', '-')}"]
    option = typer.Option(*names, help=f"{about.description}{default}", rich_help_panel=group, show_default=False)
    annotation = Annotated[about.annotation | None, option]  # type: ignore[name-defined]
    return _keyword(field, annotation, None)
