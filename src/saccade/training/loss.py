"""What a training makes smaller: cross-entropy on whole or mixed labels, and the L2 of single stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.recipe import Recipe
from saccade.training.sources import BatchSource
from saccade.training.trainable import MixedLabels, Trainable, TrainingOutputs

AUXILIARY_WEIGHT = 0.3  # Szegedy et al. 2014, section 5, https://arxiv.org/abs/1409.4842


class Objective(NamedTuple):
    """How labels count.

    Attributes:
        label_smoothing: share of certainty taken from the label, 0..1.
        class_weights: (K,) on the device of the logits, with a mean of 1 over the training pictures; None: all alike.
    """

    label_smoothing: float = 0.0
    class_weights: Tensor | None = None


def loss_of(network: Trainable, outputs: TrainingOutputs, labels: Tensor | MixedLabels, objective: Objective) -> Tensor:
    """Mean cross-entropy of the batch, plus auxiliary classifiers at 0.3, plus the L2 of single stages.

    With class weights it is the sum over pictures of weight times loss, divided by the number of pictures: a picture
    counts the same in whatever batch it comes. Smoothed and mixed labels count each of their classes with its weight.
    """
    loss = _cross_entropy(outputs.logits, labels, objective)
    for logits in outputs.auxiliary.values():
        loss = loss + AUXILIARY_WEIGHT * _cross_entropy(logits, labels, objective)
    for name, strength in network.l2.items():
        for parameter in _penalised(network, name).parameters():
            if parameter.ndim > 1 and parameter.requires_grad:
                loss = loss + strength * parameter.square().sum()
    return loss


def objective_of(recipe: Recipe, shown: BatchSource, device: torch.device) -> Objective:
    """How labels count in a recipe.

    Args:
        recipe: resolved.
        shown: the pictures that are learnt from; their classes are counted.
        device: of the logits.
    """
    if recipe.class_weights == "none":
        return Objective(recipe.label_smoothing)
    return Objective(recipe.label_smoothing, balanced_weights(shown.class_counts).to(device))


def balanced_weights(counts: Sequence[int]) -> Tensor:
    """scikit-learn's "balanced": pictures / (classes × pictures of the class), so that every class counts the same.

    Args:
        counts: training pictures of each of the K classes.

    Returns:
        float32 (K,); 1 for a class without pictures.
    """
    found = np.asarray(counts, dtype=np.float64)
    shown = found > 0
    weights = np.ones(len(found))
    weights[shown] = found.sum() / (shown.sum() * found[shown])
    return torch.from_numpy(weights).float()


def _penalised(network: Trainable, name: str) -> nn.Module:
    """A stage by its name, or the head or a layer of it: `head`, `head.fc1`."""
    if name == "head" or name.startswith("head."):
        return network.head.get_submodule(name.removeprefix("head").removeprefix("."))
    return network.stages.get_submodule(name)


def _cross_entropy(logits: Tensor, labels: Tensor | MixedLabels, objective: Objective) -> Tensor:
    smoothing, weights = objective.label_smoothing, objective.class_weights
    if isinstance(labels, Tensor):
        if weights is None:
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        return F.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=smoothing).mean()
    first, second = (
        F.cross_entropy(logits, each, weights, reduction="none", label_smoothing=smoothing)
        for each in (labels.labels, labels.partners)
    )
    return torch.lerp(second, first, labels.shares).mean()
