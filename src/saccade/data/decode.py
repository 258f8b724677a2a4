"""The one decoder: bytes -> uint8 pixels, or a typed refusal with a stable reason.

Training, prediction and the server all call `decode`, so that the same file gives the same answer in all
three. What a file is, its content decides; its name is only compared with it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from saccade.data.colours import Background, is_constant, to_uint8
from saccade.data.formats import canvas_size, has_wrong_suffix, is_cut_short
from saccade.data.orientation import held_warnings, read_orientation, turn
from saccade.data.refusals import accepted_format, metadata_error, refusal, too_many
from saccade.errors import PictureError

CODES: Mapping[str, str] = MappingProxyType(
    {
        "wrong_extension": "the name ends like another format than the content",
        "exif_rotated": "turned or mirrored as the EXIF orientation asks",
        "exif_ignored": "EXIF damaged, or an orientation that does not exist: that part is ignored",
        "missing_trailer": "the end of the file is missing, after the last pixel",
        "multi_frame": "an animation or several pages: the first is used",
        "reduced": "above the pixel limit, so the JPEG was decoded at half its size",
        "one_bit_expanded": "black-and-white bits became 0 and 255",
        "palette_expanded": "palette numbers became their colours",
        "composited": "transparent pixels were laid over the background colour",
        "sixteen_bit_scaled": "16 bits (or 12) per channel became 8: the deepest white is 255",
        "float_scaled": "floating-point 0..1 became 0..255",
        "cmyk_converted": "printing colours became RGB",
        "lab_converted": "Lab colours became RGB",
        "icc_ignored": "the colour profile is broken; the plain formula was used",
        "extreme_aspect": "one side is at least ten times the other",
        "constant": "every pixel has the same colour",
    }
)

_PLUGINS: Mapping[str, type[ImageFile.ImageFile]] = MappingProxyType(
    {
        # The classes, not Image.open: that one tries what is not on the list, and warns of large pictures.
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "AVIF": AvifImagePlugin.AvifImageFile,
    }
)

_EXTREME_ASPECT = 10
_MAX_METADATA_BYTES = 16 * 2**20
_METADATA_KEYS = ("exif", "icc_profile", "xmp", "photoshop", "comment")
# A progressive JPEG keeps the coefficients of the full picture in memory however small it is asked for.
_MOST_REDUCED = 4
_LARGEST_SCALE = 8  # libjpeg's


@dataclass(frozen=True)
class DecodeRules:
    """What is accepted, and how transparency is resolved.

    Attributes:
        background: RGB 0..255, below transparent pixels.
        max_pixels: width times height above this is refused before anything is allocated.
        min_side: the shorter side must have at least so many pixels.
        reduce_large: decode JPEGs of up to four times `max_pixels` at half their size, do not refuse them.
        draft: decode a JPEG at a half, a quarter or an eighth of its size where far fewer pixels are wanted.
    """

    background: Background = (255, 255, 255)
    max_pixels: int = 100_000_000
    min_side: int = 8
    reduce_large: bool = False
    draft: bool = True


class Decoded(NamedTuple):
    """A picture.

    `image` has mode L for grey pictures, RGB else; `original_size` is (width, height), upright and before any
    reduction (the pixels of a JPEG can be fewer); `format` is one of `formats.ACCEPTED`; `codes` are keys of `CODES`.
    """

    image: Image.Image
    original_size: tuple[int, int]
    format: str
    codes: tuple[str, ...]

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """A copy as uint8 (H, W, C), C = 1 or 3."""
        pixels = np.array(self.image, dtype=np.uint8)
        return pixels[:, :, None] if pixels.ndim == 2 else pixels


def decode(data: bytes, name: str, rules: DecodeRules, least_side: int | None = None) -> Decoded:
    """Decode one picture.

    Args:
        data: the whole file; all of it is read, also where fewer pixels are wanted.
        name: what to call it in messages; its extension is compared with the content.
        rules: limits and background.
        least_side: with `rules.draft`, a JPEG may be reduced while decoding as long as its shorter side keeps so many
            pixels; None: every picture in full.

    Raises:
        PictureError: with one of the reasons in `REASONS`; nothing else, whatever the bytes.
    """
    picture_format = accepted_format(data, name)
    least_side = least_side if rules.draft and picture_format == "JPEG" else None
    try:
        try:
            decoded = _decode_known(data, picture_format, rules, least_side)
            if least_side is not None and "constant" in decoded.codes:
                decoded = _decode_known(data, picture_format, rules)  # reduced, fine lines can become one grey
        except OSError as error:
            # A cut JPEG raises this, and so does one whose end marker alone is missing.
            repaired = _without_trailer(data, picture_format, rules, least_side)
            if repaired is None:
                raise error
            decoded = repaired
    except PictureError as error:
        error.where = name
        raise
    except Image.DecompressionBombError as error:
        raise too_many(str(error), name) from error
    except Exception as error:  # Pillow's plugins raise nearly every kind there is
        raise refusal(error, data, picture_format, name) from error
    if has_wrong_suffix(name, picture_format):
        return decoded._replace(codes=("wrong_extension", *decoded.codes))
    return decoded


def size_of(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) as stored, from the first bytes alone; `decode` may still refuse the picture.

    Raises:
        PictureError: this is no picture that is accepted.
    """
    picture_format = accepted_format(data, name)
    if size := canvas_size(data, picture_format):
        return size
    try:
        with held_warnings():
            return _PLUGINS[picture_format](io.BytesIO(data)).size
    except Exception as error:  # Pillow's plugins raise nearly every kind there is
        raise refusal(error, data, picture_format, name) from error


def _decode_known(data: bytes, picture_format: str, rules: DecodeRules, least_side: int | None = None) -> Decoded:
    _check_pixels(canvas_size(data, picture_format), rules)
    codes: list[str] = []
    with held_warnings() as complaints:
        image = _PLUGINS[picture_format](io.BytesIO(data))
        stored = image.size
        _check_size(image, picture_format, rules, codes)
        if picture_format == "JPEG":
            _reduce(image, 2 if "reduced" in codes else 1, least_side)
        _check_metadata(image)
        if _has_frames(image):
            codes.append("multi_frame")
        orientation, damaged = 1, False
        if picture_format == "TIFF":
            orientation, damaged = read_orientation(image, picture_format)
        if picture_format == "TIFF" or (picture_format == "PNG" and b"acTL" in data):
            image.load()  # the two whose pixels, too, can come with warnings
    image.load()
    _check_metadata(image)
    coloured = to_uint8(image, rules.background)
    if picture_format != "TIFF":
        orientation, damaged = read_orientation(image, picture_format)
    if damaged or (complaints and picture_format != "TIFF" and "multi_frame" not in codes):
        codes.append("exif_ignored")
    upright = coloured.image
    if orientation != 1:
        codes.append("exif_rotated")
    if orientation != 1 and picture_format != "TIFF":  # Pillow turns TIFFs itself while loading
        upright = turn(upright, orientation)
        stored = stored[::-1] if orientation >= 5 else stored
    codes += [*coloured.codes, *_observed(data, picture_format, upright, coloured.codes)]
    return Decoded(upright, stored, picture_format, tuple(codes))


def _check_pixels(size: tuple[int, int] | None, rules: DecodeRules) -> None:
    if size and size[0] * size[1] > rules.max_pixels:
        raise too_many(f"{size[0]} x {size[1]} pixels are more than the {rules.max_pixels:,} allowed")


def _check_size(image: ImageFile.ImageFile, picture_format: str, rules: DecodeRules, codes: list[str]) -> None:
    width, height = image.size
    if min(width, height) < rules.min_side:
        what = f"{width} x {height} pixels: the shorter side must have at least {rules.min_side}"
        raise PictureError("too_small", what, remedy="remove the picture, or lower the limit")
    reducible = rules.reduce_large and picture_format == "JPEG"
    if reducible and rules.max_pixels < width * height <= _MOST_REDUCED * rules.max_pixels:
        codes.append("reduced")
        return
    _check_pixels(image.size, rules)
    if max(width, height) >= _EXTREME_ASPECT * min(width, height):
        codes.append("extreme_aspect")


def _reduce(image: ImageFile.ImageFile, at_least: int, least_side: int | None) -> None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8, where that is asked for or leaves `least_side` pixels on both sides."""
    scale = at_least
    while least_side is not None and scale < _LARGEST_SCALE and min(image.size) >= 2 * scale * least_side:
        scale *= 2
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))


def _check_metadata(image: ImageFile.ImageFile) -> None:
    for key in _METADATA_KEYS:
        value = image.info.get(key)
        if isinstance(value, (bytes, str)) and len(value) > _MAX_METADATA_BYTES:
            raise metadata_error(f"{key} takes {len(value):,} bytes")


def _has_frames(image: ImageFile.ImageFile) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damage behind the first frame, which is the one that counts
        return True


def _observed(data: bytes, picture_format: str, image: Image.Image, known: tuple[str, ...]) -> list[str]:
    codes = []
    if picture_format in ("PNG", "GIF") and is_cut_short(data, picture_format):
        codes.append("missing_trailer")
    if picture_format == "PNG" and data[24] == 16 and "sixteen_bit_scaled" not in known:
        codes.append("sixteen_bit_scaled")  # colour: Pillow has already dropped the lower byte
    if is_constant(image):
        codes.append("constant")
    return codes


def _without_trailer(data: bytes, picture_format: str, rules: DecodeRules, least_side: int | None) -> Decoded | None:
    """Decode a JPEG that lacks only its end marker, if all its pixels are there; else None.

    Two different paddings stand in for the missing bytes. Where both give the same picture, no pixel depends
    on what is missing. Of several scans a whole one could be missing without a trace: those are not repaired.
    """
    if picture_format != "JPEG" or not is_cut_short(data, picture_format):
        return None
    scan = data.rfind(b"\xff\xda")
    frame = max(data.rfind(b"\xff\xc0"), data.rfind(b"\xff\xc1"))
    if not 0 <= frame < scan < len(data) - 5 or data.count(b"\xff\xda", frame) != 1:
        return None
    if data[scan + 4] != data[frame + 9]:  # the components in the scan, and in the frame
        return None
    body = data.removesuffix(b"\xff")
    try:
        first, second = (_decode_known(body + pad * 64 + b"\xff\xd9", "JPEG", rules) for pad in (b"\x55", b"\xaa"))
    except (OSError, SyntaxError, ValueError):
        return None
    if first.image.tobytes() != second.image.tobytes():
        return None
    if least_side is not None:  # in full they were compared, for a reduced picture could hide the difference
        first = _decode_known(body + b"\x55" * 64 + b"\xff\xd9", "JPEG", rules, least_side)
    return first._replace(codes=(*first.codes, "missing_trailer"))
