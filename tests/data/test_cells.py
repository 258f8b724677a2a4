"""CSV cells against Python's own csv module and against what goes in."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.data.cells import escape_cell, printable, read_csv, unescape_cell, write_csv

ANY_TEXT = st.text(st.characters(), max_size=20)  # surrogates too
SPECIAL = st.text(st.sampled_from("=+-@'\"\t\r\n,; \0\ufeff한é😀\udcff\ud800"), max_size=8)

NAMES = [
    *["=cmd|' /C calc'!A1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'quoted", "''", '"quoted"', 'a"b'],
    *[
        "a,b",
        "a;b",
        "a\nb",
        "a\rb",
        "a\r\nb",
        "\n",
        " ",
        "",
        "고양이",
        "😀👩‍👩‍👧",
        "é",
        "e\u0301",
        "\ufeffbom",
        "nul\0l",
    ],
]


@pytest.mark.parametrize("text", NAMES)
def test_b10_cell_with_difficult_text_comes_back(tmp_path, text):
    write_csv(tmp_path / "x.csv", ("path", "class"), [(text, "a"), ("b", text)])
    assert read_csv(tmp_path / "x.csv") == [{"path": text, "class": "a"}, {"path": "b", "class": text}]


@given(rows=st.lists(st.tuples(ANY_TEXT | SPECIAL, ANY_TEXT | SPECIAL), max_size=4))
def test_b10_rows_of_any_text_come_back_in_printable_form(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    write_csv(path, ("first", "second"), rows)
    assert [(row["first"], row["second"]) for row in read_csv(path)] == [
        (printable(first), printable(second)) for first, second in rows
    ]


@given(text=ANY_TEXT | SPECIAL)
def test_b10_escaped_cell_is_no_formula(text):
    assert str(escape_cell(text))[:1] not in ("=", "+", "-", "@", "\t", "\r")


@given(text=ANY_TEXT | SPECIAL)
def test_b10_unescape_gives_the_printable_text_back(text):
    assert unescape_cell(str(escape_cell(text))) == printable(text)


@pytest.mark.parametrize("text", ["cat.jpg", "고양이/1.png", "a-b=c", "x'y", "\\udcff"])
def test_escape_cell_of_harmless_text_changes_nothing(text):
    assert escape_cell(text) == text


@pytest.mark.parametrize("number", [-1, 0, -0.5, 2**60])
def test_escape_cell_of_a_number_is_that_number(number):
    assert escape_cell(number) is number


def test_b11_printable_of_a_name_that_is_not_utf8_writes_the_byte_out():
    assert printable(b"caf\xe9.jpg".decode("utf-8", "surrogateescape")) == "caf\\udce9.jpg"


@given(text=st.text())
def test_printable_of_ordinary_text_is_that_text(text):
    assert printable(text) == text


def test_b11_file_with_surrogates_is_valid_utf8(tmp_path):
    write_csv(tmp_path / "x.csv", ("path",), [("\udce9.jpg",)])
    assert (tmp_path / "x.csv").read_bytes() == b"path\n\\udce9.jpg\n"


def test_write_csv_is_read_alike_by_the_csv_module(tmp_path):
    rows = [["고양이,1", 'a"b', "7"], ["two\nlines", "a\rb", "-1"]]
    write_csv(tmp_path / "x.csv", ("path", "class", "n"), [(*row[:2], int(row[2])) for row in rows])
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["path", "class", "n"], *rows]


def test_write_csv_with_a_formula_as_column_name_disarms_and_returns_it(tmp_path):
    write_csv(tmp_path / "x.csv", ("=1+1",), [("a",)])
    assert (tmp_path / "x.csv").read_text() == "'=1+1\na\n"
    assert read_csv(tmp_path / "x.csv") == [{"=1+1": "a"}]


def test_write_csv_without_rows_writes_the_header(tmp_path):
    write_csv(tmp_path / "x.csv", ("path", "class"), [])
    assert (tmp_path / "x.csv").read_text() == "path,class\n"


def rows_until_interrupted():
    yield ("a",)
    raise KeyboardInterrupt


def test_e06_write_csv_interrupted_leaves_nothing_under_the_final_name(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_csv(tmp_path / "x.csv", ("path",), rows_until_interrupted())
    assert not (tmp_path / "x.csv").exists()


def test_e06_write_csv_interrupted_keeps_the_old_file(tmp_path):
    write_csv(tmp_path / "x.csv", ("path",), [("old",)])
    with pytest.raises(KeyboardInterrupt):
        write_csv(tmp_path / "x.csv", ("path",), rows_until_interrupted())
    assert read_csv(tmp_path / "x.csv") == [{"path": "old"}]


def test_write_csv_complete_leaves_no_other_file(tmp_path):
    write_csv(tmp_path / "x.csv", ("path",), [("a",)])
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("text", ["path,class\na\n", "path,class\na,b,c\n"])
def test_read_csv_of_a_row_that_does_not_fit_the_header_is_refused(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match="zip"):
        read_csv(tmp_path / "x.csv")


def test_read_csv_of_an_empty_file_has_no_rows(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"")
    assert read_csv(tmp_path / "x.csv") == []
