"""Pictures handed over in Python: arrays, and datasets with Hugging Face's surface."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saccade.data.sources.given import keep_given
from saccade.data.sources.open import open_pictures
from saccade.data.sources.read import read_item
from saccade.errors import ArrayError, DataError, LabelError, UsageError


@pytest.fixture
def images(noise):
    """Six RGB pictures of 12 × 10."""
    return np.stack([noise(12, 10, 3, seed) for seed in range(6)])


LABELS = np.array([0, 1, 2, 0, 1, 2])


def opened(given: Any):
    return open_pictures(keep_given(given))


@pytest.mark.parametrize("labels", [LABELS, LABELS.tolist(), np.eye(3)[LABELS], LABELS[:, None]])
def test_arrays_come_back_as_they_were(cache, images, labels):
    listing = opened((images, labels))
    assert np.array_equal(listing.array, images)
    assert listing.class_names == ("0", "1", "2")
    assert listing.labels.tolist() == LABELS.tolist()
    assert not listing.has_splits


def test_arrays_with_names_and_parts_come_back(cache, images):
    names = ["owl", "eel", "owl", "eel"]
    listing = opened({"validation": (images[4:], ["eel", "owl"]), "train": (list(images[:4]), names)})
    assert listing.class_names == ("eel", "owl")
    assert [listing.class_names[label] for label in listing.labels.tolist()] == [*names, "eel", "owl"]
    assert listing.splits.tolist() == ["train"] * 4 + ["val"] * 2
    assert np.array_equal(listing.array, images)


def test_float_channels_first_arrays_become_bytes(cache, images):
    listing = opened((images.transpose(0, 3, 1, 2) / 255.0, LABELS))
    assert np.array_equal(listing.array, images)


def test_same_arrays_are_kept_once_and_others_beside_them(cache, images):
    assert keep_given((images, LABELS)) == keep_given((images.copy(), LABELS.tolist()))
    assert keep_given((images, LABELS)) != keep_given((images, LABELS[::-1].copy()))
    assert keep_given((images, LABELS)) != keep_given((images[::-1].copy(), LABELS))
    assert len(list((cache / "given").iterdir())) == 3


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ((np.zeros((2, 9, 9)),), UsageError, "not .images, labels."),
        (np.zeros((2, 9, 9)), UsageError, "ndarray is not"),
        ({"holdout": (0, 0)}, UsageError, "'holdout' is no part"),
        ({}, UsageError, "none is there"),
        ({"val": (0, 0), "valid": (0, 0)}, UsageError, "twice"),
        (([np.zeros((9, 9)), np.zeros((8, 9))], [0, 1]), ArrayError, "cannot become one array"),
        ((np.zeros((2, 9, 9), np.uint8), [0, None]), ArrayError, "Python objects"),
        ((np.zeros((2, 9, 9), np.uint8), [0, 1, 1]), ArrayError, "there are 2 pictures"),
    ],
)
def test_other_objects_are_refused_with_the_forms_that_are_not(cache, given, kind, words):
    with pytest.raises(kind, match=words):
        keep_given(given)


# The surface of the `datasets` library that is used, so that the tests need not install it.


class ImageFeature:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


ImageFeature.__name__ = "Image"


@dataclass
class ClassLabel:
    names: list[str]


class Value:
    pass


@dataclass
class Dataset:
    features: Mapping[str, Any]
    columns: Mapping[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self.columns[key]
        row = {name: values[key] for name, values in self.columns.items()}
        for name, feature in self.features.items():
            if getattr(feature, "decode", False) and isinstance(row.get(name), dict):
                row[name] = Image.open(io.BytesIO(row[name]["bytes"]))
        return row

    def select_columns(self, names: list[str]) -> Dataset:
        return Dataset({name: self.features[name] for name in names}, {name: self.columns[name] for name in names})

    def cast_column(self, name: str, feature: Any) -> Dataset:
        return Dataset({**self.features, name: feature}, self.columns)


@pytest.fixture
def files(images, encode):
    """The six pictures as three JPEGs and three PNGs."""
    return [encode(pixels, "JPEG" if row < 3 else "PNG") for row, pixels in enumerate(images)]


def dataset(files: list[Any], labels: list[Any] | None = None, names: list[str] | None = None) -> Dataset:
    cells = [{"bytes": each, "path": None} if isinstance(each, bytes) else each for each in files]
    features = {"image": ImageFeature(), "label": ClassLabel(names or ["owl", "eel", "cat"])}
    return Dataset(features, {"image": cells, "label": LABELS.tolist() if labels is None else labels})


def contents(listing) -> dict[str, list[tuple[bytes, str]]]:
    rows = zip(listing.items, listing.labels.tolist(), listing.splits.tolist(), strict=True)
    found: dict[str, list[tuple[bytes, str]]] = {}
    for item, label, split in rows:
        found.setdefault(split, []).append((read_item(item), listing.class_names[label]))
    return found


def test_dataset_keeps_the_bytes_and_names_of_its_pictures(cache, files):
    listing = opened(dataset(files))
    names = ["owl", "eel", "cat", "owl", "eel", "cat"]
    assert contents(listing) == {"unassigned": list(zip(files, names, strict=True))}
    assert listing.class_names == ("cat", "eel", "owl")


def test_dataset_dict_keeps_its_parts(cache, files):
    listing = opened({"train": dataset(files), "validation": dataset(files[:3], [2, 1, 0])})
    found = contents(listing)
    assert found["val"] == [(files[0], "cat"), (files[1], "eel"), (files[2], "owl")]
    assert len(found["train"]) == 6


def test_dataset_is_written_once(cache, files):
    assert keep_given(dataset(files)) == keep_given(dataset(list(files)))
    assert keep_given(dataset(files)) != keep_given(dataset(files[::-1]))
    assert len(list((cache / "given").iterdir())) == 2


def test_dataset_of_decoded_pictures_and_arrays_keeps_the_pixels(cache, images):
    given = dataset([Image.fromarray(images[0]), images[1], images[2][..., 0], *images[3:]])
    listing = opened(given)
    for row, item in enumerate(listing.items):
        pixels = np.asarray(Image.open(io.BytesIO(read_item(item))))
        assert np.array_equal(pixels, images[row][..., 0] if row == 2 else images[row])


def test_dataset_with_paths_reads_the_files(cache, files, tmp_path):
    for number, data in enumerate(files):
        (tmp_path / f"{number}.bin").write_bytes(data)
    cells = [{"bytes": None, "path": str(tmp_path / f"{number}.bin")} for number in range(6)]
    given = Dataset({"image": ImageFeature(decode=False), "label": Value()}, {"image": cells, "label": list("ababab")})
    assert contents(opened(given)) == {"unassigned": list(zip(files, "ababab", strict=True))}


def test_dataset_with_two_label_columns_is_asked(cache, files):
    given = dataset(files)
    given = Dataset({**given.features, "coarse": ClassLabel(["a"])}, {**given.columns, "coarse": [0] * 6})
    with pytest.raises(UsageError, match=r"2 columns of classes.*coarse: ClassLabel") as caught:
        keep_given(given)
    assert "remove_columns" in str(caught.value.remedy)


@pytest.mark.parametrize("label", [-1, None])
def test_dataset_with_a_row_without_class_names_it(cache, files, label):
    with pytest.raises(LabelError, match="no class") as caught:
        keep_given(dataset(files, [0, 1, 2, 0, label, 2]))
    assert "row 4" in str(caught.value.where)


def test_dataset_with_a_row_that_is_no_picture_names_it(cache, files):
    with pytest.raises(DataError, match="empty") as caught:
        keep_given(dataset([*files[:5], None]))
    assert "unassigned[5]" in str(caught.value.where)
    assert list((cache / "given").iterdir()) == []
