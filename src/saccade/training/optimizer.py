"""From a recipe to one of torch's optimizers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from saccade.recipe import Recipe
from saccade.training.step import Trainable


def make_optimizer(network: Trainable, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over every parameter that learns.

    Biases and the scales of normalisation layers (everything with fewer than two axes) are not decayed: pulling
    them to zero takes from the network without regularising it (He et al. 2018, https://arxiv.org/abs/1812.01187).
    """
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    rate, decay = _given(recipe.learning_rate), _given(recipe.weight_decay)
    groups = [
        {"params": _with_axes(learning, flat=False), "weight_decay": decay},
        {"params": _with_axes(learning, flat=True), "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=rate)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, momentum=recipe.momentum)
    return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def _with_axes(parameters: Iterable[nn.Parameter], *, flat: bool) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if (parameter.ndim < 2) == flat]


def _given(value: float | None) -> float:
    if value is None:
        raise ValueError("the recipe must be resolved before an optimizer is made from it")
    return value
