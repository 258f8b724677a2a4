"""Zips of class folders, read in place."""

from __future__ import annotations

import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from saccade.data.decode import DecodeRules, decode
from saccade.data.listing import MemberItem
from saccade.data.sources.open import open_pictures
from saccade.data.sources.read import read_item
from saccade.errors import ArchiveError, LayoutError, PictureError

CLASSES = ("cats/1.png", "dogs/1.png")
PARTS = ("train/cats/1.png", "train/dogs/1.png", "test/cats/2.png", "test/dogs/2.png")


@pytest.mark.parametrize("wrapper", ["", "download/"])
@pytest.mark.parametrize(("names", "splits"), [(CLASSES, {"unassigned"}), (PARTS, {"train", "test"})])
def test_open_zip_finds_classes_and_parts(make_zip, wrapper, names, splits):
    listing = open_pictures(make_zip(*(wrapper + name for name in names)))
    assert listing.class_names == ("cats", "dogs")
    assert set(listing.splits.tolist()) == splits


def test_open_zip_agrees_with_the_unpacked_folder(make_zip, tmp_path):
    path = make_zip(*PARTS, "__MACOSX/train/._1.png", "train/cats/notes.txt")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    zipped, unpacked = open_pictures(path), open_pictures(tmp_path / "unpacked")
    assert [item.name for item in zipped.items] == [item.name for item in unpacked.items]
    assert zipped.labels.tolist() == unpacked.labels.tolist()
    assert zipped.skipped == unpacked.skipped


def test_read_item_gives_the_bytes_of_the_member(make_zip, png):
    listing = open_pictures(make_zip(*CLASSES))
    assert [read_item(item) for item in listing.items] == [png, png]


def test_read_item_from_many_threads_gives_the_right_bytes(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(200):
            archive.writestr(f"{number % 2}/{number}.png", str(number) * 100)
    items = open_pictures(path).items
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read_item, items))
    assert found == [(item.name.split("/")[1].removesuffix(".png") * 100).encode() for item in items]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_read_item_after_fork_uses_a_file_of_its_own(make_zip, png):
    items = open_pictures(make_zip(*(f"{label}/{number}.png" for label in "ab" for number in range(50)))).items
    read_item(items[0])
    child = os.fork()
    if child == 0:
        os._exit(0 if all(read_item(item) == png for item in items * 5) else 1)
    parent_ok = all(read_item(item) == png for item in items * 5)
    _, status = os.waitpid(child, 0)
    assert (parent_ok, status) == (True, 0)


def test_read_item_after_the_archive_changed_reads_the_new_one(make_zip, png):
    path = make_zip(*CLASSES)
    item = open_pictures(path).items[0]
    read_item(item)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cats/1.png", b"new")
    assert read_item(item) == b"new"


def test_read_item_of_a_member_that_is_not_there_is_missing(make_zip):
    with pytest.raises(PictureError) as caught:
        read_item(MemberItem("birds/1.png", make_zip(*CLASSES)))
    assert caught.value.reason == "missing"


def test_read_item_of_an_archive_that_has_gone_is_an_archive_error(tmp_path):
    with pytest.raises(ArchiveError):
        read_item(MemberItem("cats/1.png", tmp_path / "gone.zip"))


def test_read_item_of_a_damaged_member_is_a_picture_error(make_zip, png):
    path = make_zip(*CLASSES)
    data = path.read_bytes()
    at = data.index(png) + 60
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    item = open_pictures(path).items[0]
    with pytest.raises(PictureError) as caught:
        read_item(item)
    assert caught.value.reason == "damaged_member"


def test_open_zip_with_backslashes_finds_the_classes(make_zip, png):
    listing = open_pictures(make_zip("cats\\1.png", "dogs\\1.png"))
    assert listing.class_names == ("cats", "dogs")
    assert read_item(listing.items[0]) == png


def test_open_zip_without_classes_explains(make_zip):
    with pytest.raises(LayoutError, match="no class folders"):
        open_pictures(make_zip("1.png", "2.png"))


def test_open_truncated_zip_is_an_archive_error(make_zip):
    path = make_zip(*CLASSES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArchiveError, match="incomplete"):
        open_pictures(path)


def test_open_zip_stamp_changes_with_a_member(make_zip, png):
    path = make_zip(*CLASSES)
    before = open_pictures(path).stamp
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cats/1.png", png)
        archive.writestr("dogs/1.png", png[:-1] + b"x")
    assert open_pictures(path).stamp != before


def test_open_cifar10_zip_lists_sixty_thousand(shared):
    path = shared / "data" / "cifar10.zip"
    if not path.exists():
        pytest.skip(f"needs {path}")
    listing = open_pictures(path)
    assert len(listing) == 60_000
    assert set(listing.counts().values()) == {6000}
    assert (listing.splits == "test").sum() == 10_000


def test_open_cats_and_dogs_decodes_like_pillow(shared):
    path = shared / "data" / "cats_and_dogs_small.zip"
    if not path.exists():
        pytest.skip(f"needs {path}")
    listing = open_pictures(path)
    assert [(listing.splits == split).sum() for split in ("train", "val", "test")] == [600, 200, 200]
    item = listing.items[-1]
    with zipfile.ZipFile(path) as archive, archive.open(item.name) as file:
        expected = np.asarray(Image.open(file).convert("RGB"))
    assert np.array_equal(decode(read_item(item), item.name, DecodeRules()).pixels, expected)
