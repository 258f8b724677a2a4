"""What a picture looks like in a kilobyte: taken once, while it is decoded, and kept beside the pack.

A look is made from the whole picture, never from the packed pixels, so it does not depend on the network the pack was
made for: copies, groups and therefore splits are the same for LeNet at 28 pixels and for VGG at 224.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from saccade.data.colours import is_constant

LOOKS_FILE = "looks.npy"
LUMA_SIDE, CHROMA_SIDE = 32, 8

# One row of looks.npy; docs/formats.md describes it.
LOOK = np.dtype(
    [
        ("sha256", "S64"),
        ("num_bytes", "<u8"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("format", "S5"),
        ("constant", "?"),
        ("sharpness", "<f4"),
        ("luma", "u1", (LUMA_SIDE, LUMA_SIDE)),
        ("chroma", "u1", (CHROMA_SIDE, CHROMA_SIDE, 2)),
    ]
)
ARRAY_FORMAT = "array"
_GREY_WITHIN = 4  # of 128: what a JPEG of a grey picture leaves in its colours
# Sharpness is judged at about one size, or every large photograph would seem blurry beside small ones.
_SHARPNESS_SIDE = 192

Looks = npt.NDArray[np.void]


def look_at(image: Image.Image, sha256: str, num_bytes: int, picture_format: str) -> Looks:
    """The look of one picture.

    Args:
        image: as decoded, of mode L or RGB.
        sha256: of the file, 64 hexadecimal digits.
        num_bytes: of the file.
        picture_format: JPEG, PNG, ...; `array` where there was no file.

    Returns:
        An array of shape (1,) and type `LOOK`.
    """
    grey, small = _reduced(image)
    look = np.zeros(1, dtype=LOOK)
    look["sha256"], look["num_bytes"], look["format"] = sha256, num_bytes, picture_format
    look["width"], look["height"] = image.size
    luma = np.asarray(small.getchannel(0))
    look["constant"] = bool((luma == luma[0, 0]).all()) and is_constant(image)
    look["sharpness"] = _sharpness(grey)
    look["luma"] = luma
    look["chroma"] = 128
    if small.mode == "YCbCr":
        look["chroma"] = np.asarray(small.reduce(LUMA_SIDE // CHROMA_SIDE))[:, :, 1:]
    return look


def read_looks(folder: Path) -> Looks:
    """The looks of a pack, memory-mapped: (N,) of type `LOOK`; row i is item i of the listing, zeros where broken."""
    return np.asarray(np.lib.format.open_memmap(folder / LOOKS_FILE, mode="r"))


def is_grey(looks: Looks) -> npt.NDArray[np.bool_]:
    """(N,) whether a picture shows no colour, whatever its file says."""
    return np.asarray((np.abs(looks["chroma"].astype(np.int16) - 128) <= _GREY_WITHIN).all(axis=(1, 2, 3)))


def _reduced(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The picture in grey, about 192 pixels long, and of 32 x 32 pixels, in YCbCr where it has colours.

    Both begin with the mean of whole squares of pixels: a fifth of what resampling all of them costs.
    """
    first = _factors(image, round(max(image.size) / _SHARPNESS_SIDE))
    middle = image if first == (1, 1) else image.reduce(first)
    second = _factors(middle, min(middle.size) // (2 * LUMA_SIDE))
    nearly = middle if second == (1, 1) else middle.reduce(second)
    # What is left over at the edges became a pixel of its own, of which the picture ends somewhere inside.
    box = (0, 0, image.width / first[0] / second[0], image.height / first[1] / second[1])
    small = nearly.resize((LUMA_SIDE, LUMA_SIDE), Image.Resampling.LANCZOS, box=box)
    return middle.convert("L"), small.convert("YCbCr") if small.mode == "RGB" else small


def _factors(image: Image.Image, factor: int) -> tuple[int, int]:
    """How far width and height are reduced: the shorter side of a long picture keeps 32 pixels."""
    width, height = (max(1, min(factor, side // LUMA_SIDE)) for side in image.size)
    return width, height


def _sharpness(grey: Image.Image) -> float:
    """The deviation of the Laplacian over that of the picture itself: how much of the contrast is fine detail."""
    values = np.asarray(grey).astype(np.int16)
    if min(values.shape) < 3:
        return 0.0
    middle = values[1:-1, 1:-1]
    edges = 4 * middle - values[:-2, 1:-1] - values[2:, 1:-1] - values[1:-1, :-2] - values[1:-1, 2:]
    contrast = _deviation(values)
    return _deviation(edges) / contrast if contrast > 0 else 0.0


def _deviation(values: npt.NDArray[np.int16]) -> float:
    flat = values.ravel().astype(np.float32)
    flat -= flat.mean()
    return float(np.sqrt(np.dot(flat, flat) / len(flat)))
