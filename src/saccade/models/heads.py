"""Heads: from the features of the last stage to logits (N, K).

A head is written as `POOLING[:WIDTHS][:sigmoid]`:

    gap                 global average pooling, then one linear layer
    flatten             every value of the feature map into one linear layer
    128,64,32           flatten, then dense layers of these widths with ReLU, then one linear layer
    gap:512             global average pooling, one dense layer of 512, one linear layer
    gap:512:sigmoid     the same ending in a single sigmoid unit, for two classes
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saccade.errors import RecipeError
from saccade.models.layers import AdaptiveAveragePool, Flatten

POOLINGS = ("gap", "flatten")


class HeadChoice(NamedTuple):
    """A head in words: how the feature map becomes a vector, hidden widths, and whether it ends in one unit."""

    pooling: str
    widths: tuple[int, ...]
    sigmoid: bool


def parse_head(text: str) -> HeadChoice:
    """Read the grammar above.

    Raises:
        RecipeError: a part is neither a pooling, nor widths, nor `sigmoid`.
    """
    parts = [part.strip() for part in text.split(":")]
    sigmoid = parts[-1] == "sigmoid"
    if sigmoid:
        parts = parts[:-1] or ["gap"]
    pooling = parts.pop(0) if parts[0] in POOLINGS else "flatten"
    if len(parts) > 1 or any(not _is_width(width) for part in parts for width in part.split(",")):
        raise RecipeError(
            f"the head {text!r} cannot be read",
            where="head",
            remedy="write POOLING[:WIDTHS][:sigmoid], for example gap, flatten, 128,64,32 or gap:512:sigmoid",
        )
    widths = tuple(int(width) for width in parts[0].split(",")) if parts else ()
    return HeadChoice(pooling, widths, sigmoid)


def _is_width(text: str) -> bool:
    return text.strip().isdecimal() and 0 < int(text) <= 1_000_000


class GlobalAveragePool(nn.Module):
    """The mean over all positions: (N, D, h, w) -> (N, D); features that are vectors already pass through."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, D, h, w) or (N, D) -> (N, D)."""
        return features.mean(dim=(2, 3)) if features.ndim == 4 else features


class SigmoidUnit(nn.Module):
    """One linear unit for two classes.

    Its value z becomes the logits (0, z): their softmax is sigmoid(z) and their cross-entropy is exactly the
    binary cross-entropy of z, so nothing behind the head needs to know that there was one unit only.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.unit = nn.Linear(in_features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, D) -> logits (N, 2)."""
        z = self.unit(features)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def make_head(choice: str, shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Build a head for features of `shape`, (D, h, w) or (D,).

    Raises:
        RecipeError: the head cannot be read, or one sigmoid unit is asked for with other than two classes.
    """
    pooling, widths, sigmoid = parse_head(choice)
    if sigmoid and num_classes != 2:
        raise RecipeError(
            f"one sigmoid unit tells two classes apart, but there are {num_classes}",
            where="head",
            remedy="leave out `sigmoid`: a softmax over all classes is used then",
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if pooling == "gap":
        layers["pool"] = GlobalAveragePool()
    else:
        layers["flatten"] = Flatten()
    in_features = shape[0] if pooling == "gap" else math.prod(shape)
    for number, width in enumerate(widths, start=1):
        layers[f"fc{number}"] = nn.Linear(in_features, width)
        layers[f"relu{number}"] = nn.ReLU()
        in_features = width
    layers["logits"] = SigmoidUnit(in_features) if sigmoid else nn.Linear(in_features, num_classes)
    return nn.Sequential(layers)


def dense_head(
    shape: tuple[int, ...], num_classes: int, *, pool_side: int | None = None, dropout_first: bool = False
) -> nn.Sequential:
    """The head of AlexNet and VGG: flatten, dense 4096, 4096, K, dropout 0.5 around the two hidden layers.

    Args:
        shape: (D, h, w) of the features.
        num_classes: K.
        pool_side: average the map to this side first, so that any size fits the same weights; None to take it as it is.
        dropout_first: dropout before both hidden layers (torchvision's AlexNet) instead of behind both (the papers).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if pool_side:
        layers["pool"] = AdaptiveAveragePool(pool_side)
        shape = (shape[0], pool_side, pool_side)
    layers["flatten"] = Flatten()
    in_features = math.prod(shape)
    for number in (1, 2):
        layers[f"fc{number}"] = nn.Linear(in_features, 4096)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
        layers[f"dropout{number}"] = nn.Dropout(0.5)
        if dropout_first:
            layers.move_to_end(f"fc{number}")
            layers.move_to_end(f"relu{number}")
        in_features = 4096
    layers["logits"] = nn.Linear(in_features, num_classes)
    return nn.Sequential(layers)


def dropout_head(in_features: int, num_classes: int, dropout: float) -> nn.Sequential:
    """The head of GoogLeNet and Inception v3: global average pooling, dropout, one linear layer."""
    logits = nn.Linear(in_features, num_classes)
    return nn.Sequential(OrderedDict(pool=GlobalAveragePool(), dropout=nn.Dropout(dropout), logits=logits))
