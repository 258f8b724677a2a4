"""Normalisation against numpy in double precision, for every form in which pixels come."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from saccade.models.network import IMAGENET_MEAN, IMAGENET_STD, Normalise, imagenet_normalise

FORMATS = {"rows": torch.channels_last, "planes": torch.contiguous_format}


def pixels(channels: int = 3, num: int = 5, side: int = 21) -> Tensor:
    """uint8 noise, (B, C, H, W)."""
    values = np.random.default_rng(0).integers(0, 256, (num, channels, side, side), dtype=np.uint8)
    return torch.from_numpy(values)


def expected(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    values = images.numpy().astype(np.float64)
    return (values - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), ((104.0, 117.0, 123.0), (1.0, 1.0, 1.0))])
def test_normalise_equals_numpy_in_double_precision(mean, std, dtype, layout):
    images = pixels().to(dtype).contiguous(memory_format=FORMATS[layout])
    found = Normalise(mean, std)(images)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=FORMATS[layout])
    error = np.abs(found.numpy() - expected(images, mean, std)).max() * min(std)
    assert error < 5e-5  # of 255 grey levels: a few of the last bits of a float


def test_normalise_of_grey_equals_numpy():
    images = pixels(1)
    found = imagenet_normalise(1)(images).numpy()
    mean, std = (sum(IMAGENET_MEAN) / 3,), (sum(IMAGENET_STD) / 3,)
    assert np.allclose(found, expected(images, mean, std), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalise_leaves_its_images_as_they_were(dtype):
    images = pixels().to(dtype).contiguous(memory_format=torch.channels_last)
    before = images.clone()
    Normalise(IMAGENET_MEAN, IMAGENET_STD)(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("layout", FORMATS)
def test_gradient_of_float_images_is_one_over_the_deviation(layout):
    images = pixels().float().contiguous(memory_format=FORMATS[layout]).requires_grad_()
    Normalise(IMAGENET_MEAN, IMAGENET_STD)(images).sum().backward()
    assert images.grad is not None
    one = 1 / torch.tensor(IMAGENET_STD).view(-1, 1, 1)
    assert torch.allclose(images.grad, one.expand_as(images), rtol=1e-5, atol=0)


def test_uint8_and_the_same_levels_in_float_give_the_same_to_the_bit():
    images = pixels().contiguous(memory_format=torch.channels_last)
    normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
    assert torch.equal(normalise(images), normalise(images.float()))


@pytest.mark.parametrize("side", [21, 32, 224])
def test_picture_is_normalised_the_same_to_the_bit_whatever_its_batch(side):
    images = pixels(side=side, num=9).contiguous(memory_format=torch.channels_last)
    normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
    together = normalise(images)
    assert all(torch.equal(normalise(images[[row]]), together[[row]]) for row in range(9))


def test_bfloat16_keeps_the_digits_that_it_has():
    images = pixels().contiguous(memory_format=torch.channels_last)
    found = Normalise(IMAGENET_MEAN, IMAGENET_STD).to(torch.bfloat16)(images)
    assert found.dtype == torch.bfloat16
    assert np.abs(found.float().numpy() - expected(images, IMAGENET_MEAN, IMAGENET_STD)).max() < 0.03
