"""Random changes of a whole batch on its device.

A picture's random numbers are a function of (seed, epoch, index) alone: they are drawn for the whole epoch at once,
row i for picture i, so neither the batch it falls into nor the number of workers can change what happens to it.
All geometric changes are one affine map per picture and therefore one resampling, which also enlarges small
pictures to the network's size: nothing is interpolated twice. Colour is one more pass over the pixels:
colour_jitter.py. RandAugment stands in policy.py, rectangles in erasing.py, mixtures of pictures in mixing.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.data.colour_jitter import NUM_COLOUR_DRAWS, Jitter, apply_colours, change_hue, colour_maps
from saccade.data.draws import Stream, generator_for, uniform
from saccade.data.erasing import NUM_ERASING_DRAWS, erase
from saccade.data.policy import NUM_POLICY_DRAWS, apply_policy
from saccade.data.warp import Change, warp
from saccade.recipe import Policy, Recipe, known

NUM_DRAWS = 5  # mirror, shift right, shift down, turn, zoom

# A batch (B, C, H, W) of 0..255 and a generator on the CPU -> a batch like it.
OwnChange = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are changed at random. All zero changes nothing.

    Attributes:
        flip: probability of mirroring left and right.
        shift: largest shift either way, as a share of width and of height.
        rotation: largest turn either way, in degrees.
        zoom: 0.2 draws the size from 0.8 to 1.2.
        fill: what comes in at the edges: the nearest pixel, or `fill_value` (0..255) everywhere.
        jitter: of colours.
        erasing: probability of covering a rectangle with noise.
        policy: none, randaugment, trivial.
        flip_turns: pictures take turns: what one epoch mirrors, the next does not; for a flip of 0.5.
        whole_pixels: shifts are by whole pixels.
        own: the caller's change, after all others.
    """

    flip: float = 0.0
    shift: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    fill: Literal["nearest", "constant"] = "nearest"
    fill_value: float = 0.0
    jitter: Jitter = field(default_factory=Jitter)
    erasing: float = 0.0
    policy: Policy = "none"
    flip_turns: bool = False
    whole_pixels: bool = False
    own: OwnChange | None = field(default=None, compare=False)

    @property
    def moves(self) -> bool:
        """Whether pictures are mirrored, shifted, turned or resized."""
        return bool(self.flip or self.shift or self.rotation or self.zoom)

    @property
    def changes_nothing(self) -> bool:
        """Whether every picture stays as it is."""
        changed = self.moves or self.jitter.changes or self.erasing or self.policy != "none"
        return not changed and self.own is None


def augmentation_of(recipe: Recipe, own: OwnChange | None = None) -> Augmentation:
    """What a resolved recipe asks for, and the caller's own change after it."""
    jitter = Jitter(
        known(recipe.brightness), known(recipe.contrast), known(recipe.saturation), known(recipe.hue), recipe.pca_colour
    )
    return Augmentation(
        flip=known(recipe.flip),
        flip_turns=recipe.flip_turns,
        shift=known(recipe.shift),
        whole_pixels=recipe.whole_pixels,
        rotation=known(recipe.rotation),
        zoom=known(recipe.zoom),
        fill=recipe.fill,
        fill_value=recipe.fill_value,
        jitter=jitter,
        erasing=known(recipe.erasing),
        policy=recipe.policy,
        own=own,
    )


class Draws(NamedTuple):
    """The random numbers of pictures, float32 in [0, 1), a row each; None where nobody asks for them."""

    moves: Tensor
    colours: Tensor | None = None
    policy: Tensor | None = None
    erasing: Tensor | None = None

    def of(self, rows: Tensor, device: torch.device) -> Draws:
        """Those of some pictures, on a device."""
        return Draws(*(None if drawn is None else drawn[rows].to(device) for drawn in self))  # type: ignore[arg-type]


def draw(num_pictures: int, seed: int, epoch: int) -> Tensor:
    """The random numbers of an epoch's moves, float32 (num_pictures, NUM_DRAWS) in [0, 1), on the CPU."""
    return uniform(num_pictures, NUM_DRAWS, generator_for(seed, epoch, Stream.MOVES))


def draw_all(num_pictures: int, augmentation: Augmentation, seed: int, epoch: int) -> Draws:
    """All random numbers of an epoch that an augmentation needs, on the CPU."""

    def drawn(wanted: bool, columns: int, stream: Stream) -> Tensor | None:
        return uniform(num_pictures, columns, generator_for(seed, epoch, stream)) if wanted else None

    moves = draw(num_pictures, seed, epoch)
    if augmentation.flip_turns:
        moves[:, 0] = _in_turns(num_pictures, seed, epoch)
    return Draws(
        moves,
        drawn(augmentation.jitter.changes, NUM_COLOUR_DRAWS, Stream.COLOURS),
        drawn(augmentation.policy != "none", NUM_POLICY_DRAWS, Stream.POLICY),
        drawn(augmentation.erasing > 0, NUM_ERASING_DRAWS, Stream.ERASING),
    )


def _in_turns(num_pictures: int, seed: int, epoch: int) -> Tensor:
    """Draws of the mirror, half a turn apart from one epoch to the next: at a flip of 0.5, two epochs show both sides.

    Keller Jordan 2024, https://arxiv.org/abs/2404.00498, section 3: left to chance, half of the pairs would show the
    same side twice.
    """
    first = draw(num_pictures, seed, 0)[:, 0]
    return first if epoch % 2 else (first + 0.5) % 1


def augment(images: Tensor, draws: Draws, augmentation: Augmentation, size: int) -> Tensor:
    """Change every picture of a batch in its own way: place, policy, colours, then rectangles.

    Args:
        images: (B, C, H, W), uint8 or float, 0..255, H = W.
        draws: of these pictures, on their device.
        augmentation: how far.
        size: side of the pictures that come out.

    Returns:
        float32 (B, C, size, size), 0..255.
    """
    colours = None
    if draws.colours is not None:
        colours = colour_maps(draws.colours, augmentation.jitter, images.shape[1])
    at_once = augmentation.moves and draws.policy is None  # nothing comes between the move and the colours
    if augmentation.moves:
        level = augmentation.fill_value if augmentation.fill == "constant" else None
        moves = _whole(draws.moves, augmentation, images.shape[-1]) if augmentation.whole_pixels else draws.moves
        maps = affine_maps(moves, augmentation)
        changed = warp(images, Change(maps, level, colours if at_once else None), size)
    else:
        changed = enlarge(images, size).float()
    if draws.policy is not None:
        changed = apply_policy(changed, draws.policy, augmentation.policy)
    if colours is not None and draws.colours is not None:
        changed = changed if at_once else apply_colours(changed, colours)
        changed = change_hue(changed, draws.colours, augmentation.jitter)
    if draws.erasing is not None:
        changed = erase(changed, draws.erasing, augmentation.erasing)
    return changed


def _whole(draws: Tensor, augmentation: Augmentation, side: int) -> Tensor:
    """The draws with shifts of whole pixels in pictures of this side, all as likely up to the largest that is whole."""
    most = int(augmentation.shift * side + 1e-6)
    if most == 0:
        return draws
    pixels = (draws[:, 1:3] * (2 * most + 1)).floor() - most
    rounded = draws.clone()
    rounded[:, 1:3] = pixels / (augmentation.shift * side) / 2 + 0.5
    return rounded


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


def enlarge(images: Tensor, size: int) -> Tensor:
    """The batch at the network's size: (B, C, H, W) -> (B, C, size, size), bilinear; untouched where it has it already.

    Whole grey levels stay whole: uint8 gives uint8, within one level of the exact value. On a CPU that takes an eighth
    of the time of floats.
    """
    if images.shape[-1] == size:
        return images
    if images.dtype == torch.uint8 and images.device.type != "cpu":  # no kernel there
        return F.interpolate(images.float(), size=(size, size), mode="bilinear").round().to(torch.uint8)
    return F.interpolate(images, size=(size, size), mode="bilinear")
