"""What single channels see: the maps of a stage for one picture, and the filters of the first layer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from saccade.use.sheets import Cell, Pixels, Sheet, coloured, draw, enlarged

Values = npt.NDArray[np.float32]

_MOST_MAPS, _MOST_FILTERS = 63, 256  # with the picture, eight rows of eight
_COLUMNS = 8
_SIDE = 112
_FILTER_COLUMNS, _FILTER_SIDE = 16, 56


def draw_features(pixels: Pixels, maps: Values, name: str, stage: str) -> Pixels:
    """The picture and the strongest channels of a stage, in viridis, each on its own scale.

    Args:
        pixels: uint8 (S, S, C), what the network was given.
        maps: (D, h, w).
        name: of the picture.
        stage: likewise.
    """
    num_channels, height, width = maps.shape
    strongest = np.argsort(-np.abs(maps).mean(axis=(1, 2)), kind="stable")[:_MOST_MAPS]
    cells = [Cell(_resized(enlarged(pixels), _SIDE), ("the picture",))]
    cells += [Cell(_resized(coloured(_stretched(maps[number])), _SIDE), (f"channel {number}",)) for number in strongest]
    which = f"the {len(strongest)} strongest of" if len(strongest) < num_channels else "all"
    remark = f"{stage}: {which} {num_channels} channels, {height}×{width} places, each on its own scale"
    legend = ("least in this channel", "most in this channel")
    return draw(Sheet(name, remark, [[cell] for cell in cells], _COLUMNS, legend, "viridis"))


def draw_filters(filters: Values, model: str) -> Pixels:
    """The filters of the first layer, (D, C, kh, kw), as pictures: grey is zero, the strongest weight black or full."""
    num_filters, in_channels, height, width = filters.shape
    shown = filters[:_MOST_FILTERS]
    which = f"the first {len(shown)} of" if len(shown) < num_filters else "all"
    colour = "red, green and blue are the weights of these channels" if in_channels == 3 else "one channel"
    remark = f"{which} {num_filters} filters of {height}×{width} pixels; grey is zero, {colour}, each on its own scale"
    groups = [[Cell(_as_picture(one), (str(number),))] for number, one in enumerate(shown)]
    return draw(Sheet(f"{model}: filters of the first layer", remark, groups, _FILTER_COLUMNS))


def _as_picture(weights: Values) -> Pixels:
    greatest = float(np.abs(weights).max())
    shares = 0.5 + weights / (2 * greatest) if greatest > 0 else np.full_like(weights, 0.5)
    pixels = (shares.transpose(1, 2, 0) * 255).round().astype(np.uint8)
    colours = pixels if pixels.shape[2] == 3 else np.repeat(pixels[:, :, :1], 3, axis=2)
    return _resized(colours, _FILTER_SIDE)


def _stretched(values: Values) -> Values:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _resized(pixels: Pixels, side: int) -> Pixels:
    """Cells of a map stay cells when they are enlarged, and are averaged when they are too many to be seen."""
    how = Image.Resampling.NEAREST if pixels.shape[0] <= side else Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize((side, side), how))
