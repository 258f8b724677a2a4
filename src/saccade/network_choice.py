"""Which network suits these pictures, where none was named.

The size of the pictures decides. Small ones were what LeNet was made for, and it learns from them in seconds;
photographs need a network that has seen many, and ResNet-18 is the smallest of which weights are published. Where
those cannot be had it begins from random weights, on smaller pictures so that a processor is done within minutes.

| pictures           | pretrained weights | network                                      |
| ------------------ | ------------------ | -------------------------------------------- |
| up to 40 pixels    | not asked for      | lenet5                                       |
| larger             | can be had         | resnet18, at its 224 pixels                  |
| larger             | none               | resnet18, at 64 pixels                       |
| any                | asked for          | resnet18, or the one that the file belongs to |
"""

from __future__ import annotations

from pathlib import Path

from saccade.data.listing import Listing
from saccade.data.sizes import typical_size
from saccade.errors import ResourceError
from saccade.models.published import default_set, fetch, fetching
from saccade.models.weights import network_of
from saccade.presets import ADVICE, make_recipe
from saccade.recipe import AUTO, Recipe
from saccade.screen import Screen

SMALL = 40  # pixels: MNIST's 28 and CIFAR's 32 are below, with room for margins
FOR_SMALL, FOR_PHOTOGRAPHS = "lenet5", "resnet18"
# Without pretrained weights: a twelfth of the work of 224. On 600 photographs 128 was no better (docs/transfer.md).
_SIDE = 64
_REMEDY = "--model NAME decides otherwise"


def with_network(asked: Recipe, listing: Listing, screen: Screen) -> Recipe:
    """The recipe with a network that suits the pictures; unchanged where one was named.

    Args:
        asked: as its owner has it, not resolved.
        listing: the pictures; the sizes of some of them are read.
        screen: told what was chosen and why.

    Raises:
        WeightsError: a file of weights was named that cannot be read.
        ArchiveError: the pictures' archive cannot be read any more.
    """
    if asked.model != AUTO:
        return asked
    is_open = asked.recipe == ADVICE and "weights" not in asked.model_fields_set
    if not is_open and asked.weights != "none":
        return asked.model_copy(update={"model": _for_weights(asked.weights, screen)})
    width, height = typical_size(listing)
    what = f"network: the pictures have about {width}×{height} pixels"
    if max(width, height) <= SMALL:
        screen.say(f"{what}, so {FOR_SMALL}, which is made for small ones ({_REMEDY})")
        return asked.model_copy(update={"model": FOR_SMALL})
    trouble = _why_no_weights(screen) if is_open else ""
    if is_open and not trouble:
        screen.say(f"{what}, so {FOR_PHOTOGRAPHS}, which has learnt from many photographs ({_REMEDY})")
        return asked.model_copy(update={"model": FOR_PHOTOGRAPHS})
    side = asked.image_size or _SIDE
    how = f"its published weights could not be fetched ({trouble}), so it" if trouble else "it"
    screen.say(
        f"{what}, so {FOR_PHOTOGRAPHS} ({_REMEDY}); {how} begins from random weights at {side}×{side} pixels: "
        f"pretrained ones, --weights FILE, would need fewer pictures and less time"
    )
    fields = {field: getattr(asked, field) for field in asked.model_fields_set - {"recipe"}}
    preset = "scratch" if is_open else asked.recipe
    return make_recipe(preset, {**fields, "model": FOR_PHOTOGRAPHS, "image_size": side})


def _for_weights(weights: str, screen: Screen) -> str:
    """The network that a file of weights belongs to; where that is not known, the one for photographs."""
    path = Path(weights)
    found = network_of(path) if path.is_file() else None
    model = found or FOR_PHOTOGRAPHS
    why = "the smallest with published weights" if found is None else f"to which {path.name} belongs"
    screen.say(f"network: {model}, {why} ({_REMEDY})")
    return model


def _why_no_weights(screen: Screen) -> str:
    """What keeps the published weights from being had, in words; empty where nothing does, and then they are there."""
    if words := fetching(FOR_PHOTOGRAPHS, "default"):
        screen.say(words)
    try:
        fetch(default_set(FOR_PHOTOGRAPHS))
    except ResourceError as error:
        return error.what.partition("downloaded: ")[2] or error.what
    return ""
