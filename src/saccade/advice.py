"""Which recipe suits these pictures, where none was asked for.

Two questions decide, as in every course on transfer learning: how many pictures there are, and how like those are that
the backbone was trained on. The second is answered by a probe: features of the frozen backbone, and least squares that
judges each picture by all the others (training/probe.py).

|                    | the backbone tells them apart | it does not       |
| ------------------ | ----------------------------- | ----------------- |
| many pictures      | finetune                      | full              |
| few pictures       | features                      | finetune+augment  |
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from saccade.errors import RecipeError, WeightsError
from saccade.keeping import Pixels, keep_sample
from saccade.models.catalogue import build_network, find_entry
from saccade.models.network import Network, NetworkSpec
from saccade.models.published import published_sets
from saccade.models.timm import PREFIX, timm_facts
from saccade.models.weights import initialise
from saccade.presets import ADVICE, make_recipe
from saccade.recipe import Recipe
from saccade.screen import Screen
from saccade.training.linear_head import HeadInputs, find_linear_head, head_inputs
from saccade.training.probe import ridge_sweep
from saccade.training.sources import BatchSource

MANY = 500  # pictures per class
LIKE = 0.8  # of the way from guessing to always right
SAMPLE = 2_000  # pictures that the probe looks at


class Likeness(NamedTuple):
    """What the probe found: its accuracy on pictures left out, that of guessing, and how many it looked at."""

    accuracy: float
    guessing: float
    num_pictures: int

    @property
    def share(self) -> float:
        """0 where the backbone helps no more than guessing, 1 where it separates everything."""
        return (self.accuracy - self.guessing) / (1 - self.guessing) if self.guessing < 1 else 1.0


def first_choice(recipe: Recipe) -> Recipe:
    """What can be said before the pictures are seen: `scratch` where there are no pretrained weights, else `features`.

    Args:
        recipe: any; only one that asks for advice is changed. What its owner set stays set.
    """
    if recipe.recipe != ADVICE:
        return recipe
    asked = {field: getattr(recipe, field) for field in recipe.model_fields_set - {"recipe"}}
    weights = asked.get("weights", "default" if has_published_weights(recipe.model) else "none")
    return make_recipe("scratch" if weights == "none" else "features", asked)


def has_published_weights(model: str) -> bool:
    """Whether `--weights default` means something for this network."""
    return bool(timm_facts(model).repository) if model.startswith(PREFIX) else bool(published_sets(model))


def why_not_its_own(model: str, weights: str) -> str:
    """What keeps a network from beginning with these weights, in words; empty where nothing does.

    Args:
        model: a name of the catalogue, or `timm/NAME`.
        weights: a file, or the name of a published set.
    """
    try:
        initialise(build_network(NetworkSpec(model, find_entry(model).num_classes)), weights)
    except (RecipeError, WeightsError) as error:
        first = error.what.split(";")[0]
        return f"{model} cannot begin from {Path(weights).name}: {first}"
    return ""


def why_scratch(recipe: Recipe) -> str:
    """The sentence for the left-hand side of no choice at all."""
    if has_published_weights(recipe.model):
        return "advice: --weights none leaves one way, training everything from random weights (recipe scratch)"
    return (
        f"advice: no pretrained weights of {recipe.model} are published, so everything is trained from random weights "
        "(recipe scratch); with few pictures a pretrained network is better: --model resnet18"
    )


def probe(network: Network, pixels: Pixels, recipe: Recipe, screen: Screen) -> Likeness:
    """How well the frozen backbone separates the training pictures already.

    Args:
        network: frozen but for its head.
        pixels: their training part, unchanged by augmentation, is looked at.
        recipe: resolved.
        screen: told what is computed.
    """
    rows = pixels.train.rows
    chosen = np.sort(rows)[np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64))]
    learner, batches = keep_sample(network, pixels, chosen, recipe, screen)
    head = find_linear_head(learner, next(iter(batches.epoch(0))).images[:2])
    inputs = _flat(batches) if head is None else head_inputs(learner, head, batches, range(1))
    found = ridge_sweep(inputs.features, inputs.labels, network.spec.num_classes)
    shares = np.bincount(inputs.labels.cpu().numpy()) / len(inputs.labels)
    return Likeness(found.accuracy, float(shares.max()), len(inputs.labels))


def _flat(batches: BatchSource) -> HeadInputs:
    """What the stages give, where the head is no single layer that could be asked what it is given."""
    shown = list(batches.epoch(0))
    features = torch.cat([batch.images.flatten(1).float() for batch in shown])
    return HeadInputs(features, torch.cat([batch.labels for batch in shown]))


def choose(likeness: Likeness, per_class: int) -> str:
    """The preset for so many pictures per class and this likeness: the table above."""
    alike = likeness.share >= LIKE
    if per_class >= MANY:
        return "finetune" if alike else "full"
    return "features" if alike else "finetune+augment"


_WHY = {
    "features": "the head alone learns: there is little to gain from changing what works, and much to lose",
    "finetune": "the head and the last stages learn: enough pictures to adapt them",
    "finetune+augment": "the head and the last stages learn, at a low rate and from randomly changed pictures",
    "full": "everything learns, at rates that fall with depth: the early stages must adapt too",
}


def in_words(chosen: str, likeness: Likeness, per_class: int) -> str:
    """Two sentences: what was found and what follows from it."""
    many = "many" if per_class >= MANY else "few"
    how = "like" if likeness.share >= LIKE else "unlike"
    return (
        f"advice: {per_class:,} pictures per class are {many}, and features of the frozen backbone tell "
        f"{likeness.accuracy:.1%} of {likeness.num_pictures:,} apart (guessing: {likeness.guessing:.1%}), so they are "
        f"{how} those it learnt from. So {_WHY[chosen]} (recipe {chosen}; --recipe NAME decides otherwise)"
    )
