"""FAULTS.md, section B: folders and names."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from saccade.data.listing import FileItem
from saccade.data.sources.open import open_pictures
from saccade.data.sources.read import read_item
from saccade.errors import LabelError, LayoutError, PictureError

PAIR = ("cats/1.png", "dogs/1.png")


def names_of(listing) -> list[str]:
    return [item.name for item in listing.items]


def reasons_of(listing) -> dict[str, str]:
    return {skipped.name: skipped.reason for skipped in listing.skipped}


@pytest.mark.parametrize(
    "extra", [".DS_Store", "Thumbs.db", "cats/desktop.ini", "cats/._1.png", "__MACOSX/cats/1.png", ".git/x.png"]
)
def test_b01_system_files_are_ignored_in_one_note(make_folder, extra):
    listing = open_pictures(make_folder(*PAIR, extra))
    assert (names_of(listing), listing.class_names) == (list(PAIR), ("cats", "dogs"))
    assert sum("ignored 1 " in note for note in listing.notes) == 1


def test_b02_ipynb_checkpoints_is_no_class(make_folder):
    listing = open_pictures(make_folder(*PAIR, ".ipynb_checkpoints/1-checkpoint.png"))
    assert listing.class_names == ("cats", "dogs")


def test_b03_one_folder_deep_is_singular(make_folder):
    notes = open_pictures(make_folder(*PAIR, "cats/may/2.png")).notes
    assert any("up to 1 folder deep" in note for note in notes)


def test_b03_nested_folders_belong_to_the_first_and_are_noted(make_folder):
    listing = open_pictures(make_folder(*PAIR, "cats/2020/may/2.png"))
    assert listing.counts() == {"cats": 2, "dogs": 1}
    assert any("2 folders deep" in note for note in listing.notes)


def test_b04_pictures_beside_class_folders_are_mixed_layout(make_folder):
    root = make_folder(*PAIR, "a.png", "b.png", "c.png", "d.png")
    with pytest.raises(LayoutError, match=r"mixed_layout: 4 pictures .* a\.png, b\.png, c\.png\n") as caught:
        open_pictures(root)
    assert caught.value.where == str(root)


def test_b05_no_class_folders_explains_the_layout(make_folder):
    with pytest.raises(LayoutError, match="no class folders") as caught:
        open_pictures(make_folder("cat.1.png", "dog.2.png"))
    assert "ROOT/cats/1.jpg" in str(caught.value.remedy)


def test_b05_parts_without_class_folders_explain_the_layout(make_folder):
    with pytest.raises(LayoutError, match="no class folders in test, train"):
        open_pictures(make_folder("train/cat.1.png", "test/dog.2.png"))


def test_b06_one_class_stops(make_folder):
    with pytest.raises(LabelError, match="one single class, 'cats'") as caught:
        open_pictures(make_folder("cats/1.png", "cats/2.png"))
    assert "anomaly" in str(caught.value.remedy)


def test_b07_empty_class_stops_with_its_name(make_folder):
    root = make_folder(*PAIR)
    (root / "birds").mkdir()
    with pytest.raises(LabelError, match="'birds'"):
        open_pictures(root)


def test_b07_empty_class_keeps_its_index_when_allowed(make_folder):
    root = make_folder(*PAIR)
    (root / "birds").mkdir()
    listing = open_pictures(root, allow_empty_class=True)
    assert listing.counts() == {"birds": 0, "cats": 1, "dogs": 1}


def test_b08_class_with_one_image_is_listed(make_folder):
    assert open_pictures(make_folder(*PAIR, "dogs/2.png")).counts() == {"cats": 1, "dogs": 2}


def test_b09_class_names_are_nfc_across_parts(make_folder):
    composed, decomposed = (unicodedata.normalize(form, "한글") for form in ("NFC", "NFD"))
    root = make_folder(f"train/{composed}/1.png", "train/b/1.png", f"test/{decomposed}/1.png", "test/b/1.png")
    assert open_pictures(root).class_names == ("b", composed)


def test_b09_two_spellings_in_one_part_are_one_class_and_reported(make_folder):
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    listing = open_pictures(make_folder(f"{composed}/1.png", f"{decomposed}/2.png", "b/1.png"))
    assert listing.counts() == {"b": 1, composed: 2}
    assert any("are one class" in note for note in listing.notes)


@pytest.mark.parametrize("other", ["Cats", "cats "])
def test_b09_names_that_differ_by_case_or_space_are_reported(make_folder, other):
    listing = open_pictures(make_folder(*PAIR, f"{other}/1.png"))
    assert len(listing.class_names) == 3
    assert any("case or spaces" in note for note in listing.notes)


@pytest.mark.parametrize("name", ["고양이", "🐱", "x" * 200, "a\nb", 'qu"ote', "com,ma", "-dash", "=1+1"])
def test_b10_unusual_names_are_listed_and_read(make_folder, png, name):
    listing = open_pictures(make_folder(f"{name}/{name}.png", "dogs/1.png"))
    assert name in listing.class_names
    assert [read_item(item) for item in listing.items] == [png, png]


def test_b11_name_that_is_not_utf8_is_listed_printably_and_read(tmp_path, make_folder, png):
    root = make_folder(*PAIR)
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/cats/\xff\xfe.png")).write_bytes(png)
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    listing = open_pictures(root)
    item = next(item for item in listing.items if "udcff" in item.name)
    item.name.encode("utf-8")
    assert read_item(item) == png


def test_b12_link_loop_lists_each_file_once_and_is_reported(make_folder):
    root = make_folder(*PAIR)
    (root / "cats" / "loop").symlink_to(root)
    listing = open_pictures(root)
    assert names_of(listing) == list(PAIR)
    assert reasons_of(listing) == {"cats/loop": "link_loop"}


def test_b12_link_to_itself_is_reported(make_folder):
    root = make_folder(*PAIR)
    (root / "cats" / "self.png").symlink_to(root / "cats" / "self.png")
    assert "cats/self.png" in reasons_of(open_pictures(root))


def test_b12_link_to_a_listed_file_is_left_out_and_reported(make_folder):
    root = make_folder(*PAIR)
    (root / "cats" / "0.png").symlink_to(root / "cats" / "1.png")
    listing = open_pictures(root)
    assert names_of(listing) == list(PAIR)
    assert reasons_of(listing) == {"cats/0.png": "seen_before"}


def test_b13_links_out_of_the_folder_are_followed_with_a_note(make_folder, png):
    outside = make_folder("birds/1.png", "birds/2.png", root="outside")
    root = make_folder(*PAIR)
    (root / "birds").symlink_to(outside / "birds")
    (root / "cats" / "2.png").symlink_to(outside / "birds" / "1.png")
    listing = open_pictures(root)
    assert "birds/2.png" in names_of(listing)
    assert any("followed 2 links" in note for note in listing.notes)


def test_b13_links_are_not_followed_when_asked(make_folder):
    outside = make_folder("birds/1.png", root="outside")
    root = make_folder(*PAIR)
    (root / "birds").symlink_to(outside / "birds")
    assert reasons_of(open_pictures(root, follow_links=False)) == {"birds": "link_not_followed"}


def test_b13_dangling_link_is_missing(make_folder):
    root = make_folder(*PAIR)
    (root / "cats" / "2.png").symlink_to(root / "nowhere.png")
    assert reasons_of(open_pictures(root)) == {"cats/2.png": "missing"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything; the next tests force the error")
def test_b14_folder_without_permission_is_reported(make_folder):
    root = make_folder(*PAIR, "cats/inner/2.png")
    (root / "cats" / "inner").chmod(0)
    try:
        assert reasons_of(open_pictures(root)) == {"cats/inner": "permission_denied"}
    finally:
        (root / "cats" / "inner").chmod(0o700)


def test_b14_forced_permission_error_on_a_folder_is_reported(make_folder, deny_reading):
    root = make_folder(*PAIR, "cats/inner/2.png")
    deny_reading(root / "cats" / "inner")
    listing = open_pictures(root)
    assert reasons_of(listing) == {"cats/inner": "permission_denied"}
    assert names_of(listing) == list(PAIR)


def test_b14_forced_permission_error_on_the_root_is_a_layout_error(make_folder, deny_reading):
    root = make_folder(*PAIR)
    deny_reading(root)
    with pytest.raises(LayoutError, match="cannot be read"):
        open_pictures(root)


def test_b14_forced_permission_error_on_a_file_is_a_picture_error(make_folder, deny_reading):
    path = make_folder(*PAIR) / "cats" / "1.png"
    deny_reading(path)
    with pytest.raises(PictureError) as caught:
        read_item(FileItem("cats/1.png", path))
    assert caught.value.reason == "permission_denied"


def test_b15_file_that_has_gone_is_missing(tmp_path):
    with pytest.raises(PictureError) as caught:
        read_item(FileItem("1.png", tmp_path / "1.png"))
    assert caught.value.reason == "missing"


def test_b16_pipe_is_listed_as_not_regular(make_folder):
    root = make_folder(*PAIR)
    os.mkfifo(root / "cats" / "x.jpg")
    assert reasons_of(open_pictures(root)) == {"cats/x.jpg": "not_regular_file"}


def test_b16_pipe_is_refused_without_being_opened(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(PictureError) as caught:  # opening it would wait for ever
        read_item(FileItem("x.jpg", tmp_path / "x.jpg"))
    assert caught.value.reason == "not_regular_file"


def test_b18_many_files_take_time_in_proportion(make_folder):
    listing = open_pictures(make_folder(*PAIR, *(f"cats/{number}.png" for number in range(2, 3000))))
    assert len(listing) == 3000


def test_b20_numbers_as_class_names_are_in_string_order(make_folder):
    listing = open_pictures(make_folder("1/a.png", "2/a.png", "10/a.png"))
    assert listing.class_names == ("1", "10", "2")
    assert listing.labels.tolist() == [0, 1, 2]
