"""Tables: csv, tsv and parquet with a row per picture."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from saccade.data.decode import DecodeRules
from saccade.data.listing import FileItem, FilesBelow
from saccade.data.pack import fingerprint_of
from saccade.data.prepare import PackSettings
from saccade.data.sources import table_parquet
from saccade.data.sources.open import open_pictures
from saccade.data.sources.read import read_item
from saccade.errors import MissingExtraError, TableError

ROWS = [
    ("cats/1.png", "cat", "train", "anna"),
    ("cats/2.png", "cat", "Validation", "ben"),
    ("dogs/1.png", "dog", "training", "anna"),
    ("dogs/2.png", "dog", "val", ""),
]
FILES = tuple(row[0] for row in ROWS)


def fill(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


@pytest.fixture
def root(make_folder: Callable[..., Path]) -> Path:
    return make_folder(*FILES)


def check(listing, root: Path) -> None:
    assert [item.name for item in listing.items] == list(FILES)
    assert [item.path for item in listing.items] == [root / name for name in FILES]
    assert listing.class_names == ("cat", "dog")
    assert listing.labels.tolist() == [0, 0, 1, 1]
    assert listing.splits.tolist() == ["train", "val", "train", "val"]
    assert listing.groups.tolist() == ["anna", "ben", "anna", ""]


@pytest.mark.parametrize("header", [("path", "label", "split", "group"), ("FileName", "target", "subset", "patient")])
@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_open_text_table_gives_what_was_written(root, header, suffix, delimiter):
    check(open_pictures(fill(root / f"labels{suffix}", ROWS, header, delimiter)), root)


def test_open_parquet_gives_what_pyarrow_wrote(root):
    columns = dict(zip(("group", "path", "label", "split"), np.array(ROWS)[:, [3, 0, 1, 2]].T.tolist(), strict=True))
    columns["label"] = pyarrow.array(columns["label"]).dictionary_encode()
    parquet.write_table(pyarrow.table(columns), root / "labels.parquet", row_group_size=3)
    check(open_pictures(root / "labels.parquet"), root)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("asked", ["Scene of the shot", "scene of the shot "])
def test_open_table_groups_by_the_column_that_is_asked_for(root, suffix, asked):
    header = ("path", "label", "split", "patient", "Scene of the shot")
    rows = [(*row[:3], "same", row[3]) for row in ROWS]
    if suffix == ".parquet":
        columns = dict(zip(header, np.array(rows).T.tolist(), strict=True))
        parquet.write_table(pyarrow.table(columns), root / "labels.parquet")
    else:
        fill(root / f"labels{suffix}", rows, header, "," if suffix == ".csv" else "\t")
    check(open_pictures(root / f"labels{suffix}", group_by=asked), root)
    assert open_pictures(root / f"labels{suffix}").groups.tolist() == ["same"] * 4


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_open_table_without_the_column_to_group_by_names_those_it_has(root, suffix):
    header = ("path", "label", "split", "scene")
    if suffix == ".parquet":
        parquet.write_table(
            pyarrow.table(dict(zip(header, np.array(ROWS).T.tolist(), strict=True))), root / "x.parquet"
        )
    else:
        fill(root / "x.csv", ROWS, header)
    with pytest.raises(TableError, match=r"unknown_column: .*'shot'.*'path', 'label', 'split', 'scene'"):
        open_pictures(root / f"x{suffix}", group_by="shot")
    assert len(open_pictures(root / f"x{suffix}", group_by=r"(\d)\.png")) == 4  # for the names, not for the table


@pytest.mark.parametrize("form", ["zip", "tar", "gztar"])
def test_open_table_of_members_reads_what_the_files_hold(cache, root, tmp_path, form):
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), form, root))
    rows = [(f"{archive.name}/{path}", *rest) for path, *rest in ROWS]
    listing = open_pictures(fill(tmp_path / "labels.csv", rows, ("path", "label", "split", "group")))
    assert [read_item(item) for item in listing.items] == [(root / name).read_bytes() for name in FILES]
    assert (listing.labels.tolist(), listing.groups.tolist()) == ([0, 0, 1, 1], ["anna", "ben", "anna", ""])


def test_open_table_of_members_that_are_not_there_names_the_row(root, tmp_path):
    shutil.make_archive(str(tmp_path / "packed"), "zip", root)
    rows = [("packed.zip/cats/1.png", "cat"), ("packed.zip/cats/7.png", "dog")]
    with pytest.raises(TableError, match=r"missing_file: .*row 3 \('packed.zip/cats/7.png'\)"):
        open_pictures(fill(tmp_path / "labels.csv", rows, ("path", "label")))
    rows[1] = (str(root / "cats/1.png"), "dog")
    with pytest.raises(TableError, match="several_archives"):
        open_pictures(fill(tmp_path / "labels.csv", rows, ("path", "label")))


def test_open_parquet_without_pyarrow_names_the_extra(root, monkeypatch):
    (root / "labels.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(table_parquet, "pyarrow", None)
    with pytest.raises(MissingExtraError) as caught:
        open_pictures(root / "labels.parquet")
    assert "saccade[parquet]" in str(caught.value.remedy)


def test_open_damaged_parquet_is_a_table_error(root):
    (root / "labels.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(TableError, match="damaged_table"):
        open_pictures(root / "labels.parquet")


def test_open_parquet_with_floats_for_labels_is_refused(root):
    parquet.write_table(pyarrow.table({"path": FILES, "label": [0.5, 1.0, 2.0, 3.0]}), root / "x.parquet")
    with pytest.raises(TableError, match=r"wrong_type.*double"):
        open_pictures(root / "x.parquet")


def test_open_parquet_null_label_is_a_blank_one(root):
    parquet.write_table(pyarrow.table({"path": FILES, "label": ["cat", None, "dog", "dog"]}), root / "x.parquet")
    with pytest.raises(TableError, match=r"blank_label: .*row 2 \('cats/2.png'\)"):
        open_pictures(root / "x.parquet")


def test_open_table_without_split_and_group_leaves_both_open(root):
    listing = open_pictures(fill(root / "labels.csv", [row[:2] for row in ROWS], ("path", "label")))
    assert set(listing.splits.tolist()) == {"unassigned"}
    assert listing.groups.tolist() == [""] * 4


def test_open_folder_has_a_blank_group_per_picture(root):
    assert open_pictures(root).groups.tolist() == [""] * 4


def test_open_table_reads_the_files_it_names(root, png):
    listing = open_pictures(fill(root / "labels.csv", ROWS, ("path", "label", "split", "group")))
    assert read_item(listing.items[2]) == png
    assert listing.items[1:3] == tuple(listing.items)[1:3]


def test_open_table_notes_the_first_rows_and_unused_columns(root):
    rows = [(*row[:2], "x") for row in ROWS]
    notes = open_pictures(fill(root / "labels.csv", rows, ("path", "label", "remark"))).notes
    assert any("cats/1.png is cat · cats/2.png is cat · dogs/1.png is dog" in note for note in notes)
    assert any("not used: remark" in note for note in notes)


def test_open_table_absolute_paths_are_found(root):
    rows = [(str(root / row[0]), row[1]) for row in ROWS]
    assert open_pictures(fill(root / "labels.csv", rows, ("path", "label"))).items[0].path == root / "cats/1.png"


def test_fingerprint_of_a_table_changes_when_a_picture_does(root):
    path = fill(root / "labels.csv", ROWS, ("path", "label", "split", "group"))
    settings = PackSettings(32, False, "squash", DecodeRules())
    before = fingerprint_of(open_pictures(path), settings)
    assert fingerprint_of(open_pictures(path), settings) == before
    (root / "dogs/2.png").write_bytes(b"other")
    assert fingerprint_of(open_pictures(path), settings) != before


def test_files_below_a_folder_are_the_items_one_by_one():
    files = FilesBelow(Path("/root"), ["a.png", "b/caf\udce9.png", "/other/c.png"])
    assert list(files) == [
        FileItem("a.png", Path("/root/a.png")),
        FileItem("b/caf\\udce9.png", Path("/root/b/caf\udce9.png")),
        FileItem("/other/c.png", Path("/other/c.png")),
    ]
    assert files[::2] == (files[0], files[-1])


def test_listing_with_another_number_of_groups_is_refused(root):
    listing = open_pictures(root)
    with pytest.raises(ValueError, match="4 splits, 3 groups"):
        replace(listing, groups=np.array(["a", "b", "c"]))
