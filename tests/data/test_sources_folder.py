"""Folders of class folders: parts, wrapping folders, what is left out, the stamp."""

from __future__ import annotations

import os

import pytest

from saccade.data.sources.open import open_pictures
from saccade.errors import LayoutError, UsageError

PARTS = ("train/cats/1.png", "train/dogs/1.png", "validation/cats/2.png", "validation/dogs/2.png")


def test_open_folder_lists_items_labels_and_paths(make_folder):
    root = make_folder("dogs/2.png", "cats/1.png", "dogs/1.png")
    listing = open_pictures(str(root))
    assert [item.name for item in listing.items] == ["cats/1.png", "dogs/1.png", "dogs/2.png"]
    assert [item.path for item in listing.items] == [root / item.name for item in listing.items]
    assert listing.labels.tolist() == [0, 1, 1]
    assert set(listing.splits.tolist()) == {"unassigned"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("Training", "VALID", "Testing"), {"train", "val", "test"}),
        (("train", "validation"), {"train", "val"}),
    ],
)
def test_open_folder_with_parts_assigns_them(make_folder, names, expected):
    listing = open_pictures(make_folder(*(f"{name}/{label}/1.png" for name in names for label in "ab")))
    assert set(listing.splits.tolist()) == expected
    assert listing.class_names == ("a", "b")


def test_open_folder_with_wrapping_folder_looks_inside(make_folder):
    listing = open_pictures(make_folder(*(f"download/{name}" for name in PARTS)))
    assert listing.splits.tolist() == ["train", "train", "val", "val"]
    assert any("download" in note for note in listing.notes)


def test_open_folder_class_called_train_is_a_class(make_folder):
    assert open_pictures(make_folder("train/1.png", "car/1.png", "bus/1.png")).class_names == ("bus", "car", "train")


def test_open_folder_with_parts_and_others_is_refused(make_folder):
    with pytest.raises(LayoutError, match="extra"):
        open_pictures(make_folder(*PARTS, "extra/cats/3.png"))


def test_open_folder_with_two_training_folders_is_refused(make_folder):
    with pytest.raises(LayoutError, match="train, training"):
        open_pictures(make_folder(*PARTS, "training/cats/1.png"))


def test_open_folder_pictures_beside_the_classes_of_a_part_are_mixed_layout(make_folder):
    with pytest.raises(LayoutError, match="mixed_layout"):
        open_pictures(make_folder(*PARTS, "train/3.png"))


def test_open_folder_text_files_are_reported_as_skipped(make_folder):
    listing = open_pictures(make_folder("cats/1.png", "dogs/1.png", "cats/labels.txt", "README.md"))
    assert {skipped.name: skipped.reason for skipped in listing.skipped} == {
        "cats/labels.txt": "not_a_picture_name",
        "README.md": "not_a_picture_name",
    }


@pytest.mark.parametrize("name", ["1", "1.dat", "1.JPEG", "1.svg"])
def test_open_folder_unknown_extension_is_an_item(make_folder, name):
    listing = open_pictures(make_folder(f"cats/{name}", "dogs/1.png"))
    assert listing.items[0].name == f"cats/{name}"


def test_open_folder_nested_archive_is_named_when_there_is_nothing_else(make_folder):
    with pytest.raises(LayoutError, match=r"train\.zip.*unpacked"):
        open_pictures(make_folder("train.zip", "test.zip"))


@pytest.mark.parametrize("change", ["time", "size", "name", "new"])
def test_stamp_changes_with_the_pictures(make_folder, change):
    root = make_folder("cats/1.png", "dogs/1.png")
    before, path = open_pictures(root).stamp, root / "cats" / "1.png"
    if change == "time":
        os.utime(path, ns=(0, 1))
    elif change == "size":
        status = path.stat()
        path.write_bytes(path.read_bytes() + b"x")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "name":
        path.rename(root / "cats" / "2.png")
    else:
        (root / "cats" / "0.png").write_bytes(b"x")
    assert open_pictures(root).stamp != before


def test_stamp_of_the_same_pictures_is_the_same(make_folder):
    root = make_folder("cats/1.png", "dogs/1.png")
    assert open_pictures(root).stamp == open_pictures(root).stamp


@pytest.mark.parametrize("source", ["no/such/folder", "bad\0name", "x" * 5000])
def test_open_path_that_does_not_exist_is_a_usage_error(source):
    with pytest.raises(UsageError):
        open_pictures(source)


@pytest.mark.parametrize(("data", "word"), [(b"", "empty"), (b"path,label\n", "text"), (b"%PDF-1.4", "pdf")])
def test_open_file_of_no_known_form_says_which_are(tmp_path, data, word):
    (tmp_path / "x.bin").write_bytes(data)
    with pytest.raises(LayoutError, match=word) as caught:
        open_pictures(tmp_path / "x.bin")
    assert ".npz" in str(caught.value.remedy)


def test_open_single_picture_says_that_it_has_no_class(tmp_path, png):
    (tmp_path / "x.png").write_bytes(png)
    with pytest.raises(LayoutError, match="single PNG"):
        open_pictures(tmp_path / "x.png")
