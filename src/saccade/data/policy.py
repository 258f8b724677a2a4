"""RandAugment and TrivialAugment: torchvision's changes, drawn for every picture on its own.

Pictures that drew the same change go through torchvision together.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saccade.recipe import Policy

_NUM_CHANGES = 2  # of RandAugment; TrivialAugment makes one
NUM_POLICY_DRAWS = 3 * _NUM_CHANGES  # which, how far, which way
_NUM_BINS = 31
_MAGNITUDE = 9  # of RandAugment, as in torchvision


def _torchvision() -> Any:
    # Imported where it is used: it loads torch's compiler, which takes as long as torch itself.
    return importlib.import_module("torchvision.transforms.v2.functional")


class _Change(NamedTuple):
    """`apply` takes uint8 (B, C, H, W) and a magnitude; `reach` is what the last bin stands for."""

    apply: Callable[[Tensor, float], Tensor]
    reach: float
    two_ways: bool = True


class _Table(NamedTuple):
    """The changes to choose from; the first bin of each changes nothing."""

    num_changes: int
    changes: tuple[_Change, ...]


def _sheared(images: Tensor, across: float, down: float) -> Tensor:
    degrees = [math.degrees(math.atan(share)) for share in (across, down)]
    moved: Tensor = _torchvision().affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=degrees, center=[0, 0])
    return moved


def _translated(images: Tensor, across: float, down: float) -> Tensor:
    moved: Tensor = _torchvision().affine(
        images, angle=0.0, translate=[int(across), int(down)], scale=1.0, shear=[0.0, 0.0]
    )
    return moved


def _shear_x(images: Tensor, share: float) -> Tensor:
    return _sheared(images, share, 0.0)


def _shear_y(images: Tensor, share: float) -> Tensor:
    return _sheared(images, 0.0, share)


def _translate_x(images: Tensor, pixels: float) -> Tensor:
    return _translated(images, pixels, 0.0)


def _translate_y(images: Tensor, pixels: float) -> Tensor:
    return _translated(images, 0.0, pixels)


def _translate_x_by_share(images: Tensor, share: float) -> Tensor:
    return _translate_x(images, share * images.shape[-1])


def _translate_y_by_share(images: Tensor, share: float) -> Tensor:
    return _translate_y(images, share * images.shape[-2])


def _saturated(images: Tensor, change: float) -> Tensor:
    changed: Tensor = _torchvision().adjust_saturation(images, 1 + change) if images.shape[1] == 3 else images
    return changed


def _posterized(images: Tensor, bits_away: float) -> Tensor:
    changed: Tensor = _torchvision().posterize(images, 8 - round(bits_away))
    return changed


def _solarized(images: Tensor, share: float) -> Tensor:
    changed: Tensor = _torchvision().solarize(images, 255 * (1 - share))
    return changed


def _table(num_changes: int, shift: tuple[_Change, _Change], shear: float, turn: float, colour: float) -> _Table:
    """What the two policies share: the same changes, going differently far."""
    return _Table(
        num_changes,
        (
            _Change(lambda images, _: images, 0.0, two_ways=False),
            _Change(_shear_x, shear),
            _Change(_shear_y, shear),
            *shift,
            _Change(lambda images, degrees: _torchvision().rotate(images, degrees), turn),
            _Change(lambda images, change: _torchvision().adjust_brightness(images, 1 + change), colour),
            _Change(_saturated, colour),
            _Change(lambda images, change: _torchvision().adjust_contrast(images, 1 + change), colour),
            _Change(lambda images, change: _torchvision().adjust_sharpness(images, 1 + change), colour),
            _Change(_posterized, 4.0 if num_changes > 1 else 6.0, two_ways=False),
            _Change(_solarized, 1.0, two_ways=False),
            _Change(lambda images, _: _torchvision().autocontrast(images), 0.0, two_ways=False),
            _Change(lambda images, _: _torchvision().equalize(images), 0.0, two_ways=False),
        ),
    )


_BY_SHARE = (_Change(_translate_x_by_share, 150 / 331), _Change(_translate_y_by_share, 150 / 331))
_BY_PIXELS = (_Change(_translate_x, 32.0), _Change(_translate_y, 32.0))
_TABLES: Mapping[Policy, _Table] = MappingProxyType(
    {
        # Cubuk et al. 2019, https://arxiv.org/abs/1909.13719
        "randaugment": _table(_NUM_CHANGES, _BY_SHARE, shear=0.3, turn=30.0, colour=0.9),
        # Müller and Hutter 2021, https://arxiv.org/abs/2103.10158: TrivialAugmentWide
        "trivial": _table(1, _BY_PIXELS, shear=0.99, turn=135.0, colour=0.99),
    }
)


def apply_policy(images: Tensor, draws: Tensor, policy: Policy) -> Tensor:
    """Two changes of RandAugment, or one of TrivialAugment, for every picture.

    Args:
        images: float (B, C, H, W) in 0..255; they are rounded, for the changes are defined on whole grey levels.
        draws: (B, NUM_POLICY_DRAWS) in [0, 1).
        policy: randaugment or trivial.

    Returns:
        float32 (B, C, H, W), 0..255.
    """
    pixels = images.round().clamp(0, 255).to(torch.uint8)
    table = _TABLES[policy]
    for number in range(table.num_changes):
        which, far, way = draws[:, 3 * number : 3 * number + 3].unbind(dim=1)
        chosen = (which * len(table.changes)).long()
        bins = (far * _NUM_BINS).long() if table.num_changes == 1 else torch.full_like(chosen, _MAGNITUDE)
        pixels = _change_once(pixels, torch.stack([chosen, bins, (way < 0.5).long()], dim=1), table)
    return pixels.float()


def _change_once(pixels: Tensor, choices: Tensor, table: _Table) -> Tensor:
    """`choices` (B, 3): which change, how far in bins, whether the other way."""
    changed = pixels.clone()
    kinds, group = torch.unique(choices.cpu(), dim=0, return_inverse=True)
    for number, (which, far, other_way) in enumerate(kinds.tolist()):
        change = table.changes[which]
        magnitude = change.reach * far / (_NUM_BINS - 1)
        rows = (group == number).nonzero().flatten().to(pixels.device)
        changed[rows] = change.apply(pixels[rows], -magnitude if other_way and change.two_ways else magnitude)
    return changed
