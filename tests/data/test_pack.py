"""Packs against Pillow, hashlib and numpy.load; and what must never be left behind."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import platformdirs
import pytest
from PIL import Image, ImageOps

from saccade.data import packing
from saccade.data.cache import cache_folder
from saccade.data.cells import read_csv
from saccade.data.decode import DecodeRules
from saccade.data.listing import Listing
from saccade.data.pack import Pack, fingerprint_of, open_pack
from saccade.data.packing import INDEX_HEADER, PACK_FORMAT, Work
from saccade.data.prepare import PackSettings, Preparation, prepare
from saccade.data.sources.open import open_pictures
from saccade.errors import DataError, PictureError, ResourceError

SETTINGS = PackSettings(image_size=16, grey=False, fit="squash", rules=DecodeRules())
FILES = ("images.npy", "index.csv", "looks.npy", "pack.json")


def silent(done: int, total: int) -> None:
    """Progress that nobody looks at."""


ALONE = Work(workers=1, strict=False, progress=silent)


def names_of(num: int) -> list[str]:
    """Names in two class folders, in the order in which they are listed."""
    return [f"{'cat' if index < num // 2 else 'dog'}/{index:03}.png" for index in range(num)]


class Folder(NamedTuple):
    """A folder of pictures on disk, and the pixels that were written."""

    root: Path
    pixels: dict[str, np.ndarray]

    def listing(self) -> Listing:
        return open_pictures(self.root)


@pytest.fixture
def draw_folder(tmp_path, encode, noise, write_files) -> Callable[..., Folder]:
    """Write noise: shapes are (H, W, C), one per picture."""

    def draw(*shapes: tuple[int, int, int], root: str = "pictures") -> Folder:
        pixels = {
            name: noise(*shape, index)
            for index, (name, shape) in enumerate(zip(names_of(len(shapes)), shapes, strict=True))
        }
        files = {name: encode(picture) for name, picture in pixels.items()}
        return Folder(write_files(tmp_path / root, files), pixels)

    return draw


@pytest.fixture
def folder(draw_folder) -> Folder:
    """Six colour pictures, larger than the network asks for."""
    return draw_folder(*[(20 + index, 30 - index, 3) for index in range(6)])


def by_pillow(pixels: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "packs").glob("*"))


# What is in a pack


def test_pack_rows_of_a_folder_equal_pillow(cache, folder):
    pack = open_pack(folder.listing(), SETTINGS, ALONE)
    assert np.array_equal(pack.images, [by_pillow(folder.pixels[name], 16) for name in pack.names])
    assert pack.names == tuple(folder.pixels)


def test_pack_rows_of_a_zip_equal_those_of_the_folder(cache, folder, tmp_path):
    zipped = shutil.make_archive(str(tmp_path / "zipped"), "zip", folder.root)
    from_zip, from_folder = (open_pack(open_pictures(path), SETTINGS, ALONE) for path in (zipped, folder.root))
    assert np.array_equal(from_zip.images, from_folder.images)
    assert from_zip.names == from_folder.names


def test_pack_rows_of_photographs_as_taken_equal_pillow(cache, shared):
    path = shared / "data" / "cats_and_dogs_small.zip"
    if not path.exists():
        pytest.skip(f"needs {path}")
    listing = open_pictures(path)
    every = slice(None, None, 100)
    few = dataclasses.replace(
        listing, items=listing.items[every], labels=listing.labels[every], splits=listing.splits[every]
    )
    pack = open_pack(few, dataclasses.replace(SETTINGS, image_size=64), ALONE)
    with zipfile.ZipFile(path) as archive:
        for row, item in enumerate(few.items):
            with Image.open(archive.open(item.name)) as image:
                expected = ImageOps.exif_transpose(image).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
            assert np.array_equal(pack.images[row], expected), item.name


def test_pack_rows_of_arrays_equal_pillow(cache, noise, tmp_path):
    pixels = np.stack([noise(20, 20, 3, seed) for seed in range(4)])
    np.savez(tmp_path / "x.npz", x=pixels, y=np.array([0, 1, 0, 1]))
    pack = open_pack(open_pictures(tmp_path / "x.npz"), SETTINGS, ALONE)
    assert np.array_equal(pack.images, [by_pillow(picture, 16) for picture in pixels])


def test_pack_rows_of_small_arrays_are_the_arrays(cache, noise, tmp_path):
    pixels = np.stack([noise(12, 12, 3, seed) for seed in range(4)])
    np.savez(tmp_path / "x.npz", x=pixels, y=np.array([0, 1, 0, 1]))
    assert np.array_equal(open_pack(open_pictures(tmp_path / "x.npz"), SETTINGS, ALONE).images, pixels)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_pack_rows_equal_what_prediction_prepares(cache, folder, fit):
    pack = open_pack(folder.listing(), dataclasses.replace(SETTINGS, fit=fit), ALONE)
    expected = [prepare((folder.root / name).read_bytes(), name, pack.preparation).pixels for name in pack.names]
    assert np.array_equal(pack.images, expected)


def test_pack_images_are_a_standard_npy_mapped_read_only(cache, folder):
    pack = open_pack(folder.listing(), SETTINGS, ALONE)
    assert isinstance(pack.images, np.memmap)
    assert not pack.images.flags.writeable
    assert np.array_equal(np.load(pack.folder / "images.npy", allow_pickle=False), pack.images)


def test_pack_index_tells_checksum_label_split_and_size_of_every_picture(cache, folder):
    pack = open_pack(folder.listing(), SETTINGS, ALONE)
    expected = []
    for index, (name, pixels) in enumerate(folder.pixels.items()):
        checksum = hashlib.sha256((folder.root / name).read_bytes()).hexdigest()
        size = (str(pixels.shape[1]), str(pixels.shape[0]))
        cells = (name, checksum, str(index // 3), "unassigned", *size, "", "", "")
        expected.append(dict(zip(INDEX_HEADER, cells, strict=True)))
    assert read_csv(pack.folder / "index.csv") == expected


def test_pack_json_tells_format_fingerprint_and_preparation(cache, folder):
    pack = open_pack(folder.listing(), SETTINGS, ALONE)
    about = json.loads((pack.folder / "pack.json").read_text())
    assert (about["format"], about["fingerprint"]) == (PACK_FORMAT, fingerprint_of(folder.listing(), SETTINGS))
    assert Preparation.from_json(about["preparation"]) == Preparation(16, 3, "squash", DecodeRules())


def test_pack_labels_and_splits_are_those_of_the_listing(cache, make_folder):
    root = make_folder("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")
    pack = open_pack(open_pictures(root), SETTINGS, ALONE)
    found = dict(zip(pack.names, zip(pack.labels.tolist(), pack.splits.tolist(), strict=True), strict=True))
    assert found == {
        f"{part}/{name}/1.png": (label, part) for part in ("train", "test") for label, name in enumerate("ab")
    }


def test_pack_noted_counts_the_codes_most_frequent_first(cache, encode, noise, write_files, tmp_path):
    odd = encode(np.full((10, 10, 3), 7, np.uint8))
    names = {"a/1.jpg": odd, "a/2.jpg": encode(noise(10, 10)), "b/1.jpg": encode(noise(10, 10, 3, 1)), "b/2.png": odd}
    pack = open_pack(open_pictures(write_files(tmp_path / "x", names)), SETTINGS, ALONE)
    assert list(pack.noted().items()) == [("wrong_extension", 3), ("constant", 2)]


def test_b10_b11_pack_of_difficult_names_is_found_again(cache, png, tmp_path):
    names = ["고양이/=1+1.png", "고양이/a,b\n'c\".png", "-dog/\N{DOG FACE}.png"]
    paths = [os.fsencode(tmp_path / "x" / name) for name in names] + [os.fsencode(tmp_path / "x/-dog") + b"/\xe9.png"]
    for path in paths:
        Path(os.fsdecode(path)).parent.mkdir(parents=True, exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(png)
    first, second = (open_pack(open_pictures(tmp_path / "x"), SETTINGS, ALONE) for _ in range(2))
    assert sorted(first.names) == sorted([*names, "-dog/\\udce9.png"])
    assert (second.names, second.reused) == (first.names, True)


# Size and channels


def test_pack_of_small_pictures_keeps_their_size(cache, draw_folder):
    folder = draw_folder(*[(12, 12, 3)] * 4)
    pack = open_pack(folder.listing(), SETTINGS, ALONE)
    assert np.array_equal(pack.images, list(folder.pixels.values()))


def test_pack_of_mixed_small_pictures_has_the_longest_side_of_all(cache, draw_folder):
    pack = open_pack(draw_folder((9, 10, 3), (14, 11, 3), (8, 8, 3), (10, 10, 3)).listing(), SETTINGS, ALONE)
    assert pack.images.shape == (4, 14, 14, 3)


def test_pack_with_one_large_picture_has_the_size_of_the_network(cache, draw_folder):
    pack = open_pack(draw_folder((9, 10, 3), (8, 8, 3), (40, 11, 3), (10, 10, 3)).listing(), SETTINGS, ALONE)
    assert pack.images.shape == (4, 16, 16, 3)


GREY = dataclasses.replace(SETTINGS, grey=True)


@pytest.mark.parametrize(
    ("settings", "channels", "expected"),
    [(GREY, (1, 1, 1, 1), 1), (GREY, (1, 1, 3, 1), 3), (SETTINGS, (1, 1, 1, 1), 3), (GREY, (3, 3, 3, 3), 3)],
)
def test_pack_is_grey_only_where_asked_for_and_every_picture_is(cache, draw_folder, settings, channels, expected):
    folder = draw_folder(*[(10, 10, number) for number in channels])
    pack = open_pack(folder.listing(), settings, ALONE)
    assert pack.images.shape[-1] == pack.preparation.channels == expected
    assert np.array_equal(pack.images, [np.tile(p, expected // p.shape[2]) for p in folder.pixels.values()])


ODD_ONES = [(40, 40, 3), (13, 9, 1), (10, 10, 3), (12, 30, 3)]


@pytest.mark.parametrize("odd", ODD_ONES)
def test_pack_after_a_wrong_guess_equals_one_after_a_right_guess(cache, draw_folder, monkeypatch, odd):
    shapes = [(10, 10, 1)] * 40
    shapes[1] = odd  # 16 of the 40 are looked at: 0, 2, 5, ...
    listing = draw_folder(*shapes).listing()
    calls = []
    found = open_pack(listing, GREY, Work(1, False, lambda done, total: calls.append(done)))
    assert calls == [*range(1, 41), *range(1, 41)], "the guess was meant to be wrong"
    images, index = np.array(found.images), (found.folder / "index.csv").read_bytes()
    shutil.rmtree(cache)
    monkeypatch.setattr(packing, "_guess", lambda listing, settings, children: found.preparation)
    again = open_pack(listing, GREY, ALONE)
    assert np.array_equal(again.images, images)
    assert (again.folder / "index.csv").read_bytes() == index
    assert again.preparation == found.preparation


def test_pack_after_a_right_guess_is_decoded_once(cache, draw_folder):
    calls = []
    listing = draw_folder(*[(10, 10, 3)] * 20).listing()
    open_pack(listing, SETTINGS, Work(1, False, lambda done, total: calls.append((done, total))))
    assert calls == [(done, 20) for done in range(1, 21)]


def test_pack_guess_misled_by_broken_pictures_is_mended(cache, draw_folder):
    folder = draw_folder(*[(10, 10, 3)] * 40)
    names = list(folder.pixels)
    for index in np.linspace(0, 39, 16).astype(int):  # the ones that are looked at
        (folder.root / names[index]).write_bytes(b"")
    assert open_pack(folder.listing(), SETTINGS, ALONE).images.shape == (40, 10, 10, 3)


# Fingerprint and reuse

FINGERPRINT = """
import sys
from saccade.data.decode import DecodeRules
from saccade.data.pack import fingerprint_of
from saccade.data.prepare import PackSettings
from saccade.data.sources.open import open_pictures
print(fingerprint_of(open_pictures(sys.argv[1]), PackSettings(16, False, "squash", DecodeRules())))
"""


def test_fingerprint_in_another_process_is_the_same(folder):
    found = subprocess.run(
        [sys.executable, "-c", FINGERPRINT, str(folder.root)],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == fingerprint_of(folder.listing(), SETTINGS)


def test_fingerprint_is_64_hexadecimal_digits(folder):
    assert len(bytes.fromhex(fingerprint_of(folder.listing(), SETTINGS))) == 32


def touch_later(folder: Folder) -> None:
    path = folder.root / "cat/000.png"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


FOLDER_CHANGES: dict[str, Callable[[Folder], Any]] = {
    "written again": touch_later,
    "added": lambda folder: shutil.copy2(folder.root / "cat/000.png", folder.root / "cat/new.png"),
    "removed": lambda folder: (folder.root / "cat/000.png").unlink(),
    "renamed": lambda folder: (folder.root / "cat/000.png").rename(folder.root / "cat/0000.png"),
    "in another class": lambda folder: (folder.root / "cat/000.png").rename(folder.root / "dog/000.png"),
    "class renamed": lambda folder: (folder.root / "cat").rename(folder.root / "cats"),
}


@pytest.mark.parametrize("change", FOLDER_CHANGES)
def test_fingerprint_changes_with_the_pictures(folder, change):
    before = fingerprint_of(folder.listing(), SETTINGS)
    FOLDER_CHANGES[change](folder)
    assert fingerprint_of(folder.listing(), SETTINGS) != before


SETTING_CHANGES = [
    *[{"image_size": 17}, {"grey": True}, {"fit": "crop"}, {"rules": DecodeRules(background=(0, 0, 0))}],
    *[{"rules": DecodeRules(max_pixels=10**6)}, {"rules": DecodeRules(min_side=4)}],
    {"rules": DecodeRules(reduce_large=True)},
]


@pytest.mark.parametrize("change", SETTING_CHANGES, ids=str)
def test_fingerprint_changes_with_a_setting(folder, change):
    listing = folder.listing()
    changed: PackSettings = dataclasses.replace(SETTINGS, **change)
    assert fingerprint_of(listing, changed) != fingerprint_of(listing, SETTINGS)


LISTING_CHANGES: list[dict[str, Any]] = [
    *[{"labels": np.array([1, 0])}, {"class_names": ("a", "c")}, {"stamp": b"other"}],
    {"splits": np.array(["test", "test"])},
]


@pytest.mark.parametrize("change", LISTING_CHANGES, ids=lambda change: next(iter(change)))
def test_fingerprint_changes_with_the_listing(change):
    items = [packing.RowItem("x[0]", 0), packing.RowItem("x[1]", 1)]
    listing = Listing("x.npz", items, np.array([0, 1]), ("a", "b"), np.array(["train", "test"]), stamp=b"stamp")
    assert fingerprint_of(dataclasses.replace(listing, **change), SETTINGS) != fingerprint_of(listing, SETTINGS)


def test_fingerprint_of_a_folder_in_another_place_differs(folder, tmp_path):
    before = fingerprint_of(folder.listing(), SETTINGS)
    folder.root.rename(tmp_path / "elsewhere")
    assert fingerprint_of(open_pictures(tmp_path / "elsewhere"), SETTINGS) != before


def test_fingerprint_of_a_zip_in_another_place_is_the_same(folder, tmp_path):
    first = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", folder.root))
    second = shutil.copy(first, tmp_path / "other.zip")
    assert fingerprint_of(open_pictures(first), SETTINGS) == fingerprint_of(open_pictures(second), SETTINGS)


def test_pack_opened_again_is_reused_untouched(cache, folder):
    first = open_pack(folder.listing(), SETTINGS, ALONE)
    times = [(first.folder / name).stat().st_mtime_ns for name in FILES]
    calls = []
    second = open_pack(folder.listing(), SETTINGS, Work(1, False, lambda done, total: calls.append(done)))
    assert (first.reused, second.reused, calls) == (False, True, [])
    assert [(second.folder / name).stat().st_mtime_ns for name in FILES] == times


def test_pack_opened_again_says_the_same(cache, folder):
    (folder.root / "cat/000.png").write_bytes(b"")
    first, second = (open_pack(folder.listing(), SETTINGS, ALONE) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    arrays = {"images", "labels", "splits", "reused"}
    for field in dataclasses.fields(Pack):
        if field.name not in arrays:
            assert getattr(first, field.name) == getattr(second, field.name), field.name


def test_pack_of_a_changed_picture_is_built_again(cache, folder, encode, noise):
    open_pack(folder.listing(), SETTINGS, ALONE)
    changed = noise(16, 16, 3, 99)
    (folder.root / "cat/000.png").write_bytes(encode(changed))
    pack = open_pack(folder.listing(), SETTINGS, ALONE)
    assert not pack.reused
    assert np.array_equal(pack.images[0], changed)


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())) and None


def edit_json(**changes: object) -> Callable[[Path], None]:
    return edit("pack.json", lambda data: json.dumps(json.loads(data) | changes).encode())


DAMAGES: dict[str, Callable[[Path], Any]] = {
    **{f"{name} missing": (lambda folder, name=name: (folder / name).unlink()) for name in FILES},
    **{f"{name} empty": edit(name, lambda data: b"") for name in FILES},
    **{f"{name} cut": edit(name, lambda data: data[: len(data) * 2 // 3]) for name in FILES},
    **{f"{name} noise": edit(name, lambda data: bytes(range(256)) * 4) for name in FILES},
    **{f"{name} zip": edit(name, lambda data: b"PK\x03\x04" + data) for name in FILES},
    **{
        f"{name} a folder": (lambda folder, name=name: ((folder / name).unlink(), (folder / name).mkdir()))
        for name in FILES
    },
    "images.npy header": edit("images.npy", lambda data: data.replace(b"'shape': (", b"'shape': [", 1)),
    "images.npy unclosed": edit("images.npy", lambda data: data.replace(b"), }", b"((((", 1)),
    "images.npy one picture less": lambda folder: np.save(folder / "images.npy", np.load(folder / "images.npy")[1:]),
    "images.npy signed": lambda folder: np.save(folder / "images.npy", np.load(folder / "images.npy").astype(np.int8)),
    "images.npy grey": lambda folder: np.save(folder / "images.npy", np.load(folder / "images.npy")[..., :1]),
    "index.csv one row less": edit("index.csv", lambda data: data[: data[:-1].rindex(b"\n") + 1]),
    "index.csv one row twice": edit("index.csv", lambda data: data + data[data[:-1].rindex(b"\n") + 1 :]),
    "index.csv in another order": edit(
        "index.csv", lambda data: b"".join([data.splitlines(True)[0], *data.splitlines(True)[:0:-1]])
    ),
    "index.csv other columns": edit("index.csv", lambda data: data.replace(b"reason", b"cause", 1)),
    "index.csv open quote": edit("index.csv", lambda data: data.replace(b"cat/", b'"cat/', 1)),
    "index.csv not UTF-8": edit("index.csv", lambda data: data.replace(b"cat/", b"\xff\xfe", 1)),
    "pack.json a list": edit("pack.json", lambda data: b"[]"),
    "pack.json null": edit("pack.json", lambda data: b"null"),
    "pack.json of another format": edit_json(format=PACK_FORMAT + 1),
    "pack.json of another pack": edit_json(fingerprint="0" * 64),
    "pack.json without preparation": edit_json(preparation={}),
    "pack.json with other rules": edit_json(preparation={"side": 16, "channels": 3, "fit": "squash", "rules": 1}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_pack_that_was_damaged_is_built_again(cache, folder, damage):
    listing = folder.listing()
    pack = open_pack(listing, SETTINGS, ALONE)
    images, index = np.array(pack.images), (pack.folder / "index.csv").read_bytes()
    DAMAGES[damage](pack.folder)
    again = open_pack(listing, SETTINGS, ALONE)
    assert not again.reused
    assert np.array_equal(again.images, images)
    assert (again.folder / "index.csv").read_bytes() == index
    assert left_in(cache) == [pack.folder.name]


# Broken pictures


@pytest.fixture
def broken_folder(folder, png) -> Folder:
    """The second picture is empty, the fifth cut short."""
    (folder.root / "cat/001.png").write_bytes(b"")
    (folder.root / "dog/004.png").write_bytes(png[:-40])
    return folder


def test_broken_pictures_keep_a_row_with_the_reason(cache, broken_folder):
    pack = open_pack(broken_folder.listing(), SETTINGS, ALONE)
    assert pack.reasons == ("", "empty_file", "", "", "truncated", "")
    assert len(pack.images) == len(pack.names) == 6


def test_broken_pictures_have_an_empty_row(cache, broken_folder):
    pack = open_pack(broken_folder.listing(), SETTINGS, ALONE)
    assert pack.images.any(axis=(1, 2, 3)).tolist() == [True, False, True, True, False, True]


def test_broken_pictures_are_never_usable(cache, broken_folder):
    assert open_pack(broken_folder.listing(), SETTINGS, ALONE).usable.tolist() == [0, 2, 3, 5]


def test_pictures_of_unknown_class_are_never_usable(cache, folder):
    listing = dataclasses.replace(folder.listing(), labels=np.array([0, -1, 0, 1, 1, -1]))
    assert open_pack(listing, SETTINGS, ALONE).usable.tolist() == [0, 2, 3, 4]


def test_broken_pictures_are_skipped_after_what_the_listing_left_out(cache, broken_folder):
    (broken_folder.root / "cat/notes.txt").write_text("x")
    pack = open_pack(broken_folder.listing(), SETTINGS, ALONE)
    assert [(skipped.name, skipped.reason) for skipped in pack.skipped] == [
        ("cat/notes.txt", "not_a_picture_name"),
        ("cat/001.png", "empty_file"),
        ("dog/004.png", "truncated"),
    ]
    assert all(skipped.detail for skipped in pack.skipped)


def test_broken_pictures_leave_the_others_as_they_would_be(cache, broken_folder):
    pack = open_pack(broken_folder.listing(), SETTINGS, ALONE)
    for row in pack.usable:
        assert np.array_equal(pack.images[row], by_pillow(broken_folder.pixels[pack.names[row]], 16))


@pytest.mark.parametrize("built_before", [False, True])
def test_strict_pack_with_a_broken_picture_names_the_first(cache, broken_folder, built_before):
    if built_before:
        open_pack(broken_folder.listing(), SETTINGS, ALONE)
    with pytest.raises(PictureError) as caught:
        open_pack(broken_folder.listing(), SETTINGS, ALONE._replace(strict=True))
    assert (caught.value.where, caught.value.reason, caught.value.exit_code) == ("cat/001.png", "empty_file", 3)
    assert "--strict" in str(caught.value.remedy)


def test_strict_pack_with_a_broken_picture_leaves_nothing(cache, broken_folder):
    with pytest.raises(PictureError):
        open_pack(broken_folder.listing(), SETTINGS, ALONE._replace(strict=True))
    assert left_in(cache) == []


def test_strict_pack_of_whole_pictures_is_built(cache, folder):
    assert len(open_pack(folder.listing(), SETTINGS, ALONE._replace(strict=True)).usable) == 6


def test_pack_of_only_broken_pictures_is_refused(cache, folder):
    for name in folder.pixels:
        (folder.root / name).write_bytes(b"")
    with pytest.raises(DataError, match="none of the 6 pictures can be used") as caught:
        open_pack(folder.listing(), SETTINGS, ALONE)
    assert "cat/000.png" in str(caught.value.where)
    assert left_in(cache) == []


def test_pack_of_no_picture_is_refused(cache):
    listing = Listing("x", [], np.array([], dtype=np.int64), ("a", "b"), np.array([], dtype=str))
    with pytest.raises(DataError, match="no picture"):
        open_pack(listing, SETTINGS, ALONE)


def test_pack_with_a_missing_picture_is_built_again_once_it_is_back(cache, folder):
    listing = folder.listing()
    path = folder.root / "cat/000.png"
    hidden = path.rename(folder.root / "hidden")
    open_pack(listing, SETTINGS, ALONE)
    hidden.rename(path)
    pack = open_pack(listing, SETTINGS, ALONE)
    assert not pack.reused
    assert len(pack.usable) == 6


def test_pack_with_a_picture_that_stays_missing_is_reused(cache, folder):
    listing = folder.listing()
    (folder.root / "cat/000.png").unlink()
    first, second = (open_pack(listing, SETTINGS, ALONE) for _ in range(2))
    assert first.reasons[0] == "missing"
    assert second.reused


# Interruption, workers, place


@pytest.fixture
def many(draw_folder) -> Folder:
    """Enough pictures for three workers."""
    folder = draw_folder(*[(10, 10, 3)] * 150)
    (folder.root / "cat/007.png").write_bytes(b"")
    return folder


def test_pack_files_are_the_same_to_the_byte_for_any_number_of_workers(tmp_path, monkeypatch, many):
    listing = many.listing()
    found = []
    for workers in (1, 2):
        monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / f"cache{workers}"))
        pack = open_pack(listing, SETTINGS, Work(workers, False, silent))
        found.append({name: (pack.folder / name).read_bytes() for name in FILES})
    assert found[0] == found[1]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("at", [1, 100, 150])
def test_e06_pack_interrupted_leaves_nothing(cache, many, workers, at):
    def interrupt(done: int, total: int) -> None:
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_pack(many.listing(), SETTINGS, Work(workers, False, interrupt))
    assert left_in(cache) == []


def test_pack_after_an_interrupted_one_is_whole(cache, many):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_pack(many.listing(), SETTINGS, Work(2, False, interrupt))
    assert len(open_pack(many.listing(), SETTINGS, Work(2, False, silent)).usable) == 149


def test_strict_pack_with_workers_names_the_first_broken_picture(cache, many):
    (many.root / "dog/140.png").write_bytes(b"")
    with pytest.raises(PictureError) as caught:
        open_pack(many.listing(), SETTINGS, Work(2, True, silent))
    assert caught.value.where == "cat/007.png"


def test_pack_lies_in_the_folder_that_saccade_cache_names(cache, folder):
    pack = open_pack(folder.listing(), SETTINGS, ALONE)
    assert pack.folder.parent == cache / "packs"
    assert pack.folder.name == f"pictures-{pack.fingerprint[:16]}"
    assert sorted(path.name for path in pack.folder.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("value", [None, ""])
def test_cache_folder_without_saccade_cache_is_that_of_the_system(monkeypatch, value):
    monkeypatch.delenv("SACCADE_CACHE", raising=False)
    if value is not None:
        monkeypatch.setenv("SACCADE_CACHE", value)
    assert cache_folder() == Path(platformdirs.user_cache_dir("saccade"))


def test_pack_on_a_disk_too_small_tells_needed_and_free_and_leaves_nothing(cache, folder, monkeypatch):
    usage = shutil.disk_usage(cache.parent)._replace(free=3 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match="the disk has 3 MiB free") as caught:
        open_pack(folder.listing(), dataclasses.replace(SETTINGS, image_size=2048), ALONE)
    assert caught.value.exit_code == 4
    assert left_in(cache) == []


def test_pack_on_a_disk_that_fills_up_leaves_nothing(cache, folder, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing, "write_csv", full)
    with pytest.raises(ResourceError, match="No space left on device") as caught:
        open_pack(folder.listing(), SETTINGS, ALONE)
    assert caught.value.exit_code == 4
    assert "SACCADE_CACHE" in str(caught.value.remedy)
    assert left_in(cache) == []


def test_pack_in_a_place_that_cannot_be_written_is_a_resource_error(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ResourceError, match="cannot be written"):
        open_pack(folder.listing(), SETTINGS, ALONE)


def test_pack_that_another_process_finished_first_is_used(cache, folder, tmp_path):
    listing = folder.listing()
    first = open_pack(listing, SETTINGS, ALONE)
    theirs = first.folder.rename(tmp_path / "theirs")

    def meanwhile(done: int, total: int) -> None:
        if done == total:
            theirs.rename(first.folder)

    second = open_pack(listing, SETTINGS, Work(1, False, meanwhile))
    assert np.array_equal(second.images, first.images)
    assert left_in(cache) == [first.folder.name]


BUILD = """
import sys
from saccade.data.decode import DecodeRules
from saccade.data.pack import open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sources.open import open_pictures
sys.stdin.read()
pack = open_pack(open_pictures(sys.argv[1]), PackSettings(16, False, "squash", DecodeRules()), Work(1, False, print))
assert len(pack.usable) == 149, len(pack.usable)
"""


def test_pack_built_by_two_processes_at_once_is_whole_in_both(cache, many):
    command = [sys.executable, "-c", BUILD, str(many.root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        process.stdin.close()  # both have begun to import: off they go
    messages = [process.stderr.read().decode() for process in processes]
    for process in processes:
        process.stderr.close()
    assert ([process.wait() for process in processes], messages) == ([0, 0], ["", ""])
    assert open_pack(many.listing(), SETTINGS, ALONE).reused
    assert len(left_in(cache)) == 1


def test_partial_folder_of_a_killed_build_is_removed_after_a_day(cache, folder):
    old, young = cache / "packs" / "a.partial-1", cache / "packs" / "b.partial-2"
    for partial in (old, young):
        partial.mkdir(parents=True)
    os.utime(old, (0, 0))
    open_pack(folder.listing(), SETTINGS, ALONE)
    assert (old.exists(), young.exists()) == (False, True)
