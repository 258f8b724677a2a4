"""Mixup and CutMix: each picture of a batch gets a share of the one before it, and of its label.

Mixup: Zhang et al. 2017, https://arxiv.org/abs/1710.09412. CutMix: Yun et al. 2019, https://arxiv.org/abs/1905.04899.
Which picture is the partner follows from the order of the epoch and the batch size; shares and places are drawn per
picture, from (seed, epoch, picture).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saccade.data.draws import Stream, numpy_generator_for
from saccade.data.erasing import between
from saccade.recipe import Recipe


@dataclass(frozen=True)
class Mixing:
    """How pictures are mixed.

    Attributes:
        mixup: both parameters of the Beta distribution of shares; 0: pictures are not blended.
        cutmix: the same for pasted rectangles; with both, each picture takes one way or the other by a coin.
    """

    mixup: float = 0.0
    cutmix: float = 0.0


def mixing_of(recipe: Recipe) -> Mixing | None:
    """What a recipe asks for."""
    return Mixing(recipe.mixup, recipe.cutmix) if recipe.mixup or recipe.cutmix else None


class Mixed(NamedTuple):
    """What labels a mixed batch has: `labels` int64 (B,), `partners` int64 (B,), `shares` float (B,) of the first."""

    labels: Tensor
    partners: Tensor
    shares: Tensor


def draw_mixing(num_pictures: int, mixing: Mixing, seed: int, epoch: int) -> Tensor:
    """float32 (num_pictures, 5): share for mixup, share for cutmix, coin, and where a rectangle has its middle."""
    generator = numpy_generator_for(seed, epoch, Stream.MIXING)
    found = np.empty((num_pictures, 5), dtype=np.float32)
    found[:, 2:] = generator.random((num_pictures, 3), dtype=np.float32)
    for column, alpha in enumerate((mixing.mixup, mixing.cutmix)):
        found[:, column] = generator.beta(alpha, alpha, num_pictures) if alpha else 1.0
    return torch.from_numpy(found)


def mix(images: Tensor, labels: Tensor, draws: Tensor, mixing: Mixing) -> tuple[Tensor, Mixed]:
    """Mix every picture with the one before it.

    Args:
        images: (B, C, H, W) in 0..255.
        labels: int64 (B,).
        draws: (B, 5) of these pictures, see `draw_mixing`, on the same device.
        mixing: how.

    Returns:
        float32 (B, C, H, W) and its labels.
    """
    height, width = images.shape[2:]
    cuts = draws[:, 2] < (0.5 if mixing.mixup else 1.0) if mixing.cutmix else torch.zeros_like(draws[:, 2]).bool()
    cut = (1 - draws[:, 1]).sqrt()
    pasted = _span(height, draws[:, 3], cut)[:, None, :, None] & _span(width, draws[:, 4], cut)[:, None, None, :]
    kept = torch.where(cuts[:, None, None, None], (~pasted).float(), draws[:, 0, None, None, None])
    own = images.float()
    mixed = torch.lerp(own.roll(1, dims=0), own, kept)
    # A rectangle that reaches over the edge is smaller than it was drawn: the share is that of its pixels.
    return mixed, Mixed(labels, labels.roll(1, dims=0), kept.mean(dim=(1, 2, 3)))


def _span(length: int, middle: Tensor, share: Tensor) -> Tensor:
    """(B, length), True where a rectangle lies that is cut off at the edge."""
    centre, half = (middle * length).floor(), (share * length / 2).floor()
    first, last = (centre - half).clamp(min=0), (centre + half).clamp(max=length)
    return between(length, first, last - first)
