"""What a run was asked to do, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from saccade.recipe import Recipe

_OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD", "rmsprop": "RMSprop", "muon": "Muon"}
_SCHEDULES = {
    "onecycle": "rising and falling once (onecycle)",
    "cosine": "falling like half a cosine",
    "step": "falling in steps",
    "triangle": "rising and falling in straight lines",
    "plateau": "falling when the validation loss does not",
    "constant": "constant",
    "own": "by a function of the caller's own",
}


def recipe_in_words(recipe: Recipe) -> list[str]:
    """A sentence each about the network, what learns, the epochs, what changes the pictures, and what is unusual.

    Args:
        recipe: resolved.
    """
    found = [_network(recipe), _learning(recipe), _epochs(recipe), _changes(recipe), *_unusual(recipe)]
    return [f"{sentence[0].upper()}{sentence[1:]}." for sentence in found]


def _network(recipe: Recipe) -> str:
    start = {"none": "random weights", "default": "its published weights"}.get(
        recipe.weights, f"the weights {Path(recipe.weights).name}"
    )
    side = recipe.image_size
    return (
        f"the network {recipe.model} looks at squares of {side} × {side} pixels ({recipe.fit}) and starts from {start}"
    )


def _learning(recipe: Recipe) -> str:
    what = {
        "all": "everything learns",
        "head": "the head alone learns, all stages stay as they are",
    }.get(recipe.train, f"{recipe.train} and the head learn, the stages before stay as they are")
    first = "; the head was first solved on the frozen features" if recipe.solve_head else ""
    return f"recipe {recipe.recipe}: {what}{first}"


def _epochs(recipe: Recipe) -> str:
    rate = "" if recipe.learning_rate is None else f" at a rate of up to {recipe.learning_rate:g}"
    stop = f", stopped after {recipe.patience} epochs without a better validation loss" if recipe.patience else ""
    return (
        f"{_several(recipe.epochs, 'epoch')} of batches of {recipe.batch_size}, {_OPTIMIZERS[recipe.optimizer]}{rate}, "
        f"{_SCHEDULES[recipe.schedule]}{stop}"
    )


def _changes(recipe: Recipe) -> str:
    shares = (("shift", "shifted by up to {:.0%}"), ("zoom", "zoomed by up to {:.0%}"))
    colours = ("brightness", "contrast", "saturation", "hue")
    parts = ["mirrored"] if recipe.flip else []
    parts += [words.format(getattr(recipe, field)) for field, words in shares if getattr(recipe, field)]
    parts += [f"turned by up to {recipe.rotation:g}°"] if recipe.rotation else []
    changed = [field for field in colours if getattr(recipe, field)]
    parts += [f"changed in {_list(changed)}"] if changed else []
    parts += ["partly covered"] if recipe.erasing else []
    parts += [f"changed by {recipe.policy}"] if recipe.policy != "none" else []
    parts += [f"mixed in pairs ({name})" for name in ("mixup", "cutmix") if getattr(recipe, name)]
    if not parts:
        return "training pictures are shown as they are, without random changes"
    views = f" in {recipe.views} fixed ways each" if recipe.views else ""
    return f"training pictures are randomly {_list(parts)}{views}"


def _unusual(recipe: Recipe) -> Iterator[str]:
    """What most runs do not do."""
    if recipe.fraction < 1:
        yield f"it learned from {recipe.fraction:.0%} of the training pictures only"
    if recipe.folds:
        yield f"fold {recipe.fold} of {recipe.folds} judges"
    if recipe.label_smoothing:
        yield f"labels are smoothed by {recipe.label_smoothing:g}"
    if recipe.class_weights == "balanced" or recipe.sampling == "balanced":
        yield "rare classes count as much as common ones"
    if recipe.ema:
        yield f"a moving average of the weights was kept (factor {recipe.ema:g})"
    if recipe.tta != "none":
        yield f"it was also judged by several looks at each picture ({recipe.tta})"
    if recipe.min_accuracy:
        yield f"its answers should be right in at least {recipe.min_accuracy:.0%} of cases, or else be “not sure”"


def _several(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
