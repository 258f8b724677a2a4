"""Augmentation against torch, numpy and torchvision: one warp, and who decides what it does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from saccade.data.augment import NUM_DRAWS, Augmentation, Draws, affine_maps, augment, draw, enlarge
from saccade.data.draws import generator_for
from saccade.data.warp import Change, warp

NEUTRAL = 0.5
EVERYTHING = Augmentation(flip=0.5, shift=0.2, rotation=30.0, zoom=0.2)
TOLERANCE = 0.05  # of 255 grey levels: float32 coordinates of a few hundred pixels


def pictures(num: int = 3, side: int = 12, channels: int = 3, seed: int = 0) -> Tensor:
    """uint8 noise (B, C, H, W), the hardest picture to resample right."""
    shape = (num, channels, side, side)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def soft(num: int = 2, side: int = 48) -> Tensor:
    """float32 pictures of waves, for comparing resamplers that differ below a hundredth of a pixel."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = [127 + 100 * torch.sin(rows / 5 + seed) * torch.cos(columns / (4 + seed)) for seed in range(num)]
    return torch.stack(waves)[:, None].repeat(1, 3, 1, 1).float()


def draws(num: int = 3, mirror: float = 1.0, right: float = 0.0, down: float = 0.0, rest: tuple[float, float] = (0, 0)):
    """The draws that ask for this share of the largest shift, turn and zoom, -1..1."""
    signed = torch.tensor([right, down, *rest])
    return Draws(torch.cat([torch.tensor([mirror]), (signed + 1) / 2]).expand(num, NUM_DRAWS))


def close(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> bool:
    return bool((found - expected.float()).abs().max() < tolerance)


# Identity and enlarging


@pytest.mark.parametrize("fill", ["nearest", "constant"])
def test_augment_with_neutral_draws_is_the_picture(fill):
    found = augment(pictures(), draws(), Augmentation(0.5, 0.2, 30, 0.2, fill, 77.0), 12)
    assert close(found, pictures())


@pytest.mark.parametrize("size", [12, 13, 24, 50])
def test_augment_with_neutral_draws_and_nearest_fill_equals_interpolate(size):
    expected = F.interpolate(pictures().float(), size=(size, size), mode="bilinear", align_corners=False)
    assert close(augment(pictures(), draws(), EVERYTHING, size), expected)


@pytest.mark.parametrize("size", [13, 24, 50])
def test_enlarge_equals_interpolate(size):
    expected = F.interpolate(pictures().float(), size=(size, size), mode="bilinear", align_corners=False)
    assert torch.equal(enlarge(pictures().float(), size), expected)


@pytest.mark.parametrize("size", [13, 24, 50, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_enlarge_of_whole_grey_levels_equals_pillow(size, channels):
    """Both round after each direction; weights of another precision make a difference of one here and there."""
    images = pictures(channels=channels).contiguous(memory_format=torch.channels_last)
    found = enlarge(images, size)
    assert found.dtype == torch.uint8
    for image, enlarged in zip(images.permute(0, 2, 3, 1).numpy(), found.permute(0, 2, 3, 1).numpy(), strict=True):
        large = Image.fromarray(image.squeeze()).resize((size, size), Image.Resampling.BILINEAR)
        difference = np.abs(np.asarray(large, dtype=int) - enlarged.squeeze())
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.05


def test_enlarge_to_the_size_it_has_is_the_same_tensor():
    images = pictures()
    assert enlarge(images, 12) is images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("images", [pictures, lambda **shape: pictures(**shape).float()], ids=["uint8", "float"])
def test_augment_gives_float32_of_the_asked_size(images, channels):
    found = augment(images(channels=channels), Draws(draw(3, 0, 0)), EVERYTHING, 20)
    assert (found.dtype, found.shape) == (torch.float32, (3, channels, 20, 20))


def test_augment_leaves_the_batch_it_was_given():
    images = pictures()
    augment(images, Draws(draw(3, 0, 0)), EVERYTHING, 20)
    assert torch.equal(images, pictures())


# Each change by itself


def test_flip_equals_torch_flip():
    assert close(augment(pictures(), draws(mirror=0.0), Augmentation(flip=0.5), 12), pictures().flip(-1))


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_flip_happens_with_its_probability(probability, expected):
    maps = affine_maps(draw(4000, 0, 0), Augmentation(flip=probability))
    found = (maps[:, 0, 0] < 0).float().mean().item()
    assert abs(found - expected) <= 4 * (expected * (1 - expected) / 4000) ** 0.5


def shifted(images: Tensor, right: int, down: int, fill: float | None) -> np.ndarray:
    """By numpy: roll, and what rolled in replaced by the edge (None) or a grey level."""
    side = images.shape[-1]
    pixels = np.roll(images.numpy().astype(np.float32), (down, right), axis=(2, 3))
    rows, columns = np.arange(side) - down, np.arange(side) - right
    outside = (rows < 0) | (rows >= side), (columns < 0) | (columns >= side)
    if fill is None:
        edges = images.numpy().astype(np.float32)
        return edges[:, :, rows.clip(0, side - 1)][:, :, :, columns.clip(0, side - 1)]
    pixels[:, :, outside[0]] = fill
    pixels[:, :, :, outside[1]] = fill
    return pixels


@pytest.mark.parametrize(("right", "down"), [(3, 0), (-3, 0), (0, 2), (0, -2), (3, -2)])
@pytest.mark.parametrize(("fill", "level"), [("nearest", None), ("constant", 77.0)])
def test_shift_by_whole_pixels_equals_numpy_roll(right, down, fill, level):
    augmentation = Augmentation(shift=0.25, fill=fill, fill_value=level or 0.0)  # 3 of 12 pixels
    found = augment(pictures(), draws(right=right / 3, down=down / 3), augmentation, 12)
    assert close(found, torch.from_numpy(shifted(pictures(), right, down, level)))


@pytest.mark.parametrize(("turn", "quarter_turns"), [(0.5, -1), (-0.5, 1), (1.0, 2), (-1.0, 2)])
@pytest.mark.parametrize("fill", ["nearest", "constant"])
def test_rotation_by_quarter_turns_equals_rot90_clockwise(turn, quarter_turns, fill):
    found = augment(pictures(), draws(rest=(turn, 0)), Augmentation(rotation=180, fill=fill), 12)
    assert close(found, torch.rot90(pictures(), quarter_turns, dims=(2, 3)))


def by_torchvision(images: Tensor, turn: float, zoom: float, level: float) -> Tensor:
    """torchvision's affine: clockwise degrees, a factor.

    Its own `fill` weighs the pixels at the edge twice, which darkens them; around zero it needs no fill.
    """
    options = {"translate": [0, 0], "shear": [0.0, 0.0], "interpolation": InterpolationMode.BILINEAR}
    return tv.affine(images - level, angle=turn, scale=zoom, **options) + level


@pytest.mark.parametrize("turn", [-30.0, 10.0, 45.0, 100.0])
@pytest.mark.parametrize("zoom", [0.8, 1.0, 1.3])
def test_rotation_and_zoom_equal_torchvision_affine(turn, zoom):
    augmentation = Augmentation(rotation=180, zoom=0.5, fill="constant", fill_value=40.0)
    found = augment(soft(), draws(2, rest=(turn / 180, (zoom - 1) / 0.5)), augmentation, 48)
    assert close(found, by_torchvision(soft(), turn, zoom, 40.0))


@pytest.mark.parametrize("zoom", [0.5, 0.8, 1.2, 1.5])
def test_zoom_equals_torchvision_affine(zoom):
    augmentation = Augmentation(zoom=0.5, fill="constant", fill_value=200.0)
    found = augment(pictures(), draws(rest=(0, (zoom - 1) / 0.5)), augmentation, 12)
    assert close(found, by_torchvision(pictures().float(), 0.0, zoom, 200.0))


def test_all_changes_together_are_mirror_then_turn_and_zoom_then_shift():
    augmentation = Augmentation(flip=1.0, shift=0.25, rotation=90, zoom=0.5, fill="constant", fill_value=0.0)
    images = F.pad(soft(), (24, 24, 24, 24))  # black all around: nothing depends on the order at the edges
    found = augment(images, draws(2, 0.0, 0.5, -0.25, (1 / 3, -0.4)), augmentation, 96)
    turned = by_torchvision(images.flip(-1), 30.0, 0.8, 0.0)
    assert close(found, torch.roll(turned, (-6, 12), dims=(2, 3)))


def test_warp_while_enlarging_equals_enlarging_after_flipping():
    found = augment(pictures(), draws(mirror=0.0), Augmentation(flip=0.5), 30)
    assert close(found, enlarge(pictures().flip(-1).float(), 30))


@pytest.mark.parametrize(("largest", "column"), [("shift", 0), ("zoom", None)])
def test_changes_stay_within_what_was_asked_for(largest, column):
    maps = affine_maps(draw(2000, 0, 0), Augmentation(**{largest: 0.2}))
    if largest == "shift":  # in -1..1 coordinates the side is 2 long
        assert 0.39 < maps[:, :, 2].abs().max().item() <= 0.4
    else:
        sizes = 1 / maps[:, 0, 0]
        assert 0.8 <= sizes.min().item() < 0.81
        assert 1.19 < sizes.max().item() <= 1.2001


def test_turns_stay_within_what_was_asked_for():
    maps = affine_maps(draw(2000, 0, 0), Augmentation(rotation=15))
    turns = torch.rad2deg(torch.atan2(-maps[:, 1, 0], maps[:, 1, 1]))
    assert 14.8 < turns.max().item() <= 15.001
    assert -15.001 <= turns.min().item() < -14.8


@pytest.mark.parametrize("fill", ["nearest", "constant"])
def test_values_stay_between_0_and_255(fill):
    extremes = torch.where(pictures(8, 16) > 127, 255, 0).to(torch.uint8)
    found = augment(extremes, Draws(draw(8, 0, 0)), Augmentation(0.5, 0.3, 180, 0.5, fill, 255.0), 40)
    # Sums of float32 weights miss 1 by a few of its last bits.
    assert found.min().item() >= -1e-3
    assert found.max().item() <= 255 + 1e-3


def test_fill_constant_lets_its_level_in():
    maps = affine_maps(draws(right=1.0).moves, Augmentation(shift=0.5))
    found = warp(pictures(), Change(maps, 123.0), 12)
    assert close(found[..., :6], torch.full((3, 3, 12, 6), 123.0))


@pytest.mark.parametrize("change", ["flip", "shift", "rotation", "zoom"])
def test_changes_nothing_is_false_with_any_change(change):
    assert not Augmentation(**{change: 0.1}).changes_nothing


def test_changes_nothing_is_true_by_default():
    assert Augmentation(fill="constant", fill_value=9.0).changes_nothing


# Who decides


def test_each_picture_of_a_batch_is_changed_in_its_own_way():
    same = pictures(1).expand(5, -1, -1, -1)
    found = augment(same, Draws(draw(5, 0, 0)), EVERYTHING, 12)
    distances = [(found[i] - found[j]).abs().mean().item() for i in range(5) for j in range(i)]
    assert min(distances) > 1


def test_picture_in_a_batch_equals_the_picture_alone():
    images, numbers = pictures(7), draw(7, 0, 0)
    together = augment(images, Draws(numbers), EVERYTHING, 20)
    alone = torch.cat([augment(images[[i]], Draws(numbers[[i]]), EVERYTHING, 20) for i in range(7)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-3)


def test_draws_are_in_0_to_1_and_fill_it():
    found = draw(5000, 3, 1)
    assert (found.shape, found.dtype) == ((5000, NUM_DRAWS), torch.float32)
    assert found.min() >= 0
    assert found.max() < 1
    assert torch.allclose(found.mean(0), torch.tensor(0.5), atol=4 * (1 / 12 / 5000) ** 0.5)


def test_draws_of_the_same_seed_and_epoch_are_the_same():
    assert torch.equal(draw(50, 3, 1), draw(50, 3, 1))


@pytest.mark.parametrize(("seed", "epoch"), [(3, 2), (4, 1), (1, 3)])
def test_draws_of_another_seed_or_epoch_differ_everywhere(seed, epoch):
    assert not (draw(50, 3, 1) == draw(50, seed, epoch)).any()


def test_draws_of_many_seeds_and_epochs_are_all_different():
    found = {draw(1, seed, epoch)[0, 0].item() for seed in range(25) for epoch in range(25)}
    assert len(found) >= 624  # of 2**24 values, two of 625 fall together once in 86 times


def test_draws_do_not_depend_on_how_many_pictures_follow():
    assert torch.equal(draw(50, 3, 1)[:20], draw(20, 3, 1))


def test_draws_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    draw(50, 3, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_generators_of_two_streams_differ():
    first, second = (torch.rand(20, generator=generator_for(0, 0, stream)) for stream in (0, 1))
    assert not (first == second).any()


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_generator_for_the_largest_and_smallest_seed_works(seed):
    assert torch.rand(1, generator=generator_for(seed, 100_000, 1)).item() < 1
