"""Tars of class folders, plain and compressed, and FAULTS.md D2, D5, D6 and D7 for them."""

from __future__ import annotations

import errno
import gzip
import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from saccade.data.sources import archive as archive_module
from saccade.data.sources import unpacked
from saccade.data.sources.open import open_pictures
from saccade.data.sources.read import read_item
from saccade.errors import ArchiveError, PictureError, ResourceError

CLASSES = ("cats/1.png", "dogs/1.png")
Entry = tuple[str, bytes, bytes]  # name, type, content or target


@pytest.fixture
def make_tar(tmp_path: Path, png: bytes) -> Callable[..., Path]:
    """Write a tar that holds a PNG under each of the names, and further entries of other types."""

    def make(*names: str, mode: str = "w", more: Iterable[Entry] = (), file_name: str = "pictures.tar") -> Path:
        path = tmp_path / file_name
        with tarfile.open(path, mode) as tar:
            for name, kind, content in [*((name, tarfile.REGTYPE, png) for name in names), *more]:
                info = tarfile.TarInfo(name)
                info.type = kind
                if kind == tarfile.REGTYPE:
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                else:
                    info.linkname = content.decode()
                    tar.addfile(info)
        return path

    return make


@pytest.mark.parametrize(
    ("mode", "file_name"), [("w", "x.tar"), ("w:gz", "x.tar.gz"), ("w:bz2", "x"), ("w:xz", "x.txz")]
)
def test_open_tar_gives_the_bytes_of_the_members(make_tar, png, cache, mode, file_name):
    path = make_tar(
        "train/cats/고양이.png",
        "train/dogs/1.png",
        "test/cats/2.png",
        "test/dogs/2.png",
        mode=mode,
        file_name=file_name,
        more=[("train/dogs/2.png", tarfile.REGTYPE, png + b"!")],
    )
    listing = open_pictures(path)
    assert listing.counts() == {"cats": 2, "dogs": 3}
    assert listing.splits.tolist().count("train") == 3
    with tarfile.open(path) as tar:
        for item in listing.items:
            assert read_item(item) == tar.extractfile(item.name).read()


def test_open_tar_of_a_folder_with_a_dot_in_front_is_the_same(make_tar):
    listing = open_pictures(make_tar("./cats/1.png", "./dogs/1.png"))
    assert [item.name for item in listing.items] == list(CLASSES)


def test_open_compressed_tar_is_unpacked_once(make_tar, cache, monkeypatch):
    path = make_tar(*CLASSES, mode="w:gz")
    first = open_pictures(path)
    monkeypatch.setattr(unpacked, "_unpack", None)  # a second call would fail
    assert open_pictures(path).items == first.items
    assert len(list((cache / "tars").iterdir())) == 1


def test_stamp_of_a_tar_changes_with_the_tar(make_tar, tmp_path):
    path = make_tar(*CLASSES)
    before = open_pictures(path).stamp
    assert open_pictures(path).stamp == before
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    assert open_pictures(path).stamp != before


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "C:/evil.png", "cats/../../x.png", "..\\x.png"])
def test_d05_entry_that_points_outside_refuses_the_tar(make_tar, name):
    with pytest.raises(ArchiveError, match="points outside") as caught:
        open_pictures(make_tar(*CLASSES, name))
    assert repr(name) in caught.value.what


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device or pipe"),
    ],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_d05_links_and_devices_refuse_the_tar(make_tar, cache, kind, words, mode):
    path = make_tar(*CLASSES, more=[("cats/x.png", kind, b"/etc/passwd")], mode=mode)
    with pytest.raises(ArchiveError, match=words) as caught:
        open_pictures(path)
    assert "cats/x.png" in caught.value.what


def test_d02_bomb_inside_a_compressed_tar_is_refused_and_leaves_nothing(make_tar, cache):
    path = make_tar(*CLASSES, more=[("cats/x.png", tarfile.REGTYPE, bytes(50_000_000))], mode="w:gz")
    with pytest.raises(ArchiveError, match="bomb"):
        open_pictures(path)
    assert list((cache / "tars").iterdir()) == []


@pytest.mark.parametrize(("limit", "value"), [("MAX_ENTRIES", 1), ("MAX_TOTAL_BYTES", 100)])
def test_d02_caps_on_entries_and_bytes_refuse(make_tar, cache, monkeypatch, limit, value):
    monkeypatch.setattr(archive_module, limit, value)
    with pytest.raises(ArchiveError, match="more than"):
        open_pictures(make_tar(*CLASSES, mode="w:gz"))


def test_d02_archive_in_a_tar_is_left_out(make_tar):
    listing = open_pictures(make_tar(*CLASSES, "cats/more.tar"))
    assert [(skipped.name, skipped.reason) for skipped in listing.skipped] == [("cats/more.tar", "nested_archive")]


def test_d06_duplicate_name_uses_the_first_and_is_reported(make_tar, png):
    listing = open_pictures(make_tar(*CLASSES, more=[("cats/1.png", tarfile.REGTYPE, b"last")]))
    assert [skipped.reason for skipped in listing.skipped] == ["duplicate_entry"]
    assert read_item(listing.items[0]) == png


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_open_truncated_tar_is_an_archive_error(make_tar, cache, mode):
    path = make_tar(*CLASSES, mode=mode)
    size = 2000 if mode == "w" else path.stat().st_size - 300
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ArchiveError, match="damaged or incomplete"):
        open_pictures(path)
    assert not (cache / "tars").exists() or list((cache / "tars").iterdir()) == []


def test_open_gzip_that_is_no_tar_is_an_archive_error(tmp_path, cache):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"hello" * 1000))
    with pytest.raises(ArchiveError, match="damaged or incomplete"):
        open_pictures(tmp_path / "x.gz")


def test_open_zstandard_says_how_to_unpack_it(tmp_path):
    (tmp_path / "x.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    with pytest.raises(ArchiveError, match="Zstandard") as caught:
        open_pictures(tmp_path / "x.tar.zst")
    assert "zstd -d" in str(caught.value.remedy)


def test_d07_full_disk_while_unpacking_leaves_nothing(make_tar, cache, monkeypatch):
    def full(folder, done, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacked, "_check_free", full)
    with pytest.raises(ResourceError, match=r"needs more than .* MiB, and .* MiB are free"):
        open_pictures(make_tar(*CLASSES, mode="w:gz"))
    assert list((cache / "tars").iterdir()) == []


def test_read_span_of_a_tar_that_was_cut_since_is_a_damaged_member(make_tar):
    path = make_tar(*CLASSES)
    item = open_pictures(path).items[1]
    path.write_bytes(path.read_bytes()[: item.offset + 10])
    with pytest.raises(PictureError) as caught:
        read_item(item)
    assert caught.value.reason == "damaged_member"
    path.unlink()
    with pytest.raises(ArchiveError, match="cannot be opened"):
        read_item(item)
