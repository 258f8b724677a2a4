"""Arrays of pictures as people save them -> uint8 (N, H, W, C). What can be read in two ways is asked, not guessed."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.errors import ArrayError

_MIN_SIDE = 8  # as in the decoder; it also tells a channel axis from a side
_TOLERANCE = 1e-3  # 1.0000001 is still 1
# The largest value decides between 0..1 and 0..255. Pictures of 0..255 whose brightest pixel is that dark do
# not occur; pictures on some third scale (sklearn's digits: 0..16) do.
_DARKEST_MAXIMUM = 32
_CHANNELS = (1, 3)

Scale = Literal["0..1", "0..255"]
Order = Literal["NHW", "NHWC", "NCHW"]


class NamedArray(NamedTuple):
    """An array and what its owner called it, for messages: `X_train`."""

    name: str
    values: npt.NDArray[Any]


def join_pictures(parts: list[NamedArray], source: str) -> npt.NDArray[np.uint8]:
    """Join the pictures of all parts into one uint8 array (N, H, W, C), C = 1 or 3.

    Accepted are (N, H, W), (N, H, W, C) and (N, C, H, W), with whole numbers 0..255, floats 0..1 or 0..255, or
    booleans.

    Raises:
        ArrayError: another shape or type, a value out of range, parts that differ, or two ways to read it.
    """
    orders = {_order(part, source) for part in parts}
    if len(orders) > 1:
        raise ArrayError(
            f"the parts have their axes in different orders: {', '.join(sorted(orders))}",
            where=source,
            remedy="save all parts with the axes (pictures, height, width, channels)",
        )
    order = orders.pop()
    moved = [NamedArray(part.name, _channels_last(part.values, order)) for part in parts]
    shapes = {part.values.shape[1:] for part in moved}
    if len(shapes) > 1:
        found = ", ".join(f"{part.name} {part.values.shape}" for part in parts)
        raise ArrayError(
            f"the parts have pictures of different sizes: {found}",
            where=source,
            remedy="save all parts at one size, with the same channels",
        )
    scale = _common_scale(moved, source)
    if len(moved) == 1 and moved[0].values.dtype == np.uint8:
        return moved[0].values  # kept as it is: possibly a memory map
    return _filled(moved, shapes.pop(), scale)


def _filled(parts: list[NamedArray], picture_shape: tuple[int, ...], scale: Scale) -> npt.NDArray[np.uint8]:
    joined = np.empty((sum(len(part.values) for part in parts), *picture_shape), dtype=np.uint8)
    row = 0
    for part in parts:
        for start in range(0, len(part.values), 1024):  # a slice at a time: floats take eight times the room
            values = part.values[start : start + 1024]
            joined[row : row + len(values)] = np.rint(values * 255.0) if scale == "0..1" else np.rint(values)
            row += len(values)
    return joined


def _order(part: NamedArray, source: str) -> Order:
    shape = part.values.shape
    if len(shape) == 3 and min(shape[1:]) >= _MIN_SIDE:
        return "NHW"
    if len(shape) == 4:
        last, first = shape[3] in _CHANNELS, shape[1] in _CHANNELS
        if last and first:
            raise ArrayError(
                f"{part.name} has the shape {shape}: is the axis of the channels the second or the last?",
                where=source,
                remedy="save it as (pictures, height, width, channels) with sides of at least 8 pixels",
            )
        sides = shape[1:3] if last else shape[2:]
        if (last or first) and min(sides) >= _MIN_SIDE:
            return "NHWC" if last else "NCHW"
    raise ArrayError(
        f"{part.name} has the shape {shape}; pictures are (N, height, width), (N, height, width, channels) or "
        f"(N, channels, height, width), with 1 or 3 channels and sides of at least {_MIN_SIDE} pixels",
        where=source,
        remedy=_shape_remedy(shape),
    )


def _shape_remedy(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "if each row is a flattened picture, save it as array.reshape(-1, height, width)"
    if len(shape) == 4 and 4 in (shape[1], shape[3]):
        return "lay the transparent pixels over a background and save the three colours"
    return "save the array in one of these shapes"


def _channels_last(values: npt.NDArray[Any], order: Order) -> npt.NDArray[Any]:
    if order == "NHW":
        return values[..., None]
    return values.transpose(0, 2, 3, 1) if order == "NCHW" else values


def _common_scale(parts: list[NamedArray], source: str) -> Scale:
    scales = {part.name: _scale(part, source) for part in parts if len(part.values)}
    if len(set(scales.values())) > 1:
        found = ", ".join(f"{name} {scale}" for name, scale in scales.items())
        raise ArrayError(
            f"the parts are on different scales: {found}", where=source, remedy="save all parts on one scale"
        )
    return next(iter(scales.values()), "0..255")


def _scale(part: NamedArray, source: str) -> Scale:
    values = part.values
    if values.dtype == np.bool_:
        return "0..1"
    if values.dtype.kind not in "uif":
        raise ArrayError(
            f"{part.name} has the type {values.dtype}; pictures are whole or floating-point numbers",
            where=source,
            remedy="save the pixels as uint8",
        )
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high):  # NaN spreads into both
        raise ArrayError(
            f"{part.name} has values that are not numbers (NaN) or infinite",
            where=source,
            remedy="replace them, for example with numpy.nan_to_num",
        )
    if low < 0 or high > 255:
        raise ArrayError(
            f"{part.name} has values from {low:g} to {high:g}; pixels are 0..255, or 0..1 as floats",
            where=source,
            remedy="save the pixels before they were normalised, or scale them to 0..255",
        )
    whole = values.dtype.kind in "ui"
    if not whole and high <= 1 + _TOLERANCE:
        return "0..1"
    if high == 1 if values.dtype == np.uint8 else 0 < high <= _DARKEST_MAXIMUM:
        raise ArrayError(
            f"{part.name} has values from {low:g} to {high:g}: which value is white?",
            where=source,
            remedy="scale the pixels to 0..255, or to 0..1 as floats",
        )
    return "0..255"
