"""Every pixel mode that Pillow hands out -> uint8 grey or RGB. Depths are scaled, never clipped."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, TiffImagePlugin

from saccade.errors import PictureError

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_SIGNED_INTEGERS, _MIN_IS_WHITE = 2, 0
_FLOAT_TOLERANCE = 1e-4  # of the 0..1 range: what resampling in other programs overshoots by

Background = tuple[int, int, int]


class Coloured(NamedTuple):
    """A picture of mode L or RGB, and the codes of what was done to get it."""

    image: Image.Image
    codes: tuple[str, ...]


def to_uint8(image: Image.Image, background: Background) -> Coloured:
    """Turn a loaded picture of any mode into 8-bit grey (mode L) or colour (mode RGB).

    Transparent pixels are laid over `background`.

    Raises:
        PictureError: `unsupported_depth`, `non_finite_pixels`, `float_out_of_range`.
    """
    if _tiff_tag(image, _SAMPLE_FORMAT) == _SIGNED_INTEGERS:
        raise _depth_error("signed whole numbers")
    if image.mode.startswith("I;16"):
        return Coloured(_from_sixteen_bit(image), ("sixteen_bit_scaled",))
    if image.mode == "F":
        return Coloured(_from_float(image), ("float_scaled",))
    if image.mode == "I":
        raise _depth_error("32-bit whole numbers")
    if image.mode == "CMYK":
        return _managed(image, "cmyk_converted")
    if image.mode == "LAB":
        return _managed(image, "lab_converted")
    codes = {"1": ("one_bit_expanded",), "P": ("palette_expanded",), "PA": ("palette_expanded",)}
    grey = image.mode in ("1", "L", "LA", "La") or _has_grey_palette(image)
    if image.has_transparency_data:
        grey = grey and len(set(background)) == 1
        return _composite(image, background, codes.get(image.mode, ()), grey=grey)
    return Coloured(_converted(image, "L" if grey else "RGB"), codes.get(image.mode, ()))


def is_constant(image: Image.Image) -> bool:
    """Whether every pixel of a picture has the same colour."""
    return image.getcolors(1) is not None  # it gives up at the second colour


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # which would copy it all the same


def _has_grey_palette(image: Image.Image) -> bool:
    """Whether this is a picture with a palette of greys, as grey GIFs are."""
    if image.mode != "P":
        return False
    colours = image.getpalette("RGB") or []
    return colours[0::3] == colours[1::3] == colours[2::3]


def _composite(image: Image.Image, background: Background, codes: tuple[str, ...], *, grey: bool) -> Coloured:
    seen = image.convert("RGBA")
    alpha = seen.getchannel("A")
    if alpha.getextrema() != (255, 255):
        below = Image.new("RGB", image.size, background)
        below.paste(seen.convert("RGB"), mask=alpha)
        return Coloured(_converted(below, "L" if grey else "RGB"), (*codes, "composited"))
    return Coloured(seen.convert("L" if grey else "RGB"), codes)


def _from_sixteen_bit(image: Image.Image) -> Image.Image:
    depth = _tiff_tag(image, _BITS_PER_SAMPLE) or 16
    top = 2**depth - 1
    values = np.array(image).astype(np.uint32)
    if _tiff_tag(image, _PHOTOMETRIC) == _MIN_IS_WHITE:  # Pillow turns this round for 8 bits only
        values = top - values
    scaled: npt.NDArray[np.uint8] = ((values * 255 + top // 2) // top).astype(np.uint8)
    return Image.fromarray(scaled)


def _from_float(image: Image.Image) -> Image.Image:
    values = np.array(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise PictureError(
            "non_finite_pixels",
            "some pixels are not numbers (NaN) or infinite",
            remedy="replace them before saving, for example with numpy.nan_to_num",
        )
    low, high = float(values.min()), float(values.max())
    if low < -_FLOAT_TOLERANCE or high > 1 + _FLOAT_TOLERANCE:
        raise PictureError(
            "float_out_of_range",
            f"floating-point pixels must lie between 0 and 1, these lie between {low:g} and {high:g}",
            remedy="scale them to 0..1, or save the picture with 8 or 16 bits",
        )
    if _tiff_tag(image, _PHOTOMETRIC) == _MIN_IS_WHITE:
        values = 1 - values
    scaled: npt.NDArray[np.uint8] = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(scaled)


def _managed(image: Image.Image, code: str) -> Coloured:
    """CMYK or Lab -> sRGB, through the picture's own ICC profile where it has one that works."""
    codes: tuple[str, ...] = (code,)
    embedded = image.info.get("icc_profile")
    if embedded:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
            return Coloured(_through(image, profile), codes)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            codes = (code, "icc_ignored")
    if image.mode == "LAB":
        return Coloured(_through(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))), codes)
    return Coloured(image.convert("RGB"), codes)


def _through(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, profile, _srgb(), renderingIntent=ImageCms.Intent.PERCEPTUAL, outputMode="RGB"
    )
    if converted is None:  # only when asked to work in place
        raise ValueError("the colour conversion returned nothing")
    return converted


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _tiff_tag(image: Image.Image, tag: int) -> int | None:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    value = image.tag_v2.get(tag)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else None


def _depth_error(found: str) -> PictureError:
    return PictureError(
        "unsupported_depth",
        f"the pixels are {found}, whose black and white points nobody can know",
        remedy="save the picture with 8 or 16 bits, or as floating point between 0 and 1",
    )
