"""FAULTS.md, section D: archives."""

from __future__ import annotations

import stat
import struct
import warnings
import zipfile
from pathlib import Path

import pytest

from saccade.data.sources import archive as archive_module
from saccade.data.sources.open import open_pictures
from saccade.data.sources.read import read_item
from saccade.errors import ArchiveError, PictureError

CLASSES = ("cats/1.png", "dogs/1.png")


def write_zip(path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns about duplicate names, which are the point here
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in entries:
                archive.writestr(name, data)
    return path


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "C:/evil.png", "cats/../../x.png", "..\\x.png"])
def test_d01_entry_that_points_outside_refuses_the_archive(make_zip, name):
    with pytest.raises(ArchiveError, match="points outside") as caught:
        open_pictures(make_zip(*CLASSES, name))
    assert repr(name) in caught.value.what


def test_d01_dots_inside_a_name_are_fine(make_zip):
    assert len(open_pictures(make_zip(*CLASSES, "cats/a..b.png"))) == 3


def test_d02_bomb_is_refused_by_its_ratio(tmp_path, png):
    path = write_zip(tmp_path / "x.zip", [("cats/1.png", bytes(50_000_000)), ("dogs/1.png", png)])
    with pytest.raises(ArchiveError, match="bomb"):
        open_pictures(path)


@pytest.mark.parametrize(("limit", "value"), [("MAX_ENTRIES", 1), ("MAX_TOTAL_BYTES", 100)])
def test_d02_caps_on_entries_and_bytes_refuse(make_zip, monkeypatch, limit, value):
    monkeypatch.setattr(archive_module, limit, value)
    with pytest.raises(ArchiveError, match="at most"):
        open_pictures(make_zip(*CLASSES))


def test_d02_overlapping_entries_are_refused(make_zip):
    path = make_zip("cats/1.png", "dogs/1.png", "dogs/2.png")
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", directory + 4)
    data[second + 42 : second + 46] = struct.pack("<I", 0)  # both entries share the bytes of the first
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="overlap"):
        open_pictures(path)


def test_d02_size_in_the_header_is_not_trusted(tmp_path, png):
    path = write_zip(tmp_path / "x.zip", [("cats/1.png", png + bytes(100_000)), ("dogs/1.png", png)])
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", 100)  # the member unpacks to far more
    path.write_bytes(data)
    item = open_pictures(path).items[0]
    with pytest.raises(PictureError) as caught:
        read_item(item)
    assert caught.value.reason == "damaged_member"


def test_d02_archive_in_archive_is_left_out(make_zip):
    listing = open_pictures(make_zip(*CLASSES, "cats/more.zip"))
    assert [(skipped.name, skipped.reason) for skipped in listing.skipped] == [("cats/more.zip", "nested_archive")]


def test_d03_encrypted_zip_is_password_protected(make_zip):
    path = make_zip(*CLASSES)
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="password-protected"):
        open_pictures(path)


def test_d03_unreadable_method_is_named(make_zip):
    path = make_zip(*CLASSES)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 10] = 9
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="method 9"):
        open_pictures(path)


def test_d04_link_entry_is_skipped(tmp_path, png):
    link = zipfile.ZipInfo("cats/link.png")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = write_zip(tmp_path / "x.zip", [("cats/1.png", png), ("dogs/1.png", png), (link, b"/etc/passwd")])
    listing = open_pictures(path)
    assert [(skipped.name, skipped.reason) for skipped in listing.skipped] == [("cats/link.png", "symlink_entry")]
    assert len(listing) == 2


def test_d06_duplicate_name_uses_the_first_and_is_reported(tmp_path, png):
    path = write_zip(tmp_path / "x.zip", [("cats/1.png", b"first"), ("cats/1.png", b"last"), ("dogs/1.png", png)])
    listing = open_pictures(path)
    assert [skipped.reason for skipped in listing.skipped] == ["duplicate_entry"]
    assert read_item(listing.items[0]) == b"first"


def test_d06_names_that_differ_in_case_are_noted(make_zip):
    listing = open_pictures(make_zip(*CLASSES, "cats/X.png", "cats/x.png"))
    assert any("only in case" in note for note in listing.notes)


def with_raw_name(path: Path, placeholder: bytes, name: bytes) -> Path:
    """Put `name` where the archive has `placeholder` (of the same length), without saying in which encoding."""
    path.write_bytes(path.read_bytes().replace(placeholder, name))
    return path


def test_d06_undeclared_utf8_name_is_read_as_utf8(make_zip, png):
    name = "고양".encode()
    listing = open_pictures(with_raw_name(make_zip("AAAAAA/1.png", "dogs/1.png"), b"AAAAAA", name))
    assert listing.class_names == ("dogs", "고양")
    assert read_item(listing.items[1]) == png


def test_d06_folder_name_in_an_undeclared_encoding_is_asked(make_zip):
    path = with_raw_name(make_zip("AAAA/1.png", "dogs/1.png"), b"AAAA", "고양".encode("cp949"))
    with pytest.raises(ArchiveError, match="encoding"):
        open_pictures(path)
