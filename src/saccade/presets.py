"""Recipes with a name, as functions that return one; and how a recipe is made from a name or a file and changes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import yaml
from pydantic import ValidationError

from saccade.errors import RecipeError
from saccade.recipe import Recipe


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


def sprint() -> Recipe:
    """Everything, from random weights, tuned for time to accuracy on pictures of 32×32: docs/sprint.md."""
    return Recipe(
        recipe="sprint",
        model="sprint",
        augment="none",
        flip=0.5,
        flip_turns=True,
        shift=0.0625,
        whole_pixels=True,
        small_first="20,20,20,24,24,24",
        epochs=10,
        batch_size=1000,
        optimizer="muon",
        learning_rate=0.18,
        bias_rate=294.0,
        head_rate=0.0568,
        weight_decay=0.002,
        momentum=0.6,
        schedule="triangle",
        warmup=0.0,
        label_smoothing=0.2,
        tta="shifts",
        layout="channels_last",
        compile="off",
    )


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
        "sprint": sprint,
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
