"""The L2 penalty of single stages and layers, as a recipe writes it: `block3=1e-4,fc1=1e-3`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Protocol

from torch import nn

from saccade.errors import RecipeError
from saccade.training.freeze import has_parameters, stages_called


class Penalisable(Protocol):
    """What is needed of a network; every `models.network.Network` has it."""

    stages: nn.Sequential
    head: nn.Module


def choose_penalties(network: Penalisable, text: str | None) -> Mapping[str, float]:
    """Strengths by the names that `loss.loss_of` knows: stages, `head`, and layers of the head such as `head.fc1`.

    Args:
        network: whose stages and head are meant.
        text: parts NAME=STRENGTH with commas between them. NAME is a stage in the words of freeze.py (block3 means
            block3_conv1, block3_conv2 ...), `head` for the whole head, or a layer of it, `fc1` or `head.fc1`. The
            penalty is STRENGTH times the sum of the squares of the weights; biases are left alone. None for nothing.

    Raises:
        RecipeError: a part cannot be read, or names nothing with weights; the nearest names are given.
    """
    found: dict[str, float] = {}
    for part in text.split(",") if text else ():
        name, _, strength = (each.strip() for each in part.partition("="))
        for each in _named(network, name):
            found[each] = _strength(strength, part)
    return found


def _named(network: Penalisable, name: str) -> list[str]:
    layers = [each for each, layer in network.head.named_modules() if each and has_parameters(layer)]
    inside = name.removeprefix("head.")
    if name == "head":
        return ["head"]
    if inside in layers:
        return [f"head.{inside}"]
    stages = [each for each, stage in network.stages.named_children() if has_parameters(stage)]
    found = stages_called(name, stages)
    if found:
        return found
    near = difflib.get_close_matches(name, [*stages, "head", *layers], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise RecipeError(
        f"no stage or layer of the head with weights is called {name!r}",
        where="l2",
        remedy=f"{hint}There are {', '.join(stages)}; head; and in it {', '.join(layers)}",
    )


def _strength(text: str, part: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise RecipeError(
            f"the L2 penalty {part.strip()!r} cannot be read",
            where="l2",
            remedy="write NAME=STRENGTH, several with commas between them, such as block3=1e-4,fc1=1e-3",
        )
    return value
