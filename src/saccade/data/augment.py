"""Random changes of a whole batch on its device.

A picture's random numbers are a function of (seed, epoch, index) alone: they are drawn for the whole epoch at once,
row i for picture i, so neither the batch it falls into nor the number of workers can change what happens to it.
All geometric changes are one affine map per picture and therefore one resampling, which also enlarges small
pictures to the network's size: nothing is interpolated twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NUM_DRAWS = 5  # mirror, shift right, shift down, turn, zoom


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are changed at random. All zero changes nothing.

    Attributes:
        flip: probability of mirroring left and right.
        shift: largest shift either way, as a share of width and of height.
        rotation: largest turn either way, in degrees.
        zoom: 0.2 draws the size from 0.8 to 1.2.
        fill: what comes in at the edges: the nearest pixel, or `fill_value` (0..255) everywhere.
    """

    flip: float = 0.0
    shift: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    fill: Literal["nearest", "constant"] = "nearest"
    fill_value: float = 0.0

    @property
    def changes_nothing(self) -> bool:
        """Whether every picture stays as it is."""
        return not (self.flip or self.shift or self.rotation or self.zoom)


def draw(num_pictures: int, seed: int, epoch: int) -> Tensor:
    """The random numbers of an epoch, float32 (num_pictures, NUM_DRAWS) in [0, 1), on the CPU."""
    return torch.rand(num_pictures, NUM_DRAWS, generator=generator_for(seed, epoch, stream=1))


def generator_for(seed: int, epoch: int, stream: int) -> torch.Generator:
    """A CPU generator for one purpose in one epoch. Streams are independent: 0 is the order, 1 the augmentation."""
    state = np.random.SeedSequence((seed, epoch, stream)).generate_state(1, dtype=np.uint64)[0]
    # manual_seed takes a signed 64-bit number
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def augment(images: Tensor, draws: Tensor, augmentation: Augmentation, size: int) -> Tensor:
    """Change every picture of a batch in its own way.

    Args:
        images: (B, C, H, W), uint8 or float, 0..255, H = W.
        draws: (B, NUM_DRAWS) in [0, 1), one row per picture, on any device.
        augmentation: how far.
        size: side of the pictures that come out.

    Returns:
        float32 (B, C, size, size), 0..255.
    """
    return warp(images, affine_maps(draws.to(images.device), augmentation), augmentation, size)


def affine_maps(draws: Tensor, augmentation: Augmentation) -> Tensor:
    """One map per picture, (B, 2, 3), from where a pixel goes to where it comes from, in -1..1 coordinates.

    A draw of 0.5 changes nothing; above it a picture moves right and down, turns clockwise and grows. The first
    draw mirrors where it is below `flip`.
    """
    signed = draws * 2 - 1
    mirror = torch.where(draws[:, 0] < augmentation.flip, -1.0, 1.0)
    right, down = 2 * augmentation.shift * signed[:, 1], 2 * augmentation.shift * signed[:, 2]
    angle = math.radians(augmentation.rotation) * signed[:, 3]
    scale = 1 / (1 + augmentation.zoom * signed[:, 4])
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    # The picture is mirrored, turned about its middle and resized, then shifted; the map undoes this, last first.
    across = torch.stack([mirror * cos, mirror * sin, -mirror * (cos * right + sin * down)], dim=1)
    along = torch.stack([-sin, cos, sin * right - cos * down], dim=1)
    return torch.stack([across, along], dim=1)


def warp(images: Tensor, maps: Tensor, augmentation: Augmentation, size: int) -> Tensor:
    """Resample a batch bilinearly through its maps: (B, C, H, W) in 0..255 -> float32 (B, C, size, size)."""
    pixels = images.float()
    grid = F.affine_grid(maps, [len(images), images.shape[1], size, size], align_corners=False)
    if augmentation.fill == "nearest":
        return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    level = augmentation.fill_value
    return F.grid_sample(pixels - level, grid, padding_mode="zeros", align_corners=False) + level


def enlarge(images: Tensor, size: int) -> Tensor:
    """The batch at the network's size: (B, C, H, W) -> (B, C, size, size); untouched where it has it already."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images.float(), size=(size, size), mode="bilinear", align_corners=False)
