"""idx files against arrays by struct, and MNIST itself."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from saccade.data.sources.open import open_pictures
from saccade.errors import ArrayError

NAMES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def data(split: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(len(split))
    return rng.integers(0, 256, (20, 9, 11), dtype=np.uint8), np.arange(20) % 10


def write(folder: Path, *, zipped: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    for (split, role), name in NAMES.items():
        content = idx(data(split)[role == "labels"])
        (folder / (name + ".gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
    return folder


@pytest.mark.parametrize("zipped", [False, True])
def test_open_idx_gives_the_arrays(tmp_path, zipped):
    listing = open_pictures(write(tmp_path, zipped=zipped))
    for split in ("train", "test"):
        images, labels = data(split)
        rows = listing.splits == split
        assert np.array_equal(listing.array[rows], images[..., None])
        assert listing.labels[rows].tolist() == labels.tolist()
    assert listing.class_names == tuple("0123456789")


def test_open_idx_zipped_or_not_has_one_stamp(tmp_path):
    plain, zipped = write(tmp_path / "a"), write(tmp_path / "b", zipped=True)
    assert open_pictures(plain).stamp == open_pictures(zipped).stamp


def test_open_idx_with_dots_in_its_names_is_known(tmp_path):
    write(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert len(open_pictures(tmp_path)) == 40


@pytest.mark.parametrize("name", NAMES.values())
def test_open_idx_missing_file_names_the_four(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(ArrayError, match="missing") as caught:
        open_pictures(tmp_path)
    assert name in str(caught.value.remedy)


@pytest.mark.parametrize("zipped", [False, True])
def test_open_idx_truncated_file_is_refused(tmp_path, zipped):
    path = write(tmp_path, zipped=zipped) / ("train-images-idx3-ubyte" + (".gz" if zipped else ""))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArrayError, match="no complete idx file"):
        open_pictures(tmp_path)


def test_open_idx_wrong_magic_is_refused(tmp_path):
    path = write(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(b"\0\0\x0d\x03" + path.read_bytes()[4:])
    with pytest.raises(ArrayError, match="00 00 08 03"):
        open_pictures(tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
def test_open_idx_header_that_claims_terabytes_is_refused_at_once(tmp_path, zipped):
    path = write(tmp_path, zipped=zipped) / ("train-images-idx3-ubyte" + (".gz" if zipped else ""))
    content = struct.pack(">HBB3I", 0, 8, 3, 10**9, 100, 100) + bytes(100)
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(ArrayError, match="claims"):
        open_pictures(tmp_path)


def test_open_idx_counts_that_differ_are_refused(tmp_path):
    (write(tmp_path) / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(19) % 10))
    with pytest.raises(ArrayError, match="20 pictures"):
        open_pictures(tmp_path)


def test_open_idx_two_data_sets_together_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "emnist-train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(ArrayError, match="several data sets"):
        open_pictures(tmp_path)


def test_open_mnist_has_its_published_counts(shared):
    folder = shared / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    listing = open_pictures(folder)
    train = np.bincount(listing.labels[listing.splits == "train"])
    # http://yann.lecun.com/exdb/mnist: 60,000 and 10,000; the counts per digit are well known.
    assert train.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert listing.array.shape == (70_000, 28, 28, 1)
    assert abs(listing.array[listing.splits == "train"].mean() / 255 - 0.1307) < 1e-4
