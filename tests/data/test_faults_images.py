"""FAULTS.md, section A: image files."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from saccade.data.decode import DecodeRules, decode
from saccade.errors import PictureError

RULES = DecodeRules()


def reason_of(data: bytes, name: str = "x.jpg", rules: DecodeRules = RULES) -> str:
    with pytest.raises(PictureError) as caught:
        decode(data, name, rules)
    return caught.value.reason


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a01_truncated_jpeg_is_truncated(noise, encode, progressive, part):
    data = encode(noise(64, 64), "JPEG", progressive=progressive)
    assert reason_of(data[: int(len(data) * part)]) == "truncated"


@pytest.mark.parametrize(
    ("picture_format", "options"),
    [
        *[("PNG", {}), ("BMP", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("GIF", {}), ("AVIF", {})],
        *[("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "tiff_adobe_deflate"})],
    ],
)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a02_truncated_file_is_truncated(noise, encode, picture_format, options, part):
    data = encode(noise(64, 64), picture_format, **options)
    assert reason_of(data[: int(len(data) * part)], "x") == "truncated"


@pytest.mark.parametrize(("picture_format", "cut"), [("JPEG", 2), ("JPEG", 1), ("PNG", 2), ("PNG", 12), ("GIF", 1)])
def test_a03_missing_trailer_is_used_and_counted(smooth, encode, picture_format, cut):
    data = encode(smooth, picture_format)
    whole, cut_short = decode(data, "x", RULES), decode(data[:-cut], "x", RULES)
    assert "missing_trailer" in cut_short.codes
    assert np.array_equal(whole.pixels, cut_short.pixels)


def test_a03_progressive_jpeg_without_its_last_scan_is_truncated(smooth, encode):
    data = encode(smooth, "JPEG", progressive=True)
    last_scan = data.rindex(b"\xff\xda")
    assert reason_of(data[:last_scan]) == "truncated"


def test_a05_no_bytes_is_empty_file():
    assert reason_of(b"") == "empty_file"


@pytest.mark.parametrize("data", [b"<html><body>404</body></html>", b"hello, this is text", b'{"error": 404}'])
def test_a06_text_is_not_an_image(data):
    assert reason_of(data) == "not_an_image"


@pytest.mark.parametrize(("picture_format", "name"), [("PNG", "x.jpg"), ("JPEG", "x.PNG"), ("JPEG", "x.heic")])
def test_a07_wrong_extension_is_used_and_counted(smooth, encode, picture_format, name):
    assert "wrong_extension" in decode(encode(smooth, picture_format), name, RULES).codes


@pytest.mark.parametrize("data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<?xml version='1.0'?>\n<svg></svg>"])
def test_a08_svg_is_unsupported_with_a_hint(data):
    with pytest.raises(PictureError, match="unsupported_format: svg") as caught:
        decode(data, "x.svg", RULES)
    assert "rasterise" in str(caught.value.remedy)


def test_a09_heic_names_the_extra():
    data = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(100)
    with pytest.raises(PictureError, match="heic") as caught:
        decode(data, "x.heic", RULES)
    assert "saccade[heic]" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("picture_format", "name"), [("AVIF", "x.AVIF"), ("JPEG", "x.jfif"), ("JPEG", "X.JPG"), ("PNG", "x")]
)
def test_a10_other_extensions_are_fine(smooth, encode, picture_format, name):
    assert decode(encode(smooth, picture_format), name, RULES).codes == ()


def cmyk_picture() -> Image.Image:
    return Image.fromarray(np.full((16, 16, 4), (20, 120, 200, 40), dtype=np.uint8), "CMYK")


def test_a11_inverted_adobe_cmyk_jpeg_has_the_right_colours(encode):
    # Pillow writes CMYK JPEGs inverted and with Adobe's marker, as Photoshop does.
    decoded = decode(encode(cmyk_picture(), "JPEG", quality=100), "x.jpg", RULES)
    cyan, magenta, yellow, black = 20, 120, 200, 40
    naive = [(255 - ink) * (255 - black) / 255 for ink in (cyan, magenta, yellow)]
    assert np.abs(decoded.pixels.mean(axis=(0, 1)) - naive).max() < 4
    assert "cmyk_converted" in decoded.codes


def cmyk_profile() -> bytes:
    """A printer's profile by hand (ICC.1:2001, lut8) whose inks other than black are invisible: L* = 100 (1 - K)."""
    table = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2) + struct.pack(">9i", *[65536, 0, 0, 0, 65536, 0, 0, 0, 65536])
    white, black = bytes([255, 128, 128]), bytes([0, 128, 128])
    table += bytes(range(256)) * 4 + (white + black) * 8 + bytes(range(256)) * 3
    size = 128 + 4 + 12 + len(table)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def srgb_of_lightness(lightness: float) -> float:
    """The grey value 0..255 of L* 0..100, by the formulas of CIE and sRGB."""
    linear = ((lightness + 16) / 116) ** 3
    return 255 * (1.055 * linear ** (1 / 2.4) - 0.055)


def test_a11_cmyk_goes_through_its_own_profile(encode):
    data = encode(cmyk_picture(), "TIFF", icc_profile=cmyk_profile())
    decoded = decode(data, "x.tif", RULES)
    expected = srgb_of_lightness(100 * (1 - 40 / 255))
    assert np.abs(decoded.pixels - expected).max() <= 3


def test_a11_broken_profile_falls_back_and_is_counted(encode):
    decoded = decode(encode(cmyk_picture(), "TIFF", icc_profile=b"broken" * 30), "x.tif", RULES)
    expected = np.asarray(cmyk_picture().convert("RGB"))
    assert "icc_ignored" in decoded.codes
    assert np.array_equal(decoded.pixels, expected)


def raw_tiff(order: str, pixels: bytes, tags: dict[int, int]) -> bytes:
    """An uncompressed 16 x 16 TIFF, built by hand."""
    every = {256: 16, 257: 16, 259: 1, 273: 8, 278: 16, 279: len(pixels), **tags}
    fields = b"".join(
        struct.pack(order + "HHI", tag, 3, 1) + struct.pack(order + "HH", value, 0)
        for tag, value in sorted(every.items())
    )
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(pixels))
    return head + pixels + struct.pack(order + "H", len(every)) + fields + bytes(4)


def test_a11_lab_is_converted(encode):
    pixels = bytes([128, 0, 0]) * 256  # L* = 50.2, a* = b* = 0; in TIFF a* and b* are signed
    # BitsPerSample is one value for three samples here; Pillow repeats it.
    data = raw_tiff("<", pixels, {258: 8, 262: 8, 277: 3})
    decoded = decode(data, "x.tif", RULES)
    assert "lab_converted" in decoded.codes
    assert np.abs(decoded.pixels - srgb_of_lightness(50.2)).max() <= 3


def test_a12_sixteen_bit_grey_png_is_scaled_by_depth(encode):
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    values[-1, -1] = 65535
    decoded = decode(encode(Image.fromarray(values), "PNG"), "x.png", RULES)
    assert np.array_equal(decoded.pixels[..., 0], np.rint(values / 257))
    assert "sixteen_bit_scaled" in decoded.codes


def test_a12_sixteen_bit_white_is_zero_tiff_is_inverted():
    values = np.linspace(0, 65535, 256).astype("<u2").reshape(16, 16)
    decoded = decode(raw_tiff("<", values.tobytes(), {258: 16, 262: 0, 277: 1}), "x.tif", RULES)
    assert np.array_equal(decoded.pixels[..., 0], np.rint((65535 - values.astype(int)) / 257))


def test_a12_twelve_bit_tiff_is_scaled_by_its_own_depth():
    values = np.linspace(0, 4095, 256).astype(int)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    decoded = decode(raw_tiff("<", packed.astype(np.uint8).tobytes(), {258: 12, 262: 1, 277: 1}), "x.tif", RULES)
    assert np.array_equal(decoded.pixels[..., 0].ravel(), np.rint(values * 255 / 4095))


def test_a12_signed_sixteen_bit_tiff_is_refused():
    data = raw_tiff("<", bytes(512), {258: 16, 262: 1, 277: 1, 339: 2})
    assert reason_of(data, "x.tif") == "unsupported_depth"


def test_a13_one_bit_becomes_black_and_white(encode):
    bits = np.random.default_rng(0).integers(0, 2, (16, 16)).astype(bool)
    decoded = decode(encode(Image.fromarray(bits), "PNG"), "x.png", RULES)
    assert np.array_equal(decoded.pixels[..., 0], bits * 255)


@pytest.mark.parametrize("background", [(255, 255, 255), (10, 200, 90)])
def test_a13_rgba_is_composited_on_the_background(noise, encode, background):
    pixels = noise(16, 16, 4)
    decoded = decode(encode(pixels, "PNG"), "x.png", DecodeRules(background=background))
    alpha = pixels[..., 3:] / 255
    expected = pixels[..., :3] * alpha + np.array(background) * (1 - alpha)
    assert np.abs(decoded.pixels - expected).max() <= 1
    assert "composited" in decoded.codes


def test_a13_grey_with_alpha_stays_grey_on_a_grey_background(noise, encode):
    pixels = noise(16, 16, 2)
    decoded = decode(encode(Image.fromarray(pixels, "LA"), "PNG"), "x.png", RULES)
    alpha = pixels[..., 1:] / 255
    assert np.abs(decoded.pixels - (pixels[..., :1] * alpha + 255 * (1 - alpha))).max() <= 1


def test_a13_palette_becomes_its_colours(smooth, encode):
    image = Image.fromarray(smooth).quantize(16)
    decoded = decode(encode(image, "PNG"), "x.png", RULES)
    palette = np.array(image.getpalette(), dtype=np.uint8).reshape(-1, 3)
    assert np.array_equal(decoded.pixels, palette[np.asarray(image)])


def test_a13_transparent_palette_entry_shows_the_background(encode):
    image = Image.fromarray(np.tile(np.array([0, 1], dtype=np.uint8), (16, 8)), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    decoded = decode(encode(image, "PNG", transparency=0), "x.png", DecodeRules(background=(1, 2, 3)))
    assert decoded.pixels[0, :2].tolist() == [[1, 2, 3], [0, 0, 255]]


def test_a13_opaque_alpha_is_not_counted(noise, encode):
    pixels = noise(16, 16, 4)
    pixels[..., 3] = 255
    decoded = decode(encode(pixels, "PNG"), "x.png", RULES)
    assert np.array_equal(decoded.pixels, pixels[..., :3])
    assert decoded.codes == ()


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a15_orientation_is_applied(smooth, encode, picture_format, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(smooth, picture_format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    decoded = decode(data, "x", RULES)
    assert np.array_equal(decoded.pixels, np.asarray(expected))
    assert decoded.original_size == expected.size
    assert "exif_rotated" in decoded.codes


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0"])
def test_a15_broken_exif_is_ignored_and_counted(smooth, encode, picture_format, exif):
    data = encode(smooth, picture_format, exif=exif)
    decoded = decode(data, "x", RULES)
    plain = decode(encode(smooth, picture_format), "x", RULES)
    assert np.array_equal(decoded.pixels, plain.pixels)
    assert "exif_ignored" in decoded.codes or exif == b"Exif\0\0"


def test_a15_orientation_that_does_not_exist_is_ignored_and_counted(smooth, encode):
    exif = Image.Exif()
    exif[274] = 9
    assert decode(encode(smooth, "JPEG", exif=exif), "x.jpg", RULES).codes == ("exif_ignored",)


@pytest.mark.parametrize("picture_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_a16_animation_gives_its_first_frame(encode, picture_format):
    frames = [Image.new("RGB", (16, 16), colour) for colour in [(255, 0, 0), (0, 0, 255)]]
    options = {"lossless": True} if picture_format == "WEBP" else {}
    data = encode(frames[0], picture_format, save_all=True, append_images=frames[1:], **options)
    decoded = decode(data, "x", RULES)
    assert "multi_frame" in decoded.codes
    assert (decoded.pixels == (255, 0, 0)).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1), (7, 100)])
def test_a17_small_side_is_too_small(noise, encode, width, height):
    assert reason_of(encode(noise(height, width), "PNG"), "x.png") == "too_small"


def test_a17_long_picture_is_used_and_counted(noise, encode):
    assert decode(encode(noise(10, 100), "PNG"), "x.png", RULES).codes == ("extreme_aspect",)


def test_a18_warning_zone_above_the_limit_is_refused():
    data = raw_png(9500, 9500, chunk(b"IDAT", b""))
    assert reason_of(data, "x.png", DecodeRules(max_pixels=50_000_000)) == "too_many_pixels"


def test_a19_bomb_is_refused_before_any_allocation():
    """In a process of its own, with 200 MB above what the imports took: the picture would need 900."""
    rows = zlib.compressobj(9)
    packed = b"".join([rows.compress(bytes(30001)) for _ in range(30000)]) + rows.flush()
    data = raw_png(30000, 30000, chunk(b"IDAT", packed))
    script = (
        "import sys, resource\n"
        "from saccade.data.decode import DecodeRules, decode\n"
        "from saccade.errors import PictureError\n"
        "data = sys.stdin.buffer.read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    decode(data, 'bomb.png', DecodeRules())\n"
        "except PictureError as error:\n    print(error.reason, end=' ')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True)
    reason, grown_kib = ended.stdout.split()
    assert reason == b"too_many_pixels"
    assert int(grown_kib) < 50_000


@pytest.mark.parametrize("kind", ["VP8X", "GIF"])
def test_a19_large_canvas_is_refused_from_the_header(kind):
    side = 12_000
    gif = b"GIF89a" + struct.pack("<HH", side, side) + bytes(20)
    payload = bytes(4) + (side - 1).to_bytes(3, "little") * 2
    webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + payload
    assert reason_of({"VP8X": webp, "GIF": gif}[kind], "x") == "too_many_pixels"


def test_a20_text_chunk_bomb_is_metadata_too_large(noise, encode):
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 5_000_000, zip=True)
    assert reason_of(encode(noise(), "PNG", pnginfo=text), "x.png") == "metadata_too_large"


def test_a20_huge_profile_is_metadata_too_large(noise, encode):
    data = encode(noise(), "TIFF", icc_profile=bytes(17 * 2**20))
    assert reason_of(data, "x.tif") == "metadata_too_large"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "eps"),
        (b"8BPS\0\x01" + bytes(40), "psd"),
        (b"SIMPLE  =                    T", "fits"),
        (b"%PDF-1.7\n", "pdf"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40), "jpeg 2000"),
    ],
)
def test_a21_other_format_named_png_is_unsupported(data, name):
    with pytest.raises(PictureError, match=f"unsupported_format: {name}") as caught:
        decode(data, "x.png", RULES)
    assert caught.value.reason == "unsupported_format"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a23_float_that_is_no_number_is_refused(encode, value):
    values = np.zeros((16, 16), dtype=np.float32)
    values[3, 4] = value
    assert reason_of(encode(Image.fromarray(values), "TIFF"), "x.tif") == "non_finite_pixels"


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (10, 20, 30)])
def test_a24_constant_picture_is_used_and_counted(encode, colour):
    assert decode(encode(Image.new("RGB", (16, 16), colour), "PNG"), "x.png", RULES).codes == ("constant",)


def test_a24_one_other_pixel_is_not_constant(encode):
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[15, 15, 2] = 1
    assert decode(encode(pixels, "PNG"), "x.png", RULES).codes == ()
