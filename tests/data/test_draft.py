"""JPEGs that are reduced while decoding: how close to full decoding, and that nothing else changes."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from saccade.data.decode import DecodeRules, decode
from saccade.data.looks import look_at
from saccade.data.prepare import LOOK_LEAST_SIDE, Preparation, prepare, whole_picture
from saccade.errors import PictureError

DRAFT, FULL = DecodeRules(), DecodeRules(draft=False)
TOLERANCE = 1.0  # grey levels, on average over a picture; docs/formats.md states it


@pytest.fixture(scope="module")
def photographs(shared) -> list[bytes]:
    """Six real photographs, enlarged to 3 megapixels, with the noise of a sensor."""
    rng = np.random.default_rng(0)
    found = []
    with zipfile.ZipFile(shared / "data" / "cats_and_dogs_small.zip") as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::170]:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                large = np.asarray(image.convert("RGB").resize((2048, 1536), Image.Resampling.LANCZOS), dtype=float)
            noisy = (large + rng.normal(0, 6, large.shape)).clip(0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(noisy).save(buffer, "JPEG", quality=92)
            found.append(buffer.getvalue())
    return found


@pytest.mark.parametrize("side", [32, 128, 224, 299])
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_reduced_photographs_equal_full_ones_within_the_tolerance(photographs, side, fit):
    for data in photographs:
        reduced, full = (prepare(data, "x.jpg", Preparation(side, 3, fit, rules)) for rules in (DRAFT, FULL))
        assert min(reduced.decoded.pixels.shape[:2]) < min(full.decoded.pixels.shape[:2])
        difference = np.abs(reduced.pixels.astype(int) - full.pixels)
        assert difference.mean() <= TOLERANCE
        assert (reduced.original_size, reduced.codes, reduced.grey) == (full.original_size, full.codes, full.grey)


def test_reduced_picture_keeps_the_pixels_that_are_asked_for(encode, noise):
    data = encode(noise(700, 1300), "JPEG")
    for least, side in ((700, 700), (351, 700), (350, 350), (175, 175), (87, 88), (10, 88)):
        assert decode(data, "x.jpg", DRAFT, least).pixels.shape[0] == side


@pytest.mark.parametrize("picture_format", ["PNG", "BMP", "WEBP"])
def test_other_formats_are_never_reduced(encode, noise, picture_format):
    assert decode(encode(noise(600, 700), picture_format), "x", DRAFT, 10).pixels.shape == (600, 700, 3)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a15_reduced_picture_is_turned(encode, orientation):
    rows, columns = np.mgrid[0:320, 0:480]
    pixels = np.stack([rows * 255 // 320, columns * 255 // 480, rows * 0], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(pixels, "JPEG", quality=95, exif=exif)
    reduced, full = decode(data, "x.jpg", DRAFT, 80), decode(data, "x.jpg", FULL)
    assert reduced.original_size == full.original_size
    size = reduced.pixels.shape[1::-1]
    assert size == tuple(length // 4 for length in full.original_size)
    expected = np.asarray(Image.fromarray(full.pixels).resize(size, Image.Resampling.BOX), dtype=int)
    assert np.abs(reduced.pixels - expected).mean() < 1.5


def test_a11_reduced_cmyk_has_the_right_colours(encode, smooth):
    large = np.asarray(Image.fromarray(smooth).resize((480, 400)))
    data = encode(Image.fromarray(large).convert("CMYK"), "JPEG", quality=95)
    reduced, full = decode(data, "x.jpg", DRAFT, 100), decode(data, "x.jpg", FULL)
    assert reduced.codes == full.codes == ("cmyk_converted",)
    expected = np.asarray(Image.fromarray(full.pixels).resize((120, 100), Image.Resampling.BOX), dtype=int)
    assert np.abs(reduced.pixels - expected).mean() < 2


@pytest.mark.parametrize("progressive", [False, True])
def test_a01_truncated_jpeg_is_truncated_when_reduced_too(encode, noise, progressive):
    data = encode(noise(400, 400), "JPEG", progressive=progressive)
    with pytest.raises(PictureError) as caught:
        decode(data[: len(data) // 2], "x.jpg", DRAFT, 50)
    assert caught.value.reason == "truncated"


def test_a03_missing_trailer_is_repaired_when_reduced_too(encode, smooth):
    large = np.asarray(Image.fromarray(smooth).resize((480, 400)))
    data = encode(large, "JPEG")[:-2]
    reduced = decode(data, "x.jpg", DRAFT, 100)
    assert (reduced.codes, reduced.pixels.shape) == (("missing_trailer",), (100, 120, 3))


def test_a24_fine_lines_are_not_constant_when_reduced(encode):
    lines = np.zeros((400, 400, 1), dtype=np.uint8)
    lines[::2] = 255
    reduced = decode(encode(lines, "JPEG", quality=100), "x.jpg", DRAFT, 50)
    assert "constant" not in reduced.codes
    assert "constant" in decode(encode(lines * 0, "JPEG"), "x.jpg", DRAFT, 50).codes


def test_large_jpeg_beyond_the_limit_is_refused_however_few_pixels_are_wanted(encode, noise):
    with pytest.raises(PictureError) as caught:
        decode(encode(noise(400, 400), "JPEG"), "x.jpg", DecodeRules(max_pixels=100_000), 20)
    assert caught.value.reason == "too_many_pixels"


def test_look_of_a_picture_is_the_same_whatever_the_network_sees(encode, noise):
    data = encode(np.asarray(Image.fromarray(noise(60, 80)).resize((2800, 2100))), "JPEG")
    looks = []
    for side in (28, 224, 256, 480):
        preparation = Preparation(side, 3, "squash", DRAFT)
        seen = whole_picture(data, "x.jpg", prepare(data, "x.jpg", preparation), preparation)
        assert min(seen.size) >= LOOK_LEAST_SIDE
        looks.append(look_at(seen, "a" * 64, len(data), "JPEG").tobytes())
    assert len(set(looks)) == 1


def test_preparation_from_before_decodes_in_full():
    values = Preparation(32, 3, "squash", DRAFT).to_json()
    del values["rules"]["draft"]
    assert Preparation.from_json(values).rules == replace(DRAFT, draft=False)


ANY_BYTES = """
import io, resource, time
import numpy as np
from PIL import Image
from saccade.data.decode import DecodeRules, decode
from saccade.data.refusals import REASONS
from saccade.errors import PictureError

rng = np.random.default_rng(0)
rows, columns = np.mgrid[0:60, 0:80]
picture = Image.fromarray(np.stack([rows * 4, columns * 3, rows + columns], axis=-1).astype(np.uint8))
whole = []
for kind, options in [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {}), ("WEBP", {}),
                      ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
                      ("TIFF", {"compression": "tiff_deflate"}), ("AVIF", {})]:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    whole.append(buffer.getvalue())
decode(whole[0], "x", DecodeRules(), 512)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
slowest, pictures, refused = 0.0, 0, 0
for number in range(1500):
    data = bytearray(whole[number % len(whole)])
    if number % 5 == 0:  # only what begins like a picture
        data = data[: rng.integers(4, 40)] + rng.bytes(int(rng.integers(0, 4000)))
    for _ in range(rng.integers(0, 6)):  # headers stand at the beginning, and that is where sizes are
        data[int(rng.integers(0, len(data) if rng.random() < 0.5 else min(64, len(data))))] = rng.integers(0, 256)
    if rng.random() < 0.2:
        data = data[: rng.integers(1, len(data) + 1)]
    began = time.perf_counter()
    try:
        decode(bytes(data), "x", DecodeRules(), 512)
        pictures += 1
    except PictureError as error:
        assert error.reason in REASONS
        refused += 1
    slowest = max(slowest, time.perf_counter() - began)
print(pictures, refused, slowest, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_any_bytes_are_a_picture_or_refused_within_two_seconds_and_300_megabytes():
    pytest.importorskip("resource")
    found = subprocess.run([sys.executable, "-c", ANY_BYTES], capture_output=True, text=True, check=True)
    pictures, refused, slowest, grown = found.stdout.split()
    assert int(pictures) > 200
    assert int(refused) > 500
    assert float(slowest) < 2
    assert float(grown) < 300
