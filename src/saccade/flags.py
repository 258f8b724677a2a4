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
            "shift",
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
            "epochs",
            "batch_size",
            "optimizer",
            "learning_rate",
            "depth_rate",
            "weight_decay",
            "momentum",
            "schedule",
            "label_smoothing",
            "patience",
        ),
        "Pictures": (
            "val_share",
            "test_share",
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
            "precision",
            "checkpoint_minutes",
            "device",
            "workers",
            "seed",
            "deterministic",
        ),
    }
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, for example runs/animals.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")]


def train_parameters() -> list[inspect.Parameter]:
    """The parameters of `train`: its own, then every field of the recipe under its heading."""
    presets = f"A preset ({', '.join(PRESETS)}) or a .yaml file."
    pictures = "The labelled pictures; with --resume they may be left out."
    resume = "Go on with an interrupted run: this one or, without RUN, the newest in the project."
    change = "Let --resume go on though the recipe or the pictures are no longer the same."
    own: list[tuple[str, Any, Any]] = [
        ("pictures", Annotated[str | None, typer.Argument(metavar="PICTURES", help=pictures)], None),
        ("recipe", Annotated[str, typer.Option(help=presets)], ADVICE),
        ("project", Annotated[Path, typer.Option(help="Folder in which run folders are made.")], Path("runs")),
        ("name", Annotated[str | None, typer.Option(help="Of the run; numbered when taken.")], None),
        ("resume", Annotated[str, typer.Option(metavar="[RUN]", help=resume, show_default=False)], ""),
        ("allow_change", Annotated[bool, typer.Option("--allow-change", help=change)], False),
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
