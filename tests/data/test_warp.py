"""The two ways to move and colour pictures, OpenCV and grid_sample, against each other, on photographs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from saccade.data.augment import Augmentation, affine_maps, draw_all
from saccade.data.colour_jitter import Jitter, apply_colours, colour_maps
from saccade.data.warp import Change, _by_grid_sample, warp

STRONG = Augmentation(0.5, 0.2, 30.0, 0.2, jitter=Jitter(0.3, 0.3, 0.3, 0.0, 0.1))
TOLERANCE = 0.02  # of 255 grey levels: both compute places in float32, in different orders


@pytest.fixture(scope="module")
def photographs(shared: Path) -> Tensor:
    """Cats and dogs, uint8 (24, 3, 224, 224), channels last."""
    with zipfile.ZipFile(shared / "data" / "cats_and_dogs_small.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")][::40][:24]
        opened = [Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((224, 224)) for name in names]
    return torch.from_numpy(np.stack([np.asarray(image) for image in opened])).permute(0, 3, 1, 2)


@pytest.fixture
def threads() -> Iterator[None]:
    """Torch's number of threads is put back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def change_of(num: int, level: float | None, channels: int = 3, colours: bool = True) -> Change:
    """Strong changes, drawn for so many pictures."""
    draws = draw_all(num, STRONG, 7, 1)
    assert draws.colours is not None
    maps = affine_maps(draws.moves, STRONG)
    return Change(maps, level, colour_maps(draws.colours, STRONG.jitter, channels) if colours else None)


def rows_of(change: Change, rows: slice) -> Change:
    assert change.colours is not None
    colours = type(change.colours)(*(values[rows] for values in change.colours))
    return Change(change.maps[rows], change.level, colours)


@pytest.mark.parametrize("level", [None, 0.0, 140.0])
@pytest.mark.parametrize("size", [224, 128, 299])
def test_moves_of_photographs_on_a_cpu_equal_grid_sample(photographs: Tensor, size: int, level: float | None) -> None:
    change = change_of(len(photographs), level, colours=False)
    difference = (warp(photographs, change, size) - _by_grid_sample(photographs, change, size)).abs()
    assert difference.max() < TOLERANCE
    assert difference.mean() < 2e-4


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_of_photographs_on_a_cpu_equal_the_way_of_other_devices(photographs: Tensor, channels: int) -> None:
    change = change_of(len(photographs), None, channels)
    assert change.colours is not None
    expected = apply_colours(_by_grid_sample(photographs[:, :channels], change, 224), change.colours)
    difference = (warp(photographs[:, :channels], change, 224) - expected).abs()
    assert difference.max() < TOLERANCE
    assert difference.mean() < 2e-4


def test_small_pictures_are_enlarged_by_the_same_resampling(photographs: Tensor) -> None:
    small, change = photographs[:, :, 60:92, 60:92], change_of(len(photographs), None, colours=False)
    assert torch.allclose(warp(small, change, 128), _by_grid_sample(small, change, 128), rtol=0, atol=TOLERANCE)


def test_mirror_and_nothing_else_moves_whole_pixels_exactly(photographs: Tensor) -> None:
    maps = torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    found = warp(photographs[:2], Change(maps, None), 224)
    assert torch.equal(found[0], photographs[0].flip(-1).float())
    assert torch.equal(found[1], photographs[1].float())


@pytest.mark.parametrize("side", [32, 224])
def test_picture_comes_out_the_same_to_the_bit_whatever_its_batch_and_the_threads(
    photographs: Tensor, side: int, threads: None
) -> None:
    images = photographs[:, :, :side, :side].repeat(1 if side == 224 else 16, 1, 1, 1)
    change = change_of(len(images), None)
    torch.set_num_threads(1)
    together = warp(images, change, side)
    for first, last in ((0, 1), (5, 12), (len(images) - 3, len(images))):
        part = slice(first, last)
        assert torch.equal(warp(images[part], rows_of(change, part), side), together[part])
    torch.set_num_threads(3)
    assert torch.equal(warp(images, change, side), together)


def test_floats_that_are_not_whole_are_not_rounded(photographs: Tensor) -> None:
    images, change = photographs.float() / 2 + 0.25, change_of(len(photographs), None, colours=False)
    assert torch.allclose(warp(images, change, 224), warp(photographs, change, 224) / 2 + 0.25, rtol=0, atol=1e-3)


def test_threads_of_opencv_are_left_as_they_were() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    warp(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), change_of(2, None), 8)
    found = cv2.getNumThreads()
    cv2.setNumThreads(before)
    assert found == 2


def test_colours_are_cut_off_to_0_and_255() -> None:
    bright = torch.randint(0, 256, (50, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = warp(bright, change_of(50, None), 16)
    assert found.min() == 0
    assert found.max() == 255
