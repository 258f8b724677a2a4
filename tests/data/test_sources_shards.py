"""WebDataset shards: what we write the webdataset library reads, what it writes we read."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import webdataset
from braceexpand import braceexpand
from PIL import Image

from saccade.data.decode import DecodeRules
from saccade.data.pack import open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sources.open import open_pictures
from saccade.data.sources.read import read_item
from saccade.data.sources.shard_manifest import expand_braces
from saccade.data.sources.shard_writer import Target, pack_shards
from saccade.errors import ArchiveError, DataError, PictureError, ResourceError, UsageError

# webdataset 1.0 leaves its files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


def write_shards(root: Path, folder: Path, max_bytes: int = 10**9):
    return pack_shards(open_pictures(root), Target(folder, "animals", max_bytes), lambda done, total: None)


def theirs(*paths: Path) -> list[dict]:
    """What the webdataset library finds in shards."""
    return list(webdataset.WebDataset([str(path) for path in paths], shardshuffle=False))


@pytest.fixture
def pictures(tmp_path, write_files, encode, noise):
    """Eleven different pictures of two classes in given parts, one of them a JPEG."""
    names = [
        f"{part}/{name}/{number}.png" for part in ("train", "test") for name in ("cat", "dog") for number in (1, 2)
    ]
    files = {name: encode(noise(seed=seed)) for seed, name in enumerate(names)}
    files |= {f"train/cat/x{seed}.jpg": encode(noise(seed=50 + seed), "JPEG") for seed in range(3)}
    return write_files(tmp_path / "animals", files)


def test_webdataset_reads_the_bytes_and_classes_of_our_shards(pictures, tmp_path):
    write_shards(pictures, tmp_path / "shards")
    listing = open_pictures(pictures)
    expected = {item.name: (read_item(item), label) for item, label in zip(listing.items, listing.labels, strict=True)}
    found = {}
    for sample in theirs(*sorted((tmp_path / "shards").glob("*.tar"))):
        about = json.loads(sample["json"])
        data = sample.get("png") or sample["jpg"]
        assert about["sha256"] == hashlib.sha256(data).hexdigest()
        assert about["class_name"] == listing.class_names[int(sample["cls"])]
        found[about["path"]] = (data, int(sample["cls"]))
    assert found == expected


def test_webdataset_decodes_our_shards_to_the_same_pixels(pictures, tmp_path):
    write_shards(pictures, tmp_path / "shards")
    path = sorted((tmp_path / "shards").glob("*.tar"))[-1]
    decoded = webdataset.WebDataset(str(path), shardshuffle=False).decode("rgb8").to_tuple("png;jpg", "json")
    for pixels, about in decoded:
        assert np.array_equal(pixels, np.asarray(Image.open(pictures / about["path"]).convert("RGB")))


def test_open_our_shards_gives_the_pictures_parts_and_classes_back(pictures, tmp_path):
    write_shards(pictures, tmp_path / "shards")
    before, after = open_pictures(pictures), open_pictures(tmp_path / "shards")

    def content(listing):
        rows = zip(listing.items, listing.labels.tolist(), listing.splits.tolist(), strict=True)
        return sorted((read_item(item), listing.class_names[label], split) for item, label, split in rows)

    assert content(after) == content(before)
    assert after.class_names == before.class_names


def test_manifest_describes_the_shards(pictures, tmp_path):
    written = write_shards(pictures, tmp_path / "shards", max_bytes=20_000)
    about = json.loads((tmp_path / "shards" / "shards.json").read_text())
    assert about["class_names"] == ["cat", "dog"]
    assert about["num_pictures"] == written.num_pictures == 11
    assert [shard["file"] for shard in about["shards"]] == [
        f"animals-{number:06}.tar" for number in range(len(about["shards"]))
    ]
    assert len(about["shards"]) > 2
    for shard in about["shards"]:
        path = tmp_path / "shards" / shard["file"]
        assert shard["bytes"] == path.stat().st_size <= 20_000
        assert shard["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert len(theirs(path)) == shard["num_pictures"]
        assert {json.loads(sample["json"])["split"] for sample in theirs(path)} == {shard["split"]}


def test_shards_of_the_same_pictures_are_the_same_bytes(pictures, tmp_path):
    assert write_shards(pictures, tmp_path / "a").shards == write_shards(pictures, tmp_path / "b").shards


def test_shards_mix_the_classes_within_a_part(tmp_path, make_folder):
    root = make_folder(*(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(30)))
    write_shards(root, tmp_path / "shards")
    classes = [int(sample["cls"]) for sample in theirs(tmp_path / "shards" / "animals-000000.tar")]
    assert 10 < sum(first != second for first, second in pairwise(classes)) < 50


def test_pack_from_shards_has_the_pixels_of_the_pack_from_the_folder(pictures, tmp_path, cache):
    write_shards(pictures, tmp_path / "shards", max_bytes=20_000)
    settings, work = PackSettings(32, False, "squash", DecodeRules()), Work(1, False, lambda done, total: None)
    packs = [open_pack(open_pictures(path), settings, work) for path in (pictures, tmp_path / "shards")]
    assert sorted(map(bytes, packs[0].images)) == sorted(map(bytes, packs[1].images))


def test_pack_shards_leaves_out_what_is_no_picture_and_says_so(pictures, tmp_path):
    (pictures / "train/cat/page.jpg").write_bytes(b"<html></html>")
    (pictures / "train/cat/nothing.png").write_bytes(b"")
    written = write_shards(pictures, tmp_path / "shards")
    assert sorted(skipped.reason for skipped in written.skipped) == ["empty_file", "not_an_image"]
    assert written.num_pictures == 11


def test_pack_shards_of_arrays_writes_pngs(tmp_path, noise):
    images, labels = np.stack([noise(12, 9, 1, seed)[..., 0] for seed in range(4)]), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    write_shards(tmp_path / "x.npz", tmp_path / "shards")
    found = {
        json.loads(sample["json"])["path"]: sample for sample in theirs(tmp_path / "shards" / "animals-000000.tar")
    }
    for row in range(4):
        sample = found[f"images[{row}]"]
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample["png"]))), images[row])
        assert int(sample["cls"]) == labels[row]


def test_pack_shards_keeps_the_groups(tmp_path, make_folder):
    root = make_folder("1.png", "2.png")
    (root / "t.csv").write_text("path,label,group\n1.png,cat,anna\n2.png,dog,\n")
    write_shards(root / "t.csv", tmp_path / "shards")
    assert sorted(open_pictures(tmp_path / "shards").groups.tolist()) == ["", "anna"]


def test_pack_shards_into_a_folder_with_something_in_it_is_refused(pictures, tmp_path):
    with pytest.raises(UsageError, match="not empty"):
        write_shards(pictures, pictures)
    (tmp_path / "empty").mkdir()
    assert write_shards(pictures, tmp_path / "empty").num_pictures == 11


def test_pack_shards_interrupted_leaves_nothing(pictures, tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_shards(open_pictures(pictures), Target(tmp_path / "shards", "animals"), stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["animals"]


def test_pack_shards_where_nothing_can_be_written_is_a_resource_error(pictures, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError, match="cannot be written"):
        write_shards(pictures, tmp_path / "file" / "shards")


def test_pack_shards_without_a_usable_picture_is_a_data_error(tmp_path, write_files):
    root = write_files(tmp_path / "x", {"cat/1.png": b"no", "dog/1.png": b"no"})
    with pytest.raises(DataError, match="no picture"):
        write_shards(root, tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


def write_theirs(path: Path, samples: list[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as sink:
        for number, sample in enumerate(samples):
            sink.write({"__key__": f"sample{number:04}", **sample})
    return path


def test_open_shards_that_webdataset_wrote_with_cls(tmp_path, png):
    path = write_theirs(tmp_path / "x-000000.tar", [{"png": png, "cls": number % 3} for number in range(6)])
    listing = open_pictures(path)
    assert listing.class_names == ("0", "1", "2")
    assert listing.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert read_item(listing.items[4]) == png
    assert listing.items[4].name == "x-000000.tar/sample0004.png"


def test_open_shards_that_webdataset_wrote_with_json(tmp_path, png):
    samples = [
        {"input.png": png, "json": {"label": name, "split": split}}
        for name, split in [("cat", "train"), ("dog", "train"), ("cat", "test"), ("dog", "test")]
    ]
    listing = open_pictures(write_theirs(tmp_path / "x.tar", samples))
    assert listing.class_names == ("cat", "dog")
    assert listing.splits.tolist() == ["train", "train", "test", "test"]


def test_open_shards_by_shard_writer_and_braces(tmp_path, png):
    with webdataset.ShardWriter(str(tmp_path / "x-train-%06d.tar"), maxcount=2, verbose=0) as sink:
        for number in range(6):
            sink.write({"__key__": f"{number}", "png": png, "cls": number % 2})
    write_theirs(tmp_path / "x-val-000000.tar", [{"png": png, "cls": number} for number in range(2)])
    listing = open_pictures(f"{tmp_path}/x-train-{{000000..000002}}.tar")
    assert (len(listing), set(listing.splits.tolist())) == (6, {"train"})
    both = open_pictures(f"{tmp_path}/x-{{train-{{000000..000002}},val-000000}}.tar")
    assert sorted(both.splits.tolist()) == ["train"] * 6 + ["val"] * 2
    assert len(open_pictures(tmp_path)) == 8


def test_open_folder_with_shards_in_train_and_test(tmp_path, png):
    for part in ("train", "test"):
        write_theirs(tmp_path / part / "000.tar", [{"png": png, "cls": number} for number in range(2)])
    listing = open_pictures(tmp_path)
    assert sorted(listing.splits.tolist()) == ["test", "test", "train", "train"]
    assert len({item.name for item in listing.items}) == 4


def test_open_braces_with_a_missing_shard_names_it(tmp_path, png):
    write_theirs(tmp_path / "x-0.tar", [{"png": png, "cls": 0}])
    with pytest.raises(UsageError, match=r"1 of the 2 shards .*x-1\.tar"):
        open_pictures(f"{tmp_path}/x-{{0..1}}.tar")


@pytest.mark.parametrize("pattern", ["x-{0..2}.tar", "{a,b}/x-{08..11}.tar", "{t-{00..02},v-{0..1},w}.tar", "x.tar"])
def test_braces_stand_for_what_braceexpand_says(tmp_path, write_files, pattern):
    expected = list(braceexpand(f"{tmp_path}/{pattern}"))
    write_files(tmp_path, {str(Path(name).relative_to(tmp_path)): b"" for name in expected})
    assert sorted(map(str, expand_braces(f"{tmp_path}/{pattern}"))) == sorted(expected)


def test_open_braces_for_a_million_shards_is_refused():
    with pytest.raises(UsageError, match="more than 100,000"):
        open_pictures("x-{0..99999999}.tar")


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({"png": b"P", "txt": "a cat"}, "has no class"),
        ({"png": b"P", "cls": ""}, "has no class"),
        ({"png": b"P", "jpg": b"P", "cls": 0}, "several pictures"),
        ({"png": b"P", "json": b"{"}, "cannot be read"),
        ({"png": b"P", "json": {"label": "cat", "split": "holdout"}}, "no part"),
        ({"png": b"P", "cls": b"\xff\xff"}, "not UTF-8"),
    ],
)
def test_open_shard_with_an_unusable_sample_names_it(tmp_path, png, sample, words):
    path = write_theirs(tmp_path / "x-000.tar", [{"png": png, "cls": 0}, sample])
    with pytest.raises(ArchiveError, match=words) as caught:
        open_pictures(path)
    assert caught.value.where == "x-000.tar/sample0001"


def test_open_shards_of_which_one_is_gone_names_it(pictures, tmp_path):
    write_shards(pictures, tmp_path / "shards", max_bytes=20_000)
    (tmp_path / "shards" / "animals-000001.tar").unlink()
    with pytest.raises(ArchiveError, match=r"animals-000001\.tar is not there"):
        open_pictures(tmp_path / "shards")


def test_open_shards_of_which_one_is_cut_names_it(pictures, tmp_path):
    write_shards(pictures, tmp_path / "shards")
    path = tmp_path / "shards" / "animals-000000.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(ArchiveError, match=r"animals-000000\.tar has"):
        open_pictures(tmp_path / "shards")


def test_pack_of_shards_of_which_one_changed_names_it_and_keeps_no_pack(pictures, tmp_path, cache):
    write_shards(pictures, tmp_path / "shards")
    work = Work(1, False, lambda done, total: None)
    settings = PackSettings(16, False, "squash", DecodeRules())
    assert len(open_pack(open_pictures(tmp_path / "shards"), settings, work).usable) == 11
    path = sorted((tmp_path / "shards").glob("*.tar"))[-1]
    data = bytearray(path.read_bytes())
    data[100] ^= 1  # in the header of the first file: its mode, which nobody reads
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(data[156:512]) + 8 * 32)  # the sum that tar itself checks
    path.write_bytes(data)
    listing = open_pictures(tmp_path / "shards")
    assert len(listing) == 11
    with pytest.raises(ArchiveError, match=f"{path.name} has changed since it was written") as caught:
        open_pack(listing, settings, work)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"format": 99}', '{"format": 1, "class_names": [], "shards": [{"file": "../x", "bytes": 1}]}']
)
def test_open_damaged_manifest_is_an_archive_error(pictures, tmp_path, text):
    write_shards(pictures, tmp_path / "shards")
    (tmp_path / "shards" / "shards.json").write_text(text)
    with pytest.raises(ArchiveError, match=r"shards\.json"):
        open_pictures(tmp_path / "shards")


def test_bit_rot_inside_a_shard_is_found_by_the_checksum(pictures, tmp_path):
    write_shards(pictures, tmp_path / "shards")
    item = open_pictures(tmp_path / "shards").items[0]
    data = bytearray(item.archive.read_bytes())
    data[item.offset + item.size // 2] ^= 1
    item.archive.write_bytes(data)
    with pytest.raises(PictureError, match="checksum") as caught:
        read_item(item)
    assert caught.value.reason == "damaged_member"


def test_tar_of_class_folders_with_a_json_is_no_shard(tmp_path, png):
    path = tmp_path / "x-000.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("cats/1.png", png), ("dogs/1.png", png), ("dogs/about.json", b"{}")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert open_pictures(path).class_names == ("cats", "dogs")
