"""Recipe: everything a run was asked to do, in one frozen record. Presets are functions that return one.

The command line reads its flags from these fields, YAML files are read into them, and every run folder
keeps the fully resolved recipe, so the three never disagree.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from saccade.errors import RecipeError

T = TypeVar("T")

Augment = Literal["none", "light", "standard", "strong"]
Fit = Literal["squash", "crop", "pad"]
Policy = Literal["none", "randaugment", "trivial"]
Precision = Literal["auto", "float32", "bfloat16"]

# How far each strength goes: flip probability, shift (share of the side), rotation (degrees), zoom (share), colours
# (shares), probability of erasing. "light" is safe for pictures whose left and right differ, such as digits and text.
_STILL = {"flip": 0.0, "shift": 0.0, "rotation": 0.0, "zoom": 0.0}
_TRUE_COLOURS = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "erasing": 0.0}
STRENGTHS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "none": _STILL | _TRUE_COLOURS,
        "light": _STILL | _TRUE_COLOURS | {"shift": 0.04},
        "standard": {"flip": 0.5, "shift": 0.1, "rotation": 15.0, "zoom": 0.1}
        | {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.0, "erasing": 0.0},
        "strong": {"flip": 0.5, "shift": 0.2, "rotation": 30.0, "zoom": 0.2}
        | {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.03, "erasing": 0.25},
    }
)

# Highest learning rate and weight decay of each optimizer, where the recipe names none.
OPTIMIZER_DEFAULTS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"adamw": (1e-3, 1e-2), "adam": (1e-3, 0.0), "sgd": (5e-2, 5e-4), "rmsprop": (1e-3, 0.0)}
)


class Recipe(BaseModel):
    """All that a run was asked to do. Fields that are None are filled in by `resolved`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    recipe: str = Field("scratch", description="the preset this began as")
    model: str = Field("lenet5", description="a network of the catalogue; `saccade models` lists them")
    weights: str = Field(
        "none", description="start from: none (random), default (published), a published set's NAME, or a FILE"
    )
    train: str = Field(
        "all",
        min_length=1,
        description="what learns: all, head, last (stages), last-2, or stages such as block5_conv3 or layer4",
    )
    solve_head: bool = Field(
        False, description="first solve a linear head on the frozen features, as the convex problem it is"
    )
    batch_norm: Literal["learn", "keep"] = Field(
        "learn", description="keep: BatchNorm of learning stages keeps the statistics of the pretrained weights"
    )
    head: str | None = Field(None, description="gap, flatten, 128,64,32, gap:512:sigmoid; default: the family's own")
    image_size: int | None = Field(None, ge=8, le=4096, description="side of the square the network sees, in pixels")
    fit: Fit = Field("squash", description="how a picture becomes square: squash cuts nothing away")

    augment: Augment = Field("light", description="random changes while training: none, light, standard, strong")
    flip: float | None = Field(None, ge=0, le=1, description="probability of mirroring left and right")
    shift: float | None = Field(None, ge=0, lt=1, description="largest shift, as a share of width and height")
    rotation: float | None = Field(None, ge=0, le=180, description="largest turn either way, in degrees")
    zoom: float | None = Field(None, ge=0, lt=1, description="0.2 enlarges or reduces by up to a fifth")
    fill: Literal["nearest", "constant"] = Field("nearest", description="what a shift or turn lets in at the edge")
    fill_value: float = Field(0.0, ge=0, le=255, description="the grey level of --fill constant, 0 to 255")

    brightness: float | None = Field(None, ge=0, lt=1, description="0.2 multiplies all pixels by 0.8 to 1.2")
    contrast: float | None = Field(None, ge=0, lt=1, description="0.2: distances from the mean grey times 0.8 to 1.2")
    saturation: float | None = Field(None, ge=0, le=1, description="0.2: colours 0.8 to 1.2 times as strong")
    hue: float | None = Field(None, ge=0, le=0.5, description="largest turn of the hues, as a share of their circle")
    pca_colour: float = Field(0.0, ge=0, le=1, description="deviation of AlexNet's random light; theirs was 0.1")
    erasing: float | None = Field(None, ge=0, le=1, description="probability of covering a rectangle with one colour")
    policy: Policy = Field("none", description="torchvision's randaugment or trivial, drawn for each picture")
    mixup: float = Field(0.0, ge=0, le=10, description="blend pictures and labels in pairs; usual: 0.2; 0: not at all")
    cutmix: float = Field(0.0, ge=0, le=10, description="paste a part of another picture; usual: 1; 0: not at all")

    views: int = Field(
        0,
        ge=0,
        le=1000,
        description="fixed random views per picture, kept and cycled through; 0: fresh ones each epoch",
    )

    epochs: int = Field(20, ge=1, le=100_000, description="how often every training picture is seen")
    batch_size: int = Field(64, ge=1, le=65_536, description="pictures per update")
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop"] = Field("adamw", description="how weights are updated")
    learning_rate: float | None = Field(
        None, gt=0, le=10, description="highest rate; default: by optimizer and network"
    )
    depth_rate: float = Field(
        1.0, gt=0, le=1, description="the first stage's rate as a share of the head's; between them it falls evenly"
    )
    weight_decay: float | None = Field(None, ge=0, le=1, description="pull towards zero; default: by optimizer")
    momentum: float = Field(0.9, ge=0, lt=1, description="for sgd (Nesterov) and rmsprop")
    schedule: Literal["onecycle", "cosine", "plateau", "constant"] = Field(
        "onecycle", description="how the rate changes; plateau: ×0.2 after 5 epochs without a better val loss"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of certainty taken from the label")
    patience: int | None = Field(
        None, ge=0, description="stop after so many epochs without a better val loss; 0 never; default: by schedule"
    )

    val_share: float = Field(0.2, gt=0, lt=0.9, description="share set aside to watch training, where none is given")
    test_share: float = Field(0.2, gt=0, lt=0.9, description="share set aside for the end, where none is given")
    group_by: str | None = Field(
        None,
        min_length=1,
        description=r"keep a group's pictures in one part: a table's column, or an expression such as 'patient(\d+)'",
    )
    drop_leaks: bool = Field(
        False, description="where parts were given: leave pictures out of train that val or test show too"
    )
    max_bad: float = Field(0.05, ge=0, le=1, description="stop when a larger share of the pictures is broken")
    strict: bool = Field(False, description="stop at the first broken picture")
    data_dir: str | None = Field(
        None, description="folder with the files of mnist, fashion-mnist, cifar10, cifar100; default: downloaded"
    )
    allow_empty_class: bool = Field(False, description="keep a class folder without pictures as a class")
    max_pixels: int = Field(100_000_000, ge=64, description="refuse pictures with more pixels than this")
    reduce_large: bool = Field(False, description="reduce JPEGs above --max-pixels while decoding instead")

    prefix_cache: bool = Field(True, description="compute frozen stages once per picture and view, not every epoch")
    cache_budget: float = Field(8.0, gt=0, description="GiB that all kept features may have on disk and in memory")
    precision: Precision = Field("auto", description="layers compute in float32, bfloat16, or auto: the fastest safe")
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="save the state so often within epochs too; --resume goes on from it"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    workers: int | None = Field(None, ge=1, le=1024, description="processes that decode; default: all cores")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of the split, the weights, the order, the augmentation")
    deterministic: bool = Field(True, description="refuse operations whose result can vary between runs")

    def resolved(self) -> Recipe:
        """The same recipe with every default that depends on another field written out."""
        rate, decay = OPTIMIZER_DEFAULTS[self.optimizer]
        # onecycle and cosine promise their best at the end of the cycle, so stopping within it would be a mistake.
        patience = 10 if self.schedule in ("plateau", "constant") else 0
        defaults = {
            **STRENGTHS[self.augment],
            "learning_rate": rate,
            "weight_decay": decay,
            "patience": patience,
        }
        return self.model_copy(update={name: value for name, value in defaults.items() if getattr(self, name) is None})

    def to_yaml(self) -> str:
        """The recipe as YAML, fields in their order."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def scratch() -> Recipe:
    """Everything learns, from random weights: the hand-made CNN."""
    return Recipe(recipe="scratch", weights="none")


def features() -> Recipe:
    """The head alone, on a frozen pretrained backbone: feature extraction."""
    return Recipe(recipe="features", weights="default", train="head", solve_head=True, augment="none")


def finetune() -> Recipe:
    """The head first, then the last stages too, from there and at a low rate: fine-tuning.

    A random head would send large gradients into the pretrained stages (Kumar et al. 2022,
    https://arxiv.org/abs/2202.10054), so it is solved before anything else moves. docs/transfer.md has the
    measurements behind the numbers.
    """
    changes = {"recipe": "finetune", "train": "last", "batch_norm": "keep", "epochs": 10, "learning_rate": 3e-4}
    return features().model_copy(update=changes)


def finetune_augment() -> Recipe:
    """Fine-tuning on randomly changed pictures; five views of each, so that the frozen stages can be kept."""
    changes = {"recipe": "finetune+augment", "augment": "light", "flip": 0.5, "views": 5, "epochs": 20}
    return finetune().model_copy(update=changes)


def full() -> Recipe:
    """Everything, from pretrained weights, at rates that fall with depth."""
    changes = {"recipe": "full", "train": "all", "depth_rate": 0.1, "augment": "light", "flip": 0.5}
    return finetune().model_copy(update=changes)


def advice() -> Recipe:
    """Look at the pictures and the backbone first, then choose; advice.py does."""
    return Recipe(recipe=ADVICE)


ADVICE = "advice"
PRESETS: Mapping[str, Callable[[], Recipe]] = MappingProxyType(
    {
        ADVICE: advice,
        "scratch": scratch,
        "features": features,
        "finetune": finetune,
        "finetune+augment": finetune_augment,
        "full": full,
    }
)


def make_recipe(preset: str, changes: Mapping[str, object]) -> Recipe:
    """A preset, by name or as a YAML file, with single fields changed.

    Args:
        preset: a name in PRESETS, or the path of a .yaml file that holds fields of a recipe.
        changes: field -> value; None means "as the preset has it".

    Raises:
        RecipeError: an unknown preset, an unknown field (the nearest name is given) or a value out of range.
    """
    fields = _preset_fields(preset) | {name: value for name, value in changes.items() if value is not None}
    for name in fields:
        if name not in Recipe.model_fields:
            raise RecipeError(f"a recipe has no field {name!r}", where=preset, remedy=_nearest_field(name))
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RecipeError(
            f"{field} = {first['input']!r} does not fit: {first['msg'].lower()}",
            where=f"recipe field {field}",
            remedy=Recipe.model_fields[field].description if field in Recipe.model_fields else None,
        ) from None


def _preset_fields(preset: str) -> dict[str, object]:
    if preset in PRESETS:
        return PRESETS[preset]().model_dump(exclude_unset=True)
    if preset.endswith((".yaml", ".yml")):
        return _yaml_fields(Path(preset))
    near = difflib.get_close_matches(preset, PRESETS, n=1)
    raise RecipeError(
        f"there is no recipe called {preset!r}",
        where="recipe",
        remedy=f"did you mean {near[0]!r}?" if near else f"choose {', '.join(PRESETS)}, or a .yaml file",
    )


def _yaml_fields(path: Path) -> dict[str, object]:
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"the recipe cannot be read: {error}", where=str(path)) from None
    if not isinstance(fields, dict):
        raise RecipeError(
            f"a recipe is a list of `field: value` lines, this file holds a {type(fields).__name__}",
            where=str(path),
            remedy="copy recipe.yaml out of any run folder and change it",
        )
    return {str(name): value for name, value in fields.items()}


def _nearest_field(name: str) -> str:
    near = difflib.get_close_matches(name, Recipe.model_fields, n=1)
    return f"did you mean {near[0]!r}?" if near else "`saccade train --help` lists the fields"


def known(value: T | None) -> T:
    """A field that is filled in by the time it is needed; ValueError where the recipe was not resolved."""
    if value is None:
        raise ValueError("the recipe is not resolved")
    return value
