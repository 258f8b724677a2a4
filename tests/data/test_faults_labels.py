"""FAULTS.md, section C, as far as sources are concerned: classes of the parts, and array files."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from saccade.data.sources.open import open_pictures
from saccade.errors import ArrayError, LabelError

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 10, 10, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1, 2, 2])


def refusal(path: Path) -> str:
    with pytest.raises(ArrayError) as caught:
        open_pictures(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy
    return caught.value.what


def save(tmp_path: Path, x: object = PICTURES, y: object = LABELS) -> Path:
    np.savez(tmp_path / "x.npz", x=x, y=y)
    return tmp_path / "x.npz"


def test_c05_class_that_only_val_has_stops_with_both_lists(make_folder):
    root = make_folder("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png", "val/c/1.png")
    with pytest.raises(LabelError, match=r"val has classes that train lacks: 'c' \(train has 'a', 'b'; val has"):
        open_pictures(root)


def test_c05_class_that_val_lacks_stops_with_both_lists(make_folder):
    root = make_folder("train/a/1.png", "train/b/1.png", "val/a/1.png")
    with pytest.raises(LabelError, match=r"train has classes that val lacks: 'b'"):
        open_pictures(root)


def test_c05_class_that_val_lacks_is_noted_when_allowed(make_folder):
    root = make_folder("train/a/1.png", "train/b/1.png", "val/a/1.png")
    listing = open_pictures(root, allow_empty_class=True)
    assert any("val lacks: 'b'" in note for note in listing.notes)


def test_c06_index_comes_from_train_and_names_are_compared(make_folder):
    # Were test numbered by itself, its first class would be 0 = "b".
    root = make_folder("train/a/1.png", "train/b/1.png", "test/b/1.png", "test/a/1.png")
    listing = open_pictures(root)
    found = {item.name: listing.class_names[label] for item, label in zip(listing.items, listing.labels, strict=True)}
    assert found == {"train/a/1.png": "a", "train/b/1.png": "b", "test/a/1.png": "a", "test/b/1.png": "b"}


def test_c06_numbers_of_the_parts_are_compared_as_names(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=PICTURES, y_train=LABELS, x_test=PICTURES, y_test=LABELS[::-1])
    listing = open_pictures(tmp_path / "x.npz")
    assert listing.labels.tolist() == [*LABELS, *LABELS[::-1]]


def test_c10_object_array_is_refused_with_an_explanation(tmp_path):
    objects = np.empty(2, dtype=object)
    objects[:] = [PICTURES[0], PICTURES[1, :5]]
    assert "Python objects" in refusal(save(tmp_path, x=objects, y=[0, 1]))


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_c11_truncated_npz_is_incomplete(tmp_path, part):
    path = save(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    assert "incomplete" in refusal(path)


def test_c11_damaged_member_is_refused(tmp_path):
    path = save(tmp_path)
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_c11_unknown_keys_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", foo=PICTURES, bar=LABELS)
    assert "bar, foo" in refusal(tmp_path / "x.npz")


def test_c11_missing_partner_is_named(tmp_path):
    np.savez(tmp_path / "x.npz", X_train=PICTURES)
    assert "X_train has no labels" in refusal(tmp_path / "x.npz")


def test_c11_two_candidates_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", x=PICTURES, images=PICTURES, y=LABELS)
    assert "x and images" in refusal(tmp_path / "x.npz") or "images and x" in refusal(tmp_path / "x.npz")


@pytest.mark.parametrize("shape", [(6, 3, 3, 3), (6, 1, 28, 1), (6, 3, 32, 3)])
def test_c11_ambiguous_layout_asks(tmp_path, shape):
    assert "?" in refusal(save(tmp_path, x=np.full(shape, 200, dtype=np.uint8)))


@pytest.mark.parametrize("shape", [(6, 100), (6,), (6, 10, 10, 4), (6, 10, 10, 2), (6, 10, 3), (6, 2, 10, 10, 3)])
def test_c11_impossible_layout_shows_the_shape(tmp_path, shape):
    assert str(shape) in refusal(save(tmp_path, x=np.full(shape, 200, dtype=np.uint8)))


def test_c11_layouts_that_differ_between_parts_are_refused(tmp_path):
    moved = PICTURES.transpose(0, 3, 1, 2)
    np.savez(tmp_path / "x.npz", x_train=PICTURES, y_train=LABELS, x_test=moved, y_test=LABELS)
    assert "different orders" in refusal(tmp_path / "x.npz")


def test_c11_sizes_that_differ_between_parts_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=PICTURES, y_train=LABELS, x_test=PICTURES[:, 1:], y_test=LABELS)
    assert "different sizes" in refusal(tmp_path / "x.npz")


def test_c11_scales_that_differ_between_parts_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=PICTURES, y_train=LABELS, x_test=PICTURES / 255, y_test=LABELS)
    assert "different scales" in refusal(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (PICTURES / 127.5 - 1, "from -1 to"),
        (PICTURES.astype(int) * 4, "to 1020"),
        (PICTURES / 16, "which value is white"),
        (PICTURES // 128, "which value is white"),
        (np.where(PICTURES > 250, np.nan, PICTURES), "NaN"),
        (PICTURES.astype(complex), "complex128"),
        (PICTURES.astype("U3"), "<U3"),
    ],
    ids=["negative", "too large", "0..16", "0 and 1", "nan", "complex", "text"],
)
def test_c11_values_that_are_no_pixels_are_refused(tmp_path, values, word):
    assert word in refusal(save(tmp_path, x=values))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (LABELS[:-1], "6 pictures"),
        (np.arange(7), "6 pictures"),
        (LABELS - 1, "negative label -1 in row 0"),
        (LABELS + 0.5, "fractional"),
        (np.full((6, 3), 1 / 3), "not one-hot"),
        (np.zeros((6, 3), dtype=int), "not one-hot"),
        (np.array(["a", "b", "a", " ", "b", "a"]), "empty name in row 3"),
        (np.zeros(6, dtype="datetime64[s]"), "datetime64"),
        (np.array(3), "shape ()"),
    ],
    ids=["shorter", "longer", "negative", "fraction", "soft", "no one", "blank", "dates", "scalar"],
)
def test_c11_labels_of_no_known_form_are_refused(tmp_path, values, word):
    assert word in (refusal(save(tmp_path, y=values)) if values.dtype.kind != "M" else what(save(tmp_path, y=values)))


def what(path: Path) -> str:
    with pytest.raises(ArrayError) as caught:
        open_pictures(path)
    return caught.value.what


def test_c11_label_without_a_class_name_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=PICTURES, y=LABELS, class_names=np.array(["a", "b"]))
    assert "only 2 class names" in refusal(tmp_path / "x.npz")


def npy_header(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_c12_npy_header_that_claims_ten_terabytes_is_refused_at_once(tmp_path):
    (tmp_path / "x.npy").write_bytes(npy_header((10**9, 100, 100)) + bytes(100))
    np.save(tmp_path / "x_labels.npy", LABELS)
    assert "claims 10,000,000,000,000 bytes" in refusal(tmp_path / "x.npy")


def test_c12_npz_header_that_claims_ten_terabytes_is_refused_at_once(tmp_path):
    labels = io.BytesIO()
    np.save(labels, LABELS)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy_header((10**9, 100, 100)) + bytes(100))
        archive.writestr("y.npy", labels.getvalue())
    assert "claims 10,000,000,000,000 bytes" in refusal(tmp_path / "x.npz")
