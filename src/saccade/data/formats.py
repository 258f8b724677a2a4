"""What the bytes of a file say it is, and whether its container was cut short. Nothing is decoded here."""

from __future__ import annotations

from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Literal, NamedTuple

ACCEPTED = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")

_SUFFIXES = MappingProxyType(
    {
        "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"),
        "PNG": (".png", ".apng"),
        "WEBP": (".webp",),
        "BMP": (".bmp", ".dib"),
        "GIF": (".gif",),
        "TIFF": (".tif", ".tiff"),
        "AVIF": (".avif", ".avifs"),
        # Not accepted by content, but a JPEG under one of these names deserves to be counted all the same.
        "other": (".heic", ".heif", ".jp2", ".j2k", ".jxl", ".svg", ".psd", ".eps", ".pdf", ".ico", ".ppm"),
    }
)
_FORMAT_OF_SUFFIX = MappingProxyType({suffix: kind for kind, all_ in _SUFFIXES.items() for suffix in all_})

PICTURE_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX)

_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)

_RASTERISE = "convert it to PNG first: drawings and pages have no pixels of their own"
_CONVERT = "convert it to JPEG or PNG first"
_HEIC = "convert it to JPEG, or wait for the extra that reads it: pip install 'saccade[heic]' comes later"

# (offset, first bytes, name, remedy)
_UNSUPPORTED: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"%!PS", "eps", _RASTERISE),
    (0, b"\xc5\xd0\xd3\xc6", "eps", _RASTERISE),
    (0, b"%PDF", "pdf", _RASTERISE),
    (0, b"8BPS", "psd", _CONVERT),
    (0, b"SIMPLE  =", "fits", _CONVERT),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "jpeg 2000", _CONVERT),
    (0, b"\xff\x4f\xff\x51", "jpeg 2000", _CONVERT),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jpeg xl", _CONVERT),
    (0, b"\xff\x0a", "jpeg xl", _CONVERT),
    (0, b"\x00\x00\x01\x00", "ico", _CONVERT),
    (0, b"DDS ", "dds", _CONVERT),
    (0, b"qoif", "qoi", _CONVERT),
    (0, b"\x76\x2f\x31\x01", "openexr", _CONVERT),
    (0, b"icns", "icns", _CONVERT),
    (128, b"DICM", "dicom", _CONVERT),
)
# (first bytes, what to call it)
_NOT_PICTURES: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer (the picture itself was never downloaded: run git lfs pull)",
    ),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-zip archive"),
    (b"Rar!", "a rar archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3", "a database"),
    (b"ID3", "music"),
    (b"RIFF", "a sound or a film"),
    (b"\x1aE\xdf\xa3", "a film"),
)


class Kind(NamedTuple):
    """What the bytes are. `name` is a format of `ACCEPTED`, an unsupported format, or the kind in words."""

    verdict: Literal["accepted", "unsupported", "not_an_image"]
    name: str
    remedy: str = ""


def identify(data: bytes) -> Kind:
    """Say from the content alone what `data` (not empty) is."""
    accepted = _accepted(data)
    if accepted:
        return Kind("accepted", accepted)
    if data[4:8] == b"ftyp":
        return _media_container(data)
    for offset, magic, name, remedy in _UNSUPPORTED:
        if data[offset : offset + len(magic)] == magic:
            return Kind("unsupported", name, remedy)
    if data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace():
        return Kind("unsupported", "ppm", _CONVERT)
    for magic, words in _NOT_PICTURES:
        if data.startswith(magic):
            return Kind("not_an_image", words)
    return _text_or_noise(data)


def _accepted(data: bytes) -> str | None:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"  # "BM" alone also begins English sentences
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if data[4:8] == b"ftyp" and {b"avif", b"avis"} & _brands(data):
        return "AVIF"
    return None


def _brands(data: bytes) -> set[bytes]:
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}


def _media_container(data: bytes) -> Kind:
    if _brands(data) & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return Kind("unsupported", "heic", _HEIC)
    return Kind("not_an_image", "a film")


def _text_or_noise(data: bytes) -> Kind:
    head = data[:4096]
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return Kind("not_an_image", "HTML (a web page, often an error page saved by a download)")
    if b"<svg" in start and start.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")):
        return Kind("unsupported", "svg", "rasterise it first, for example with Inkscape or rsvg-convert")
    if start.startswith(b"<?xml"):
        return Kind("not_an_image", "XML")
    if start.startswith((b"{", b"[")):
        return Kind("not_an_image", "JSON or other text")
    if not any(head):
        return Kind("not_an_image", "nothing but zero bytes (often an interrupted copy)")
    if _is_text(head):
        return Kind("not_an_image", "text")
    return Kind("not_an_image", f"unknown bytes that begin with {data[:8].hex(' ')}")


def _is_text(head: bytes) -> bool:
    controls = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    try:
        head[: len(head) - 3].decode() if len(head) == 4096 else head.decode()
    except UnicodeDecodeError:
        return False
    return controls == 0


def has_wrong_suffix(name: str, picture_format: str) -> bool:
    """Whether the name ends like another format than the content (`cat.jpg` that is a PNG)."""
    expected = _FORMAT_OF_SUFFIX.get(PurePosixPath(name).suffix.lower())
    return expected is not None and expected != picture_format


def canvas_size(data: bytes, picture_format: str) -> tuple[int, int] | None:
    """(width, height) from the header of a WebP or GIF: their plugins allocate the canvas when they open."""
    if picture_format == "GIF" and len(data) >= 10:
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if picture_format != "WEBP" or len(data) < 30:
        return None
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if data[12:16] == b"VP8 ":
        width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        return width & 0x3FFF, height & 0x3FFF
    return None


def is_cut_short(data: bytes, picture_format: str) -> bool:
    """Whether the container ends before it says it does. Asked after decoding, to word the result."""
    size = len(data)
    if picture_format == "JPEG":
        return not data.rstrip(b"\0").endswith(b"\xff\xd9")
    if picture_format == "PNG":
        return not _png_has_end(data)
    if picture_format == "GIF":
        return not data.rstrip(b"\0").endswith(b";")
    if picture_format == "WEBP":
        return size < 20 or int.from_bytes(data[4:8], "little") + 8 > size
    if picture_format == "BMP":
        return int.from_bytes(data[2:6], "little") > size
    if picture_format == "AVIF":
        return not _boxes_fit(data)
    return not _tiff_directory_fits(data)


def _png_has_end(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def _boxes_fit(data: bytes) -> bool:
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 0:  # "up to the end of the file"
            return True
        at += max(length, 8) if length != 1 else max(int.from_bytes(data[at + 8 : at + 16], "big"), 16)
    return at == len(data)


def _tiff_directory_fits(data: bytes) -> bool:
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    start = int.from_bytes(data[4:8], order)
    num_tags = int.from_bytes(data[start : start + 2], order)
    return start + 2 + 12 * num_tags <= len(data)
