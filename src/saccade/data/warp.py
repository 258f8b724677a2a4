"""The move and the colours of a batch: every picture through a map of its own, and then its colours through theirs.

On a CPU that is OpenCV, a few pictures at a time, so that what is touched twice is in the cache; elsewhere it is
F.grid_sample. Both weigh pixels in floats and agree to a few hundredths of a grey level: docs/augmentation.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.data.colour_jitter import ColourMaps, apply_colours, weights_of_grey

Floats = npt.NDArray[np.float32]

_VALUES_AT_ONCE = 2**18  # of float32: a megabyte, what a core has for itself
_SIDE_FOR_THREADS = 64  # a smaller picture is done before the next thread has taken over Python's lock


@dataclass(frozen=True)
class Change:
    """What happens to the pictures of a batch, one row each.

    Attributes:
        maps: (B, 2, 3), from where a pixel goes to where it comes from, in -1..1 coordinates.
        level: the grey level that comes in at the edges; None for the nearest pixel.
        colours: after the move; None leaves them.
    """

    maps: Tensor
    level: float | None
    colours: ColourMaps | None = None


def warp(images: Tensor, change: Change, size: int) -> Tensor:
    """Move every picture bilinearly through its map, then change its colours and cut them off to 0..255.

    Args:
        images: (B, C, H, W), uint8 or float, 0..255, H = W.
        change: of these pictures.
        size: side of the pictures that come out.

    Returns:
        float32 (B, C, size, size), 0..255.
    """
    if images.device.type == "cpu":
        return _by_opencv(images, change, size)
    moved = _by_grid_sample(images, change, size)
    return moved if change.colours is None else apply_colours(moved, change.colours)


def _by_opencv(images: Tensor, change: Change, size: int) -> Tensor:
    """Large pictures are shared out among as many threads as torch has; each depends on nothing but itself."""
    rows = images.detach().permute(0, 2, 3, 1).contiguous().numpy()
    changed: Floats = np.empty((len(rows), size, size, rows.shape[3]), np.float32)
    maps = _pixel_maps(change.maps, rows.shape[1], size)
    colours = [] if change.colours is None else [values.numpy() for values in change.colours]

    def do(part: slice) -> None:
        _move(rows[part], maps[part], change.level, changed[part])
        if colours:
            _colour(changed[part], *(values[part] for values in colours))

    threads = torch.get_num_threads() if size >= _SIDE_FOR_THREADS else 1
    parts = _parts(len(rows), max(1, _VALUES_AT_ONCE // changed[0].size), threads)
    with _one_thread_each():
        if threads == 1 or len(parts) == 1:
            for part in parts:
                do(part)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(do, parts))
    return torch.from_numpy(changed).permute(0, 3, 1, 2)


def _pixel_maps(maps: Tensor, side: int, size: int) -> npt.NDArray[np.float64]:
    """The same maps between places of pixels, whose middles are whole numbers: of (size, size) into (side, side)."""
    found = maps.detach().numpy().astype(np.float64)
    turns, shifts = found[:, :, :2], found[:, :, 2]
    # A pixel p lies at (2p + 1) / size - 1, and what lies at u is pixel (u + 1) · side / 2 - 1/2.
    origin = (turns.sum(axis=2) * (1 / size - 1) + shifts + 1) * side / 2 - 0.5
    return np.concatenate([turns * (side / size), origin[:, :, None]], axis=2)


def _move(rows: npt.NDArray[np.generic], maps: npt.NDArray[np.float64], level: float | None, moved: Floats) -> None:
    size = moved.shape[1:3]
    border = cv2.BORDER_REPLICATE if level is None else cv2.BORDER_CONSTANT
    flags, filled = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (level or 0.0,) * 4
    # In floats: whole grey levels would be rounded here, and again by every change that follows.
    for image, matrix, target in zip(rows.astype(np.float32), maps, moved, strict=True):
        cv2.warpAffine(image, matrix, size, target, flags, border, filled)


def _colour(images: Floats, matrices: Floats, of_mean: Floats) -> None:
    """In place."""
    num, height, width, channels = images.shape
    weights = np.tile(np.array(weights_of_grey(channels), np.float32), width)
    grey = np.einsum("nhw,w->n", images.reshape(num, height, width * channels), weights) / (height * width)
    matrices = matrices.copy()
    matrices[:, :, -1] += (of_mean * grey)[:, None]
    for image, matrix in zip(images, matrices, strict=True):
        cv2.transform(image, matrix, image)
    np.clip(images, 0, 255, out=images)


def _parts(num: int, most: int, threads: int) -> list[slice]:
    """So few pictures at a time that they stay in the cache, and every thread has some."""
    step = max(1, min(most, -(-num // threads)))
    return [slice(start, start + step) for start in range(0, num, step)]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """OpenCV would start threads of its own in every one of ours."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _by_grid_sample(images: Tensor, change: Change, size: int) -> Tensor:
    pixels = images.contiguous().float()
    grid = _grid(change.maps, size)
    if change.level is None:
        return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return F.grid_sample(pixels - change.level, grid, padding_mode="zeros", align_corners=False) + change.level


def _grid(maps: Tensor, size: int) -> Tensor:
    """F.affine_grid of squares, (B, size, size, 2), in a tenth of its time: sums of rows and columns, no products."""
    middles = (torch.arange(size, device=maps.device, dtype=maps.dtype) * 2 + 1) / size - 1
    grid = torch.empty(len(maps), size, size, 2, device=maps.device, dtype=maps.dtype)
    for axis in (0, 1):
        across = maps[:, axis, 0, None] * middles
        along = maps[:, axis, 1, None] * middles + maps[:, axis, 2, None]
        torch.add(across[:, None, :], along[:, :, None], out=grid[..., axis])
    return grid
