"""Mixup, CutMix and erasing: what becomes of pixels and labels, against numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torch import Tensor

from saccade.data.erasing import NUM_ERASING_DRAWS, erase
from saccade.data.mixing import Mixing, draw_mixing, mix


def levels(num: int = 6, side: int = 20) -> Tensor:
    """Picture i is (B, 3, side, side) of level 10 i, so a mixture shows its shares."""
    return (10.0 * torch.arange(num)).view(-1, 1, 1, 1).expand(num, 3, side, side)


LABELS = torch.arange(6)
PREVIOUS = torch.tensor([5, 0, 1, 2, 3, 4])


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4), Mixing(cutmix=1.0), Mixing(0.4, 1.0)], ids=str)
def test_shares_of_labels_are_shares_of_pixels(mixing):
    images, mixed = mix(levels(), LABELS, draw_mixing(6, mixing, 0, 1), mixing)
    assert mixed.labels.tolist() == LABELS.tolist()
    assert mixed.partners.tolist() == PREVIOUS.tolist()
    expected = mixed.shares * 10 * LABELS + (1 - mixed.shares) * 10 * PREVIOUS
    assert torch.allclose(images.mean(dim=(1, 2, 3)), expected, rtol=0, atol=1e-3)


def test_mixup_blends_every_pixel_alike():
    images, mixed = mix(levels(), LABELS, draw_mixing(6, Mixing(mixup=0.4), 0, 1), Mixing(mixup=0.4))
    assert images.flatten(1).std(dim=1).max() < 1e-3
    assert (mixed.shares < 0.99).any()


def test_cutmix_pastes_one_rectangle_and_leaves_the_rest():
    images, mixed = mix(levels(), LABELS, draw_mixing(6, Mixing(cutmix=1.0), 0, 2), Mixing(cutmix=1.0))
    for number, image in enumerate(images):
        own = (image[0] == 10 * number).numpy()
        assert (own | (image[0] == 10 * PREVIOUS[number]).numpy()).all()
        pasted = np.argwhere(~own)
        if len(pasted):
            height, width = np.ptp(pasted, axis=0) + 1
            assert height * width == len(pasted)  # a whole rectangle
        assert mixed.shares[number].item() == pytest.approx(own.mean(), abs=1e-6)


def test_cutmix_rectangle_in_the_middle_has_the_share_that_was_drawn():
    numbers = torch.tensor([[1.0, 0.75, 0.0, 0.5, 0.5]]).repeat(6, 1)  # a quarter of the area: half of each side
    _, mixed = mix(levels(), LABELS, numbers, Mixing(cutmix=1.0))
    assert torch.allclose(mixed.shares, torch.full((6,), 0.75))


def test_mixup_and_cutmix_together_each_take_about_half():
    mixing = Mixing(0.4, 1.0)
    many = levels(400)
    images, _ = mix(many, torch.arange(400), draw_mixing(400, mixing, 0, 0), mixing)
    blended = (images.flatten(1).std(dim=1) < 1e-3).sum().item()
    assert 160 < blended < 250


@pytest.mark.parametrize(("column", "mixing", "alpha"), [(0, Mixing(mixup=0.2), 0.2), (1, Mixing(cutmix=1.0), 1.0)])
def test_shares_are_drawn_from_the_beta_distribution(column, mixing, alpha):
    found = draw_mixing(5000, mixing, 0, 0)[:, column].double().clamp(1e-9, 1 - 1e-7)
    assert kstest(found.numpy(), beta(alpha, alpha).cdf).pvalue > 0.01


def test_draws_of_mixing_are_a_function_of_seed_and_epoch():
    mixing = Mixing(0.2, 1.0)
    assert torch.equal(draw_mixing(9, mixing, 3, 1), draw_mixing(9, mixing, 3, 1))
    assert not (draw_mixing(9, mixing, 3, 1) == draw_mixing(9, mixing, 3, 2)).any()


# Erasing


def erasing_draws(num: int, seed: int = 0) -> Tensor:
    return torch.rand(num, NUM_ERASING_DRAWS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_erasing_covers_one_rectangle_with_one_colour(channels):
    images = torch.full((300, channels, 32, 40), -1.0)
    found = erase(images, erasing_draws(300), 1.0)
    for image in found:
        covered = np.argwhere((image[0] != -1).numpy())
        height, width = np.ptp(covered, axis=0) + 1
        assert height * width == len(covered)
        assert len(image[:, covered[0][0], covered[0][1]].unique()) == channels
        assert image.flatten(1)[:, :].unique(dim=1).shape[1] <= 2
        assert 0.01 < len(covered) / (32 * 40) <= 0.36
        assert max(height / width, width / height) < 4.5  # 3.3, and whole pixels


def test_erasing_happens_as_often_as_was_asked():
    found = erase(torch.full((4000, 1, 8, 8), -1.0), erasing_draws(4000), 0.25)
    touched = (found != -1).flatten(1).any(dim=1).float().mean().item()
    assert touched == pytest.approx(0.25, abs=0.03)


def test_erasing_leaves_its_input_alone():
    images = torch.zeros(4, 3, 16, 16)
    erase(images, erasing_draws(4), 1.0)
    assert not images.any()
