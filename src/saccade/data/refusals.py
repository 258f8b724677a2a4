"""How the decoder says no: the stable reasons, and the sentence that goes with each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from saccade.data.formats import identify, is_cut_short
from saccade.errors import PictureError

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "empty_file": "the file has no bytes",
        "not_an_image": "the content is something else: a web page, text, an archive",
        "unsupported_format": "a picture, but of a format that is not on the allow-list",
        "truncated": "the file ends before the picture does",
        "too_small": "the shorter side is below the minimum",
        "too_many_pixels": "width times height is above the limit; found before anything is allocated",
        "metadata_too_large": "text, EXIF or colour profile beyond any use: a bomb, or damage",
        "non_finite_pixels": "floating-point pixels that are NaN or infinite",
        "float_out_of_range": "floating-point pixels outside 0..1",
        "unsupported_depth": "32-bit or signed pixels, or an unknown combination of channels",
        "decoder_crashed": "decoding it ended its process, or took longer than a minute; the scan went on",
        "undecodable": "damaged in some other way; the message carries Pillow's words",
    }
)


def accepted_format(data: bytes, name: str) -> str:
    if not data:
        raise PictureError(
            "empty_file", "the file is empty (0 bytes)", where=name, remedy="fetch it again, or delete it"
        )
    kind = identify(data)
    if kind.verdict == "unsupported":
        what = f"unsupported_format: {kind.name}; read are JPEG, PNG, WebP, BMP, GIF, TIFF and AVIF"
        raise PictureError("unsupported_format", what, where=name, remedy=kind.remedy)
    if kind.verdict == "not_an_image":
        what = f"this is not a picture: the file holds {kind.name}"
        raise PictureError("not_an_image", what, where=name, remedy="fetch the picture again, or remove the file")
    return kind.name


def too_many(what: str, name: str | None = None) -> PictureError:
    remedy = "scale the picture down, or raise the limit if you trust it"
    return PictureError("too_many_pixels", what, where=name, remedy=remedy)


def metadata_error(detail: str) -> PictureError:
    what = f"the text, EXIF or colour profile beside the pixels is too large: {detail}"
    return PictureError("metadata_too_large", what, remedy="save the picture again without its metadata")


def refusal(error: Exception, data: bytes, picture_format: str, name: str) -> PictureError:
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    lowered = words.lower()
    if "max_text" in lowered or "text memory" in lowered:
        refusal = metadata_error(str(error))
        refusal.where = name
        return refusal
    if "truncated" in lowered or is_cut_short(data, picture_format):
        what = f"the {picture_format} ends before its picture does ({len(data):,} bytes; {words})"
        return PictureError("truncated", what, where=name, remedy="fetch or copy the file again")
    if "unknown pixel mode" in lowered or "unknown data organization" in lowered:
        what = f"this {picture_format} has a combination of channels and bits that cannot be read ({words})"
        return PictureError("unsupported_depth", what, where=name, remedy="save it with 8 or 16 bits per channel")
    what = f"the {picture_format} is damaged ({words})"
    return PictureError("undecodable", what, where=name, remedy="fetch or copy the file again, or remove it")
