"""npz and npy against the arrays that were saved."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.data.sources.open import open_pictures
from saccade.errors import ArrayError

LABELS = np.array([0, 1, 0, 1, 2, 2])


def pictures(num: int = 6, side: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        *[("X_train", "y_train"), ("x_train", "y_train"), ("train_images", "train_labels"), ("trainX", "trainY")],
        *[("images_train", "labels_train"), ("train_x", "train_y")],
    ],
)
def test_npz_names_of_the_training_part_are_known(tmp_path, images, labels):
    np.savez(tmp_path / "x.npz", **{images: pictures(), labels: LABELS})
    listing = open_pictures(tmp_path / "x.npz")
    assert set(listing.splits.tolist()) == {"train"}
    assert np.array_equal(listing.array, pictures())


@pytest.mark.parametrize(("images", "labels"), [("x", "y"), ("X", "Y"), ("images", "labels"), ("data", "target")])
def test_npz_without_parts_is_unassigned(tmp_path, images, labels):
    np.savez(tmp_path / "x.npz", **{images: pictures(), labels: LABELS})
    assert set(open_pictures(tmp_path / "x.npz").splits.tolist()) == {"unassigned"}


def test_npz_with_three_parts_joins_them_in_order(tmp_path):
    parts = {name: pictures(seed=seed) for seed, name in enumerate(("train", "val", "test"))}
    arrays = {f"X_{name}": values for name, values in parts.items()} | {f"y_{name}": LABELS for name in parts}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    listing = open_pictures(tmp_path / "x.npz")
    for name, values in parts.items():
        assert np.array_equal(listing.array[listing.splits == name], values)
        assert listing.labels[listing.splits == name].tolist() == LABELS.tolist()
    assert listing.items[0].name == "X_train[0]"
    assert [item.row for item in listing.items] == list(range(18))


@pytest.mark.parametrize(
    "values",
    [
        LABELS,
        LABELS[:, None],
        LABELS.astype(np.float32),
        np.eye(3)[LABELS],
        np.eye(3, dtype=bool)[LABELS],
        LABELS.astype(np.uint8),
    ],
)
def test_npz_numbers_and_one_hot_rows_mean_the_same(tmp_path, values):
    np.savez(tmp_path / "x.npz", x=pictures(), y=values)
    listing = open_pictures(tmp_path / "x.npz")
    assert (listing.class_names, listing.labels.tolist()) == (("0", "1", "2"), LABELS.tolist())


@pytest.mark.parametrize("kind", ["U", "S"])
def test_npz_names_as_labels_are_sorted(tmp_path, kind):
    words = np.array(["dog", "cat", "dog", "cat", "owl", "owl"]).astype(kind)
    np.savez(tmp_path / "x.npz", x=pictures(), y=words)
    listing = open_pictures(tmp_path / "x.npz")
    assert (listing.class_names, listing.labels.tolist()) == (("cat", "dog", "owl"), [1, 0, 1, 0, 2, 2])


def test_npz_class_names_name_the_numbers(tmp_path):
    np.savez(tmp_path / "x.npz", x=pictures(), y=LABELS, class_names=np.array(["zebra", "ant", "fox"]))
    listing = open_pictures(tmp_path / "x.npz")
    assert listing.class_names == ("ant", "fox", "zebra")
    assert listing.labels.tolist() == [2, 0, 2, 0, 1, 1]


def test_npz_eleven_numbers_are_in_string_order(tmp_path):
    np.savez(tmp_path / "x.npz", x=pictures(11), y=np.arange(11))
    listing = open_pictures(tmp_path / "x.npz")
    assert listing.class_names == tuple(sorted(str(number) for number in range(11)))
    assert [listing.class_names[label] for label in listing.labels] == [str(number) for number in range(11)]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (lambda images: images.transpose(0, 3, 1, 2), lambda images: images),
        (lambda images: images[..., 0], lambda images: images[..., :1]),
        (lambda images: images[..., :1], lambda images: images[..., :1]),
        (lambda images: (images / 255).astype(np.float32), lambda images: images),
        (lambda images: images.astype(np.float64), lambda images: images),
        (lambda images: images.astype(np.int64), lambda images: images),
        (lambda images: images > 127, lambda images: (images > 127) * 255),
    ],
    ids=["nchw", "nhw", "one channel", "float 0..1", "float 0..255", "int64", "bool"],
)
def test_npz_layouts_and_types_become_uint8(tmp_path, stored, expected):
    np.savez(tmp_path / "x.npz", x=stored(pictures()), y=LABELS)
    listing = open_pictures(tmp_path / "x.npz")
    assert listing.array.dtype == np.uint8
    assert np.array_equal(listing.array, expected(pictures()))


def test_npz_unused_arrays_are_noted(tmp_path):
    np.savez(tmp_path / "x.npz", x=pictures(), y=LABELS, extra=np.zeros(3))
    assert any("extra" in note for note in open_pictures(tmp_path / "x.npz").notes)


def test_npz_under_another_name_is_known_by_its_content(tmp_path):
    np.savez(tmp_path / "x.npz", x=pictures(), y=LABELS)
    (tmp_path / "x.npz").rename(tmp_path / "x.data")
    assert len(open_pictures(tmp_path / "x.data")) == 6


def test_npz_stamp_changes_with_one_label(tmp_path):
    stamps = set()
    for last in (1, 2):
        np.savez(tmp_path / "x.npz", x=pictures(), y=[0, 1, 2, 0, 1, last])
        stamps.add(open_pictures(tmp_path / "x.npz").stamp)
    assert len(stamps) == 2


def test_npy_with_labels_beside_it_is_read(tmp_path):
    np.save(tmp_path / "x.npy", pictures())
    np.save(tmp_path / "x_labels.npy", LABELS)
    listing = open_pictures(tmp_path / "x.npy")
    assert np.array_equal(listing.array, pictures())
    assert listing.labels.tolist() == LABELS.tolist()


def test_npy_uint8_is_mapped_not_copied(tmp_path):
    np.save(tmp_path / "x.npy", pictures())
    np.save(tmp_path / "x_labels.npy", LABELS)
    assert isinstance(open_pictures(tmp_path / "x.npy").array, np.memmap)


def test_npy_without_labels_says_where_they_belong(tmp_path):
    np.save(tmp_path / "x.npy", pictures())
    with pytest.raises(ArrayError, match=r"x_labels\.npy"):
        open_pictures(tmp_path / "x.npy")
