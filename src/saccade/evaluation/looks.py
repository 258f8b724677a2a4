"""Several looks at one picture, whose logits are averaged: what it shows does not depend on a mirror or a pixel.

Weighted as in Keller Jordan's airbench (2024, https://arxiv.org/abs/2404.00498, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from saccade.recipe import Looks


class Seeing(Protocol):
    """A network in inference mode."""

    def eval(self) -> object:
        """Switch to inference mode."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) -> logits (N, K)."""


class SeveralLooks(NamedTuple):
    """A network that looks several times: `flip` at a picture and its mirror; `shifts` also at both moved by a pixel.

    Half of the weight has the picture where it is, a quarter each of two places: up and left, down and right.
    """

    network: Seeing
    looks: Looks

    def eval(self) -> object:
        """Switch to inference mode."""
        return self.network.eval()

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) -> the mean logits (N, K), float32."""
        return torch.stack([self.network(seen).float() * weight for seen, weight in _views(images, self.looks)]).sum(0)


def _views(images: Tensor, looks: Looks) -> Iterator[tuple[Tensor, float]]:
    """What is looked at, and its weight; the weights add up to 1."""
    if looks == "none":
        yield images, 1.0
        return
    places = ((0, 0.5), (-1, 0.25), (1, 0.25)) if looks == "shifts" else ((0, 1.0),)
    for step, weight in places:
        moved = _moved(images, step)
        yield moved, weight / 2
        yield moved.flip(-1), weight / 2


def _moved(images: Tensor, step: int) -> Tensor:
    """Moved by so many pixels right and down; the outermost pixels are repeated."""
    if step == 0:
        return images
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - step).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - step).clamp(0, width - 1)
    return images[:, :, rows][:, :, :, columns]
