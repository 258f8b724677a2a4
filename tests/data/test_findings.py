"""Outliers, shortcuts, imbalance: found where they were planted, and not elsewhere."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageFilter

from saccade.data.findings import brief, shortcut_in_words
from saccade.data.looks import is_grey, look_at
from saccade.data.outliers import find_outliers
from saccade.data.shortcuts import find_shortcuts


def look(image: Image.Image, picture_format: str = "PNG") -> np.ndarray:
    return look_at(image, "0" * 64, image.width * image.height, picture_format)


@pytest.fixture(scope="module")
def photographs(shared) -> list[Image.Image]:
    with zipfile.ZipFile(shared / "data" / "cats_and_dogs_small.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::10]
        return [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names]


def planted(photographs: list[Image.Image], image: Image.Image) -> list[str]:
    """What is said about one picture put among the photographs."""
    found = find_outliers(np.concatenate([look(image), *(look(each) for each in photographs)]))
    return [name for name, places in found.items() if 0 in places]


def test_outliers_among_photographs_are_few(photographs):
    found = find_outliers(np.concatenate([look(each) for each in photographs]))
    assert sum(len(places) for places in found.values()) <= 2


def test_blurred_photographs_are_blurry(photographs):
    blurred = [planted(photographs, each.filter(ImageFilter.GaussianBlur(6))) for each in photographs[:20]]
    assert sum("blurry" in found for found in blurred) >= 19


def test_darkened_photograph_is_dark(photographs):
    assert planted(photographs, photographs[3].point(lambda value: value // 6)) == ["dark"]


def test_overexposed_photograph_is_bright(photographs):
    assert planted(photographs, photographs[3].point(lambda value: 215 + value // 7)) == ["bright"]


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a24_constant_picture_is_constant_and_nothing_else(photographs, shade):
    assert planted(photographs, Image.new("RGB", (300, 300), (shade, shade, shade))) == ["constant"]


def test_a17_tiny_picture_is_tiny(photographs):
    assert "tiny" in planted(photographs, photographs[0].resize((20, 16)))


@pytest.mark.parametrize("size", [(2000, 200), (100, 900)])
def test_a17_extreme_aspect_is_said(photographs, size):
    assert "extreme_aspect" in planted(photographs, photographs[0].resize(size))


def test_small_pictures_among_small_ones_are_not_tiny(photographs):
    looks = np.concatenate([look(each.resize((28, 28))) for each in photographs])
    assert len(find_outliers(looks)["tiny"]) == 0


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a14_grey_is_seen_whatever_the_file_says(photographs, mode):
    looks = np.concatenate([look(each.convert("L").convert(mode)) for each in photographs[:10]])
    assert is_grey(looks).all()
    assert is_grey(np.concatenate([look(each) for each in photographs[:30]])).mean() < 0.1


def test_a14_grey_in_one_class_is_a_shortcut(photographs):
    half = len(photographs) // 2
    changed = [each.convert("L") if index < half else each for index, each in enumerate(photographs)]
    looks = np.concatenate([look(each) for each in changed])
    (found,) = find_shortcuts(looks, (np.arange(len(looks)) >= half).astype(int))
    assert found.fact == "greyness"
    assert found.accuracy > 0.95
    assert "whether a picture is grey gives the class away" in shortcut_in_words(found)


def test_a14_format_of_one_class_is_a_shortcut(photographs):
    labels = np.arange(len(photographs)) % 2
    looks = np.concatenate(
        [look(each, "JPEG" if label else "PNG") for each, label in zip(photographs, labels, strict=True)]
    )
    assert [(found.fact, found.accuracy) for found in find_shortcuts(looks, labels)] == [("format", 1.0)]


def test_a14_size_of_one_class_is_a_shortcut(photographs):
    labels = np.arange(len(photographs)) % 2
    sized = [each.resize((640, 480)) if label else each for each, label in zip(photographs, labels, strict=True)]
    (found,) = find_shortcuts(np.concatenate([look(each) for each in sized]), labels)
    assert found.fact == "size"


def test_photographs_as_they_are_have_no_shortcut(photographs):
    looks = np.concatenate([look(each) for each in photographs])
    half = len(looks) // 2  # sorted by name: the first half are the cats of each part
    rng = np.random.default_rng(0)
    assert find_shortcuts(looks, rng.permutation(np.repeat([0, 1], [half, len(looks) - half]))) == []


def test_shortcuts_of_classes_too_small_to_judge_are_not_sought(photographs):
    looks = np.concatenate(
        [look(each, f) for each, f in zip(photographs[:4], ("PNG", "PNG", "JPEG", "JPEG"), strict=True)]
    )
    assert find_shortcuts(looks, np.array([0, 0, 1, 1])) == []


NOTHING = {
    "leaks": {"num_copies": 0},
    "conflicts": {"num_pictures": 0, "pictures": []},
    "duplicates": {"num_groups": 0, "num_pairs": {}},
    "shortcuts": [],
    "imbalance": {"ratio": 1.5, "largest": "a", "smallest": "b", "baseline": 0.6},
}


def test_brief_of_good_pictures_says_nothing():
    assert brief(NOTHING) == []


def test_c08_extreme_imbalance_is_said_with_the_baseline():
    found = NOTHING | {"imbalance": {"ratio": 10_000.0, "largest": "good", "smallest": "bad", "baseline": 0.9999}}
    (sentence,) = brief(found)
    assert "'good' has 10,000 times as many pictures as 'bad'" in sentence
    assert "100.0% of the time" in sentence
