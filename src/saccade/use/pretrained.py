"""A network that somebody else has trained, as it is published: names out of the box, without any training here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation
from saccade.errors import ModelError, RecipeError
from saccade.models.catalogue import CATALOGUE, build_network, find_entry
from saccade.models.network import NetworkSpec
from saccade.models.published import imagenet_class_names, published_sets
from saccade.models.timm import PREFIX, TimmFacts, timm_facts
from saccade.models.weights import initialise
from saccade.recipe import Fit
from saccade.trained import TrainedNetwork


class _Published(NamedTuple):
    """Class names in the order of the outputs, the side of the pictures, and how they become square."""

    class_names: tuple[str, ...]
    image_size: int
    fit: Fit


def names_a_network(run: str | Path) -> bool:
    """Whether what should be a run is none, but a network of the catalogue or of timm."""
    name = str(run)
    return not Path(name).exists() and (name in CATALOGUE or name.startswith(PREFIX))


def pretrained(model: str, weights: str = "default", say: Callable[[str], None] | None = None) -> TrainedNetwork:
    """A network with its published weights and the names of the classes that these know.

    Published accuracies are measured on the middle of a picture: its shorter side is made some 8 to 15 % longer than
    the network's, and the square in the middle is cut out. `fit="crop"`, the nearest we have, cuts the same square
    without that margin, so things look that much smaller here. Expect other probabilities in the second digit.

    Args:
        model: a network of the catalogue, or `timm/NAME`.
        weights: `default` or the name of a published set.
        say: told where the weights come from, and their terms, a line at a time.

    Returns:
        The network on the CPU, in inference mode.

    Raises:
        RecipeError: there is no such network or set, or nobody publishes weights for it.
        ModelError: the weights have no classifier.
        ResourceError: they are not here and cannot be downloaded; the message says which file to put where.
    """
    find_entry(model)  # an unknown name is said to be unknown
    published = _of_timm(model, weights) if model.startswith(PREFIX) else _of_torchvision(model, weights)
    network = build_network(NetworkSpec(model, len(published.class_names), published.image_size))
    report = initialise(network, weights)
    if say:
        for line in report.in_words():
            say(line)
    if report.new_head:
        raise _no_classifier(model)
    rules = DecodeRules()
    return TrainedNetwork(
        network.eval(), published.class_names, Preparation(published.image_size, 3, published.fit, rules)
    )


def _of_torchvision(model: str, weights: str) -> _Published:
    for found in published_sets(model):
        if weights == found.name or (weights == "default" and found.is_default):
            if not found.class_names:
                raise _no_classifier(model)
            return _Published(found.class_names, found.image_size, "crop")
    known = ", ".join(name for name in CATALOGUE if published_sets(name))
    raise RecipeError(
        f"nobody publishes weights {weights!r} for {model}",
        where="model",
        remedy=f"train it: saccade train PICTURES --model {model}; pretrained are {known} and most of timm's",
    )


def _of_timm(model: str, weights: str) -> _Published:
    facts = timm_facts(model if weights == "default" else f"{model.partition('.')[0]}.{weights}")
    return _Published(_class_names(facts), facts.image_size, "squash" if facts.crop_mode == "squash" else "crop")


def _class_names(facts: TimmFacts) -> tuple[str, ...]:
    """ImageNet's 1000 as torchvision writes them; for its larger sisters (11k, 12k, 21k, 22k), timm's descriptions."""
    if not facts.has_classifier:
        raise _no_classifier(PREFIX + facts.name)
    if facts.num_classes == 1000:
        return imagenet_class_names()
    info: Any = importlib.import_module("timm.data.imagenet_info")
    subset = info.infer_imagenet_subset({"num_classes": facts.num_classes})
    if subset is None:
        raise _no_classifier(PREFIX + facts.name)
    names = info.ImageNetInfo(subset)
    return tuple(names.index_to_description(index) for index in range(facts.num_classes))


def _no_classifier(model: str) -> ModelError:
    return ModelError(
        f"the published weights of {model} have no classifier whose classes are known",
        remedy=f"train one on your pictures: saccade train PICTURES --model {model} --weights default",
    )
