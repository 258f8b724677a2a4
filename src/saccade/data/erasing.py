"""Random erasing: a rectangle of some pictures gets one random colour (Zhong et al. 2017, https://arxiv.org/abs/1708.04896)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NUM_ERASING_DRAWS = 8  # whether, area, aspect, left, top, three of colour

_SMALLEST, _LARGEST = 0.02, 0.33  # of the picture's area, as in the paper and in torchvision
_ASPECT = 3.3  # of the longer side to the shorter, at most


def erase(images: Tensor, draws: Tensor, probability: float) -> Tensor:
    """Cover one rectangle in a share of the pictures with one colour.

    Args:
        images: float (B, C, H, W) in 0..255.
        draws: (B, NUM_ERASING_DRAWS) in [0, 1), on the same device.
        probability: of each picture to be covered.

    Returns:
        float32 (B, C, H, W), 0..255.
    """
    height, width = images.shape[2:]
    area = (_SMALLEST + (_LARGEST - _SMALLEST) * draws[:, 1]) * height * width
    aspect = torch.exp(math.log(_ASPECT) * (draws[:, 2] * 2 - 1))
    high = (area * aspect).sqrt().round().clamp(1, height)
    wide = (area / aspect).sqrt().round().clamp(1, width)
    left = (draws[:, 3] * (width - wide + 1)).floor()
    top = (draws[:, 4] * (height - high + 1)).floor()
    inside = between(height, top, high)[:, None, :, None] & between(width, left, wide)[:, None, None, :]
    covered = inside & (draws[:, 0] < probability)[:, None, None, None]
    colours = 255 * draws[:, 5 : 5 + images.shape[1], None, None]
    return torch.where(covered, colours, images)


def between(length: int, first: Tensor, count: Tensor) -> Tensor:
    """(B, length), True at `count` places from `first` on."""
    places = torch.arange(length, device=first.device)
    return (places >= first[:, None]) & (places < (first + count)[:, None])
