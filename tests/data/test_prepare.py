"""prepare against Pillow alone: one way from bytes to the square, for packs, prediction and the server."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation, prepare, prepare_pixels, with_channels
from saccade.errors import PictureError

RULES = DecodeRules()


@pytest.mark.parametrize("side", [8, 20, 64])
def test_prepare_squash_equals_pillow_resize(encode, noise, side):
    pixels = noise(24, 32)
    found = prepare(encode(pixels), "a.png", Preparation(side, 3, "squash", RULES))
    assert np.array_equal(found.pixels, Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))


def test_prepare_crop_equals_pillow_resize_of_the_middle(encode, noise):
    pixels = noise(24, 40)
    found = prepare(encode(pixels), "a.png", Preparation(16, 3, "crop", RULES))
    middle = Image.fromarray(pixels[:, 8:32])
    # Pillow's filter looks past the edge of a box, not past the edge of a picture: the outermost pixels may differ.
    expected = np.asarray(middle.resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(found.pixels[:, 1:-1], expected[:, 1:-1])


def test_prepare_pad_keeps_the_proportions_on_the_background(encode, noise):
    pixels = noise(16, 32)
    rules = DecodeRules(background=(10, 20, 30))
    found = prepare(encode(pixels), "a.png", Preparation(32, 3, "pad", rules)).pixels
    assert np.array_equal(found[8:24], pixels)
    assert (np.concatenate([found[:8], found[24:]]) == (10, 20, 30)).all()


def test_prepare_grey_for_one_channel_stays_grey(encode, noise):
    found = prepare(encode(noise(16, 16, 1)), "a.png", Preparation(16, 1, "squash", RULES))
    assert found.grey
    assert np.array_equal(found.pixels, noise(16, 16, 1))


def test_prepare_grey_for_three_channels_is_repeated(encode, noise):
    found = prepare(encode(noise(16, 16, 1)), "a.png", Preparation(16, 3, "squash", RULES))
    assert np.array_equal(found.pixels, np.tile(noise(16, 16, 1), 3))


def test_prepare_colour_for_one_channel_equals_pillow_luma(encode, noise):
    found = prepare(encode(noise(16, 16)), "a.png", Preparation(16, 1, "squash", RULES))
    assert not found.grey
    assert np.array_equal(found.pixels[:, :, 0], Image.fromarray(noise(16, 16)).convert("L"))


def test_prepare_tells_the_size_before_and_what_was_noted(encode, noise):
    found = prepare(encode(noise(24, 32)), "a.jpg", Preparation(8, 3, "squash", RULES))
    assert (found.original_size, found.codes) == ((32, 24), ("wrong_extension",))


def test_prepare_broken_picture_raises_with_its_reason_and_name(png):
    with pytest.raises(PictureError) as caught:
        prepare(png[:-40], "a.png", Preparation(8, 3, "squash", RULES))
    assert (caught.value.reason, caught.value.where) == ("truncated", "a.png")


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_prepare_pixels_of_a_decoded_picture_equals_prepare_of_its_file(encode, noise, fit, channels):
    preparation = Preparation(12, channels, fit, RULES)
    found = prepare(encode(noise(20, 30)), "a.png", preparation).pixels
    assert np.array_equal(prepare_pixels(noise(20, 30), preparation), found)


def test_with_channels_of_the_right_number_is_the_same_array(noise):
    pixels = noise(8, 8, 3)
    assert with_channels(pixels, 3) is pixels


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_preparation_through_json_comes_back_equal(fit):
    preparation = Preparation(32, 1, fit, DecodeRules((1, 2, 3), 500, 4, reduce_large=True))
    assert Preparation.from_json(json.loads(json.dumps(preparation.to_json()))) == preparation
