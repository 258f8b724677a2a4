"""FAULTS.md, C7: what is wrong with tables of pictures. Every fault has a name and the number of its row."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from saccade.data.sources.open import open_pictures
from saccade.errors import LayoutError, TableError, UsageError

GOOD = "path,label\ncats/1.png,cat\ncats/2.png,cat\ndogs/1.png,dog\n"


@pytest.fixture
def table(make_folder):
    """Write a table beside three pictures: (text or bytes, name of the file)."""
    root = make_folder("cats/1.png", "cats/2.png", "dogs/1.png", "고양이/1.png", "개/1.png")

    def write(content: str | bytes, name: str = "labels.csv") -> Path:
        data = content if isinstance(content, bytes) else content.encode()
        (root / name).write_bytes(data)
        return root / name

    return write


def test_c07_good_table_has_no_fault(table):
    assert open_pictures(table(GOOD)).counts() == {"cat": 2, "dog": 1}


@pytest.mark.parametrize(
    ("change", "code", "row"),
    [
        (("dogs/1.png", "dogs/9.png"), "missing_file", 4),
        (("dogs/1.png", "dogs"), "not_a_file", 4),
        (("cats/2.png", r"C:\pictures\2.png"), "absolute_windows_path", 3),
        (("cats/2.png", "C:/pictures/2.png"), "absolute_windows_path", 3),
        (("cats/2.png", r"\\server\pictures\2.png"), "absolute_windows_path", 3),
        (("cats/2.png", "cats/1.png"), "duplicate_row", 2),
        (("cats/2.png", "cats//./1.png"), "duplicate_row", 2),
        (("dogs/1.png", "cats/1.png"), "label_conflict", 2),
        (("dogs/1.png,dog", "dogs/1.png,"), "blank_label", 4),
        (("dogs/1.png,dog", "dogs/1.png,  "), "blank_label", 4),
        (("dogs/1.png,dog", ",dog"), "blank_path", 4),
        (("dogs/1.png,dog", "dogs/1.png, dog"), "extra_spaces", 4),
        (("cats/2.png", "cats/2.png "), "extra_spaces", 3),
        (("cats/2.png,cat", "cats/2.png,cat,3"), "wrong_number_of_cells", 3),
        (("cats/2.png,cat", "cats/2.png"), "wrong_number_of_cells", 3),
        (("path,label\n", ""), "header_missing", 1),
        (("path,label", "path,what"), "header_missing", 1),
        (("path,label", "path,file"), "ambiguous_columns", 1),
        (("cats/2.png", '"cats/2.png" x'), "damaged_row", 3),
    ],
)
def test_c07_fault_is_named_with_its_row(table, change, code, row):
    assert change[0] in GOOD
    with pytest.raises(TableError, match=f"^{code}: ") as caught:
        open_pictures(table(GOOD.replace(*change, 1)))
    assert str(caught.value.where).endswith(f"labels.csv, row {row}")
    assert caught.value.remedy


def test_c07_blank_lines_do_not_shift_the_row_numbers(table):
    with pytest.raises(TableError) as caught:
        open_pictures(table(GOOD.replace("cats/1.png", "\ncats/1.png").replace("dogs/1", "dogs/9")))
    assert "row 5 ('dogs/9.png')" in caught.value.what


def test_c07_many_missing_files_are_counted_and_three_shown(table):
    rows = "".join(f"cats/x{number}.png,cat\n" for number in range(10))
    with pytest.raises(TableError, match=r"10 of 13 rows .*row 5 .*row 6 .*row 7 .* and 7 more"):
        open_pictures(table(GOOD + rows))


@pytest.mark.parametrize(("separator", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_c07_wrong_separator_is_named(table, separator, word):
    with pytest.raises(TableError, match=f"wrong_separator: .*{word}") as caught:
        open_pictures(table(GOOD.replace(",", separator)))
    assert str(caught.value.where).endswith("row 1")


def test_c07_commas_in_a_tsv_are_the_wrong_separator(table):
    with pytest.raises(TableError, match=r"wrong_separator: .*commas"):
        open_pictures(table(GOOD, "labels.tsv"))


def test_c07_unknown_part_is_named(table):
    text = GOOD.replace("\n", ",train\n").replace("label,train", "label,split").replace("dog,train", "dog,holdout")
    with pytest.raises(TableError, match=r"unknown_split: 'holdout'.*row 4"):
        open_pictures(table(text))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_c07_encoding_that_the_file_proves_is_read(table, encoding):
    text = "path,label\n고양이/1.png,고양이\n개/1.png,개\n"
    data = text.encode(encoding)
    assert data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE)) or encoding in ("utf-16-le", "utf-16-be")
    assert open_pictures(table(data)).class_names == ("개", "고양이")


def test_c07_cp949_is_read_where_the_files_prove_it(table):
    listing = open_pictures(table("path,label\n고양이/1.png,고양이\n개/1.png,개\n".encode("cp949")))
    assert listing.class_names == ("개", "고양이")
    assert any("cp949" in note for note in listing.notes)


def test_c07_cp949_that_nothing_proves_is_asked_with_the_row(table):
    with pytest.raises(TableError, match=r"unknown_encoding: .*row 3 reads as cp949 'cats/2.png,고양이'") as caught:
        open_pictures(table("path,label\ndogs/1.png,dog\ncats/2.png,고양이\n".encode("cp949")))
    assert str(caught.value.where).endswith("row 3")


def test_c07_utf16_cut_in_the_middle_is_damaged(table):
    with pytest.raises(TableError, match="damaged_text"):
        open_pictures(table(GOOD.encode("utf-16")[:-1]))


def test_c07_numbers_with_a_gap_are_asked(table):
    text = GOOD.replace(",cat", ",0").replace(",dog", ",2")
    with pytest.raises(TableError, match=r"label_gap: .*from 0 to 2, but 1 is none of them") as caught:
        open_pictures(table(text))
    assert str(caught.value.where).endswith("row 4")
    listing = open_pictures(table(text), allow_empty_class=True)
    assert listing.counts() == {"0": 2, "1": 0, "2": 1}


def test_c07_numbers_without_a_gap_are_classes(table):
    assert open_pictures(table(GOOD.replace(",cat", ",1").replace(",dog", ",2"))).class_names == ("1", "2")


def test_c07_header_alone_has_no_rows(table):
    with pytest.raises(TableError, match="no_rows"):
        open_pictures(table("path,label\n"))


def test_c07_empty_file_has_no_header(table):
    with pytest.raises(TableError, match="header_missing"):
        open_pictures(table(""))


def test_b04_parts_beside_classes_are_a_mixed_layout(make_folder):
    with pytest.raises(LayoutError, match="mixed_layout: beside train there are folders that are no part: birds"):
        open_pictures(make_folder("train/cats/1.png", "train/dogs/1.png", "birds/1.png"))


def test_b04_class_that_is_called_train_is_a_class(make_folder):
    listing = open_pictures(make_folder("train/1.png", "bus/1.png"))
    assert listing.class_names == ("bus", "train")
    assert any("taken for a class" in note for note in listing.notes)


@pytest.mark.parametrize("nothing", ["", "  "])
def test_open_nothing_is_a_usage_error(nothing):
    with pytest.raises(UsageError, match="no pictures were named"):
        open_pictures(nothing)
