"""The decoder against Pillow by another route and against arithmetic by numpy."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade.data.decode import CODES, DecodeRules, decode
from saccade.data.formats import identify
from saccade.data.refusals import REASONS
from saccade.data.square import fit_square
from saccade.errors import PictureError

RULES = DecodeRules()
SMALL = DecodeRules(max_pixels=1_000_000)
LOSSLESS = [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})]
ALL = [*LOSSLESS, ("JPEG", {"quality": 95}), ("AVIF", {"quality": 95}), ("WEBP", {}), ("GIF", {})]


def with_size(data: bytes, width: int, height: int) -> bytes:
    """A PNG whose header claims another size (its checksum redone)."""
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize(("picture_format", "options"), LOSSLESS)
def test_decode_lossless_format_keeps_every_pixel(noise, encode, picture_format, options):
    pixels = noise()
    assert np.array_equal(decode(encode(pixels, picture_format, **options), "x", RULES).pixels, pixels)


@pytest.mark.parametrize(("picture_format", "options"), ALL)
def test_decode_every_format_agrees_with_image_open(smooth, encode, picture_format, options):
    data = encode(smooth, picture_format, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode(data, "x", RULES).pixels, expected)


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "BMP", "TIFF", "GIF"])
def test_decode_grey_picture_has_one_channel(encode, picture_format):
    pixels = np.tile(np.arange(32, dtype=np.uint8) * 8, (16, 1))
    assert decode(encode(pixels, picture_format), "x", RULES).pixels.shape == (16, 32, 1)


def test_decode_result_may_be_written_to(png):
    decode(png, "x", RULES).pixels[0, 0] = 0


def test_decode_reports_format_and_size(noise, encode):
    decoded = decode(encode(noise(20, 30), "BMP"), "x.bmp", RULES)
    assert (decoded.format, decoded.original_size) == ("BMP", (30, 20))


def test_decode_large_jpeg_is_halved_when_asked(encode, smooth):
    data = encode(smooth, "JPEG")
    decoded = decode(data, "x.jpg", DecodeRules(max_pixels=1000, reduce_large=True))
    assert (decoded.pixels.shape, decoded.original_size, decoded.codes) == ((20, 24, 3), (48, 40), ("reduced",))


def test_decode_large_jpeg_beyond_four_times_the_limit_is_refused(encode, smooth):
    with pytest.raises(PictureError) as caught:
        decode(encode(smooth, "JPEG"), "x.jpg", DecodeRules(max_pixels=400, reduce_large=True))
    assert caught.value.reason == "too_many_pixels"


def test_decode_warning_zone_of_pillow_leaks_no_warning(png):
    # 9,500 x 9,500 is where Image.open warns; the pixels are missing, so the refusal must be about that.
    with pytest.raises(PictureError) as caught:
        decode(with_size(png, 9500, 9500), "x.png", RULES)
    assert caught.value.reason in ("truncated", "undecodable")


def test_decode_float_tiff_scales_one_to_white(encode):
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    decoded = decode(encode(Image.fromarray(values), "TIFF"), "x.tif", RULES)
    assert np.array_equal(decoded.pixels[..., 0], np.rint(values * 255))


@pytest.mark.parametrize("values", [np.full((8, 8), 2.0), np.full((8, 8), -1.0)])
def test_decode_float_tiff_out_of_range_is_refused(encode, values):
    with pytest.raises(PictureError) as caught:
        decode(encode(Image.fromarray(values.astype(np.float32)), "TIFF"), "x.tif", RULES)
    assert caught.value.reason == "float_out_of_range"


def test_decode_32_bit_integers_are_refused(encode):
    with pytest.raises(PictureError) as caught:
        decode(encode(Image.fromarray(np.arange(64, dtype=np.int32).reshape(8, 8)), "TIFF"), "x.tif", RULES)
    assert caught.value.reason == "unsupported_depth"


def test_decode_refusal_names_the_file(png):
    with pytest.raises(PictureError) as caught:
        decode(png[:100], "cats/1.png", RULES)
    assert caught.value.where == "cats/1.png"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b"just some words, nothing more", "text"),
        (b"PK\x03\x04" + bytes(40), "zip"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (bytes(100), "zero bytes"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
    ],
)
def test_decode_not_an_image_names_the_kind(data, word):
    with pytest.raises(PictureError, match=word) as caught:
        decode(data, "x.jpg", RULES)
    assert caught.value.reason == "not_an_image"


@pytest.mark.parametrize(("picture_format", "options"), ALL)
@settings(max_examples=60, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8), cut=st.integers(0, 10**6))
def test_decode_any_mutation_is_a_picture_or_a_picture_error(smooth, encode, picture_format, options, edits, cut):
    data = bytearray(encode(smooth, picture_format, **options))
    for position, value in edits:
        data[position % len(data)] = value
    check_total(bytes(data[: len(data) - cut % len(data)] if cut % 2 else data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_decode_any_bytes_are_a_picture_or_a_picture_error(data):
    check_total(data)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0*", b"RIFF\x20\0\0\0WEBPVP8X"]),
    st.binary(max_size=300),
)
def test_decode_any_bytes_after_a_magic_number_are_a_picture_or_a_picture_error(magic, data):
    check_total(magic + data)


def check_total(data: bytes) -> None:
    """Decoding ends in a picture of the promised shape or in a known reason; any other exception fails."""
    try:
        decoded = decode(data, "x", SMALL)
    except PictureError as error:
        reason, decoded = error.reason, None
    if decoded is None:
        assert reason in REASONS
        return
    assert (decoded.pixels.dtype, decoded.pixels.ndim) == (np.uint8, 3)
    assert decoded.pixels.shape[2] in (1, 3)
    assert set(decoded.codes) <= set(CODES)


@given(st.binary(min_size=1, max_size=300))
def test_identify_any_bytes_answers(data):
    assert identify(data).verdict in ("accepted", "unsupported", "not_an_image")


def test_fit_square_right_size_is_the_same_array(noise):
    pixels = noise(32, 32)
    assert fit_square(pixels, 32, "squash", (0, 0, 0)) is pixels


def test_fit_square_squash_is_pillows_bilinear(noise):
    pixels = noise(30, 50)
    expected = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(fit_square(pixels, 16, "squash", (0, 0, 0)), expected)


def test_fit_square_crop_keeps_the_centre(noise):
    pixels = noise(20, 50)
    assert np.array_equal(fit_square(pixels, 20, "crop", (0, 0, 0)), pixels[:, 15:35])


def test_fit_square_pad_centres_on_the_background(noise):
    pixels = noise(32, 16)
    expected = np.full((32, 32, 3), (1, 2, 3), dtype=np.uint8)
    expected[:, 8:24] = pixels
    assert np.array_equal(fit_square(pixels, 32, "pad", (1, 2, 3)), expected)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_fit_square_grey_stays_grey(noise, fit):
    assert fit_square(noise(20, 30, 1), 16, fit, (255, 255, 255)).shape == (16, 16, 1)


def test_fit_square_pad_grey_uses_the_luma_of_the_background(noise):
    luma = Image.new("RGB", (1, 1), (200, 30, 90)).convert("L").getpixel((0, 0))
    assert fit_square(noise(20, 40, 1), 40, "pad", (200, 30, 90))[0, 0, 0] == luma


def test_fit_square_unknown_fit_is_refused(noise):
    with pytest.raises(ValueError, match="stretch"):
        fit_square(noise(), 16, "stretch", (0, 0, 0))
