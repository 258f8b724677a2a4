"""RandAugment and TrivialAugment against torchvision's own classes, change by change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, RandAugment, TrivialAugmentWide

from saccade.data.policy import NUM_POLICY_DRAWS, apply_policy

TORCHVISION = {"randaugment": RandAugment(), "trivial": TrivialAugmentWide()}
NAMES = [
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness"),
    *("Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
]


def pictures(num: int = 2, channels: int = 3) -> Tensor:
    """uint8 (B, C, 40, 40), soft, with noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:40, 0:40]
    soft = 60 + 2 * rows[None, None] + columns[None, None] + rng.integers(0, 30, (num, channels, 40, 40))
    return torch.from_numpy(soft.astype(np.uint8))


def draws(num: int, name: str, far: int = 0, other_way: bool = False) -> Tensor:
    """Draws for one change of every picture; the second of RandAugment is none."""
    one = [(NAMES.index(name) + 0.5) / len(NAMES), (far + 0.5) / 31, 0.25 if other_way else 0.75]
    return torch.tensor([[*one, 0.0, 0.0, 0.9]]).repeat(num, 1)


def by_torchvision(policy: str, images: Tensor, name: str, far: int, other_way: bool) -> Tensor:
    transform = TORCHVISION[policy]
    magnitudes, signed = transform._AUGMENTATION_SPACE[name]
    values = magnitudes(31, 40, 40)
    amount = float(values[far]) if values is not None else 0.0
    amount = -amount if signed and other_way else amount
    return transform._apply_image_or_video_transform(
        images, name, amount, interpolation=InterpolationMode.NEAREST, fill={}
    )


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Its amounts have float32's digits, so here and there a product is cut off at the other side of a whole number."""
    differences = (found - expected.float()).abs()
    assert differences.max() <= 1
    assert (differences > 0).float().mean() < 0.05


def test_names_are_torchvisions_in_its_order():
    assert list(RandAugment._AUGMENTATION_SPACE) == list(TrivialAugmentWide._AUGMENTATION_SPACE) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other_way", [False, True])
def test_randaugment_change_equals_torchvisions(name, other_way):
    found = apply_policy(pictures().float(), draws(2, name, 9, other_way), "randaugment")
    assert_same(found, by_torchvision("randaugment", pictures(), name, 9, other_way))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("far", [0, 7, 30])
def test_trivial_change_equals_torchvisions(name, far):
    found = apply_policy(pictures().float(), draws(2, name, far, other_way=True), "trivial")
    assert_same(found, by_torchvision("trivial", pictures(), name, far, other_way=True))


def test_randaugment_makes_two_changes_in_turn():
    numbers = torch.cat([draws(2, "Posterize")[:, :3], draws(2, "Rotate")[:, :3]], dim=1)
    once = by_torchvision("randaugment", pictures(), "Posterize", 9, other_way=False)
    twice = by_torchvision("randaugment", once, "Rotate", 9, other_way=False)
    assert torch.equal(apply_policy(pictures().float(), numbers, "randaugment"), twice.float())


@pytest.mark.parametrize("policy", ["randaugment", "trivial"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_picture_is_changed_by_its_own_draws(policy, channels):
    images = pictures(60, channels).float()
    numbers = torch.rand(60, NUM_POLICY_DRAWS, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([apply_policy(images[[i]], numbers[[i]], policy) for i in range(60)])
    assert torch.equal(apply_policy(images, numbers, policy), alone)
