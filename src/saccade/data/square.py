"""A picture becomes a square: squashed, cropped or padded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from saccade.data.colours import Background

if TYPE_CHECKING:
    from saccade.recipe import Fit


def as_image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """uint8 (H, W, C), C = 1 or 3, as a picture of mode L or RGB."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def fit_square(pixels: npt.NDArray[np.uint8], side: int, fit: Fit, background: Background) -> npt.NDArray[np.uint8]:
    """Make a picture square, with Pillow's antialiased bilinear filter.

    Args:
        pixels: uint8 (H, W, C), C = 1 or 3.
        side: the wanted height and width.
        fit: squash (nothing is cut away), crop (the centred square of the short side), pad (on `background`).
        background: RGB 0..255; its luma is used for grey pictures.

    Returns:
        uint8 (side, side, C); `pixels` itself when it has that size already.
    """
    height, width, channels = pixels.shape
    if height == width == side:
        return pixels
    result = square_of(as_image(pixels), side, fit, background)
    return np.array(result, dtype=np.uint8).reshape(side, side, channels)


def square_of(image: Image.Image, side: int, fit: Fit, background: Background) -> Image.Image:
    """The same for a picture of mode L or RGB."""
    width, height = image.size
    if fit == "squash":
        return image.resize((side, side), Image.Resampling.BILINEAR)
    if fit == "crop":
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        box = (left, top, left + short, top + short)
        return image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    if fit == "pad":
        return _padded(image, side, background)
    raise ValueError(f"fit must be squash, crop or pad, got {fit!r}")


def _padded(image: Image.Image, side: int, background: Background) -> Image.Image:
    long = max(image.size)
    width, height = (max(1, round(length * side / long)) for length in image.size)
    colour: int | Background = background
    if image.mode == "L":
        red, green, blue = background
        colour = (red * 299 + green * 587 + blue * 114 + 500) // 1000
    below = Image.new(image.mode, (side, side), colour)
    below.paste(image.resize((width, height), Image.Resampling.BILINEAR), ((side - width) // 2, (side - height) // 2))
    return below
