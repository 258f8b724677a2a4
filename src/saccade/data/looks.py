"""What a picture looks like in a kilobyte: taken once, while it is decoded, and kept beside the pack.

A look is made from the whole picture, never from the packed pixels, so it does not depend on the network the pack was
made for: copies, groups and therefore splits are the same for LeNet at 28 pixels and for VGG at 224.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

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
_SHARPNESS_SIDE = 256  # sharpness is judged at one size, or every large photograph would seem blurry beside small ones

Looks = npt.NDArray[np.void]


def look_at(pixels: npt.NDArray[np.uint8], sha256: str, num_bytes: int, picture_format: str) -> Looks:
    """The look of one picture.

    Args:
        pixels: uint8 (H, W, C) as decoded, C = 1 or 3.
        sha256: of the file, 64 hexadecimal digits.
        num_bytes: of the file.
        picture_format: JPEG, PNG, ...; `array` where there was no file.

    Returns:
        An array of shape (1,) and type `LOOK`.
    """
    height, width, channels = pixels.shape
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    grey = image.convert("L")
    luma = grey.resize((LUMA_SIDE, LUMA_SIDE), Image.Resampling.LANCZOS)
    look = np.zeros(1, dtype=LOOK)
    look["sha256"], look["num_bytes"], look["format"] = sha256, num_bytes, picture_format
    look["width"], look["height"] = width, height
    look["constant"] = bool((pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())
    look["sharpness"] = _sharpness(grey)
    look["luma"] = np.asarray(luma)
    look["chroma"] = 128
    if channels == 3:
        small = image.resize((CHROMA_SIDE, CHROMA_SIDE), Image.Resampling.BOX).convert("YCbCr")
        look["chroma"] = np.asarray(small)[:, :, 1:]
    return look


def read_looks(folder: Path) -> Looks:
    """The looks of a pack, memory-mapped: (N,) of type `LOOK`; row i is item i of the listing, zeros where broken."""
    return np.asarray(np.lib.format.open_memmap(folder / LOOKS_FILE, mode="r"))


def is_grey(looks: Looks) -> npt.NDArray[np.bool_]:
    """(N,) whether a picture shows no colour, whatever its file says."""
    return np.asarray((np.abs(looks["chroma"].astype(np.int16) - 128) <= _GREY_WITHIN).all(axis=(1, 2, 3)))


def _sharpness(grey: Image.Image) -> float:
    """The deviation of the Laplacian over that of the picture itself: how much of the contrast is fine detail."""
    if max(grey.size) > _SHARPNESS_SIDE:
        grey = grey.copy()
        grey.thumbnail((_SHARPNESS_SIDE, _SHARPNESS_SIDE), Image.Resampling.BOX, reducing_gap=None)
    values = np.asarray(grey, dtype=np.float32)
    if min(values.shape) < 3:
        return 0.0
    middle = values[1:-1, 1:-1]
    edges = 4 * middle - values[:-2, 1:-1] - values[2:, 1:-1] - values[1:-1, :-2] - values[1:-1, 2:]
    contrast = float(values.std())
    return float(edges.std()) / contrast if contrast > 0 else 0.0
