"""Which way up a picture is: its EXIF orientation, read without a warning getting out, and applied."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from PIL import Image, ImageFile, TiffImagePlugin

_ORIENTATION = 274
_TURNS: Mapping[int, Image.Transpose] = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,  # against the clock
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)

# warnings.catch_warnings changes the whole process before Python 3.14; two threads inside it at once would
# restore each other's filters. Held while headers and EXIF are read, not while ordinary pixels are decoded.
_WARNINGS_LOCK = threading.RLock()


@contextmanager
def held_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Keep every warning of the block in the list that it yields; none is shown or raised."""
    with _WARNINGS_LOCK, warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        yield complaints


def read_orientation(image: ImageFile.ImageFile, picture_format: str) -> tuple[int, bool]:
    """The EXIF orientation 1..8, and whether the EXIF is damaged.

    TIFFs must be asked before they are loaded (loading turns them and forgets it), PNGs afterwards (their EXIF
    may follow the pixels).
    """
    with held_warnings() as complaints:
        try:
            tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else image.getexif()
            value = tags.get(_ORIENTATION, 1)
        except Exception:  # as for the pixels: the plugins raise nearly every kind there is
            return 1, True
    stored = image.info.get("exif") or b""
    if not len(tags) and stored.removeprefix(b"Exif\0\0")[:4] not in (b"", b"II*\0", b"MM\0*"):
        return 1, True  # the JPEG plugin has met the damage before and keeps silent the second time
    if not isinstance(value, int) or not 1 <= value <= 8:
        return 1, True
    return value, bool(complaints) and picture_format != "TIFF"


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation 1..8."""
    return image if orientation == 1 else image.transpose(_TURNS[orientation])
