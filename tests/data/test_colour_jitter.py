"""Random colours against torchvision, and AlexNet's light against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from saccade.data.colour_jitter import NUM_COLOUR_DRAWS, Jitter, change_colours, turn_hue

NEUTRAL = 0.5
# Tolerances of 0.05 grey levels: torchvision's weights of grey add up to 0.9999.


def pictures(num: int = 4, channels: int = 3, low: int = 0, high: int = 256) -> Tensor:
    """float noise (B, C, 24, 24) of whole grey levels."""
    values = np.random.default_rng(0).integers(low, high, (num, channels, 24, 24))
    return torch.from_numpy(values.astype(np.float32))


def draws(num: int = 4, **columns: float) -> Tensor:
    """Draws that ask for these shares, -1..1, of the largest change."""
    found = torch.full((num, NUM_COLOUR_DRAWS), NEUTRAL)
    for name, signed in columns.items():
        found[:, ("brightness", "contrast", "saturation", "hue").index(name)] = (signed + 1) / 2
    return found


def by_torchvision(name: str, images: Tensor, amount: float) -> Tensor:
    adjust = getattr(tv, f"adjust_{name}")
    return adjust(images / 255, amount) * 255


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("share", [-1.0, -0.4, 0.7, 1.0])
def test_one_change_equals_torchvisions(name, share):
    found = change_colours(pictures(), draws(**{name: share}), Jitter(**{name: 0.8}))
    assert torch.allclose(found, by_torchvision(name, pictures(), 1 + 0.8 * share), rtol=0, atol=0.05)


@pytest.mark.parametrize("turn", [-0.5, -0.21, -0.05, 0.1, 0.33, 0.5])
def test_hue_equals_torchvisions(turn):
    found = change_colours(pictures(), draws(hue=2 * turn), Jitter(hue=0.5))
    assert torch.allclose(found, by_torchvision("hue", pictures(), turn), rtol=0, atol=0.05)


def test_hue_of_grey_and_of_ties_between_channels_equals_torchvisions():
    levels = torch.tensor([0.0, 128.0, 255.0])
    colours = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 3, 9).contiguous()
    found = turn_hue(colours, torch.tensor([0.2]))
    assert torch.allclose(found, by_torchvision("hue", colours, 0.2), rtol=0, atol=0.05)


def test_three_changes_together_equal_torchvisions_in_turn():
    """Between 90 and 160 nothing reaches black or white on the way, where torchvision cuts off after every step."""
    images = pictures(low=90, high=160)
    expected = images
    for name, amount in (("brightness", 1.2), ("contrast", 0.7), ("saturation", 1.3)):
        expected = by_torchvision(name, expected, amount)
    found = change_colours(images, draws(brightness=2 / 3, contrast=-1.0, saturation=1.0), Jitter(0.3, 0.3, 0.3))
    assert torch.allclose(found, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_grey_pictures_equal_torchvisions(name):
    found = change_colours(pictures(channels=1), draws(**{name: -0.5}), Jitter(**{name: 0.6}))
    assert torch.allclose(found, by_torchvision(name, pictures(channels=1), 0.7), rtol=0, atol=0.05)


def test_grey_pictures_have_no_saturation_hue_or_light():
    images = pictures(channels=1)
    found = change_colours(images, torch.rand(4, NUM_COLOUR_DRAWS), Jitter(saturation=0.9, hue=0.5, pca_colour=0.5))
    assert torch.allclose(found, images, rtol=0, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_neutral_draws_change_nothing(channels):
    found = change_colours(pictures(channels=channels), draws(), Jitter(0.9, 0.9, 0.9, 0.5, 0.5))
    assert torch.allclose(found, pictures(channels=channels), rtol=0, atol=0.01)


def test_values_stay_between_0_and_255():
    found = change_colours(pictures(500), torch.rand(500, NUM_COLOUR_DRAWS), Jitter(0.9, 0.9, 0.9, 0.5, 0.9))
    assert found.min() >= -1e-3
    assert found.max() <= 255.001


def test_each_picture_is_changed_by_its_own_draws():
    numbers = torch.rand(4, NUM_COLOUR_DRAWS, generator=torch.Generator().manual_seed(0))
    jitter = Jitter(0.3, 0.3, 0.3, 0.2, 0.1)
    alone = torch.cat([change_colours(pictures()[[i]], numbers[[i]], jitter) for i in range(4)])
    assert torch.allclose(change_colours(pictures(), numbers, jitter), alone, rtol=0, atol=0.01)


def test_light_varies_as_the_colours_of_imagenet_do():
    """Shifts of many pictures have the covariance that the published directions and lengths make."""
    grey = torch.full((40_000, 3, 1, 1), 127.0)
    numbers = torch.rand(40_000, NUM_COLOUR_DRAWS, generator=torch.Generator().manual_seed(0))
    shifts = (change_colours(grey, numbers, Jitter(pca_colour=0.1)) - grey).view(-1, 3).numpy()
    directions = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    expected = directions @ np.diag((25.5 * np.array([0.2175, 0.0188, 0.0045])) ** 2) @ directions.T
    assert np.allclose(np.cov(shifts.T), expected, atol=0.03 * expected.max())
    assert np.abs(shifts.mean(axis=0)).max() < 0.1


def test_jitter_of_zero_changes_nothing():
    assert not Jitter().changes
    assert all(Jitter(**{name: 0.1}).changes for name in ("brightness", "contrast", "saturation", "hue", "pca_colour"))
