"""CIFAR archives, built by hand, and the digits of scikit-learn."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from saccade.data.sources.cifar import _NumbersOnly, read_cifar_tar
from saccade.data.sources.labelled import index_classes
from saccade.data.sources.open import open_pictures
from saccade.errors import ArchiveError, ArrayError

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TEST_LABELS = np.arange(10)[::-1]


def planes(seed: int) -> np.ndarray:
    """uint8 (10, 3, 32, 32), as the files hold them."""
    return np.random.default_rng(seed).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)


def binary_files(label_bytes: int = 1) -> dict[str, bytes]:
    def rows(seed: int, labels: np.ndarray) -> bytes:
        coarse = np.zeros((10, label_bytes - 1), dtype=np.uint8)
        columns = [coarse, labels[:, None].astype(np.uint8), planes(seed).reshape(10, -1)]
        return np.hstack(columns).astype(np.uint8).tobytes()

    names = "\n".join(NAMES).encode() + b"\n\n"
    if label_bytes == 2:
        train = b"".join(rows(seed, np.arange(10)) for seed in range(5))
        return {"train.bin": train, "test.bin": rows(9, TEST_LABELS), "fine_label_names.txt": names}
    files = {f"data_batch_{seed + 1}.bin": rows(seed, np.arange(10)) for seed in range(5)}
    return {**files, "test_batch.bin": rows(9, TEST_LABELS), "batches.meta.txt": names}


def python_files_of_100() -> dict[str, bytes]:
    def rows(seeds: list[int], labels: list[int]) -> bytes:
        pixels = np.concatenate([planes(seed).reshape(10, -1) for seed in seeds])
        coarse = [0] * len(labels)
        return pickle.dumps({b"data": pixels, b"fine_labels": labels, b"coarse_labels": coarse}, protocol=2)

    meta = {b"fine_label_names": [name.encode() for name in NAMES], b"coarse_label_names": [b"things"]}
    train = rows([0, 1, 2, 3, 4], list(range(10)) * 5)
    return {"train": train, "test": rows([9], TEST_LABELS.tolist()), "meta": pickle.dumps(meta, protocol=2)}


def python_files() -> dict[str, bytes]:
    def batch(seed: int, labels: np.ndarray) -> bytes:
        content = {b"data": planes(seed).reshape(10, -1), b"labels": labels.tolist()}
        return pickle.dumps(content, protocol=2)

    files = {f"data_batch_{seed + 1}": batch(seed, np.arange(10)) for seed in range(5)}
    meta = pickle.dumps({b"label_names": [name.encode() for name in NAMES]}, protocol=2)
    return {**files, "test_batch": batch(9, TEST_LABELS), "batches.meta": meta}


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def check(listing) -> None:
    train, test = listing.splits == "train", listing.splits == "test"
    expected = np.concatenate([planes(seed) for seed in range(5)]).transpose(0, 2, 3, 1)
    assert np.array_equal(listing.array[train], expected)
    assert np.array_equal(listing.array[test], planes(9).transpose(0, 2, 3, 1))
    assert listing.class_names == NAMES
    assert listing.labels[test].tolist() == TEST_LABELS.tolist()


@pytest.mark.parametrize("label_bytes", [1, 2])
@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin/"])
def test_open_cifar_binary_folder_gives_the_pictures(tmp_path, write_files, inner, label_bytes):
    files = {inner + name: data for name, data in binary_files(label_bytes).items()}
    check(open_pictures(write_files(tmp_path / "cifar", files)))


@pytest.mark.parametrize("label_bytes", [1, 2])
def test_open_cifar_binary_tar_gives_the_pictures(tmp_path, label_bytes):
    check(open_pictures(write_tar(tmp_path / "x.tar.gz", binary_files(label_bytes))))


def test_open_cifar_truncated_batch_is_refused(tmp_path):
    files = binary_files()
    files["data_batch_3.bin"] = files["data_batch_3.bin"][:-1]
    with pytest.raises(ArrayError, match=r"data_batch_3\.bin"):
        open_pictures(write_tar(tmp_path / "x.tar.gz", files))


def test_open_cifar_missing_batch_is_named(tmp_path):
    files = binary_files()
    del files["data_batch_2.bin"]
    with pytest.raises(ArrayError, match=r"missing: data_batch_2\.bin"):
        open_pictures(write_tar(tmp_path / "x.tar.gz", files))


def test_open_cifar_python_archive_of_unknown_checksum_is_refused(tmp_path):
    path = write_tar(tmp_path / "x.tar.gz", python_files())
    with pytest.raises(ArchiveError, match="not the official") as caught:
        open_pictures(path)
    assert "binary" in str(caught.value.remedy)


@pytest.mark.parametrize("files", [python_files, python_files_of_100])
def test_read_cifar_python_archive_of_known_checksum_gives_the_pictures(tmp_path, files):
    path = write_tar(tmp_path / "x.tar.gz", files())
    found = read_cifar_tar(path, published={hashlib.sha256(path.read_bytes()).hexdigest()})
    check(index_classes(found))


def test_read_cifar_python_archive_runs_nothing_even_with_the_checksum(tmp_path):
    files = python_files()
    files["batches.meta"] = b"cposix\nsystem\n(S'exit 1'\ntR."
    path = write_tar(tmp_path / "x.tar.gz", files)
    with pytest.raises(ArrayError, match="not allowed"):
        read_cifar_tar(path, published={hashlib.sha256(path.read_bytes()).hexdigest()})


def test_numbers_only_reads_an_array_as_python_2_wrote_it():
    # The official files are such: text as bytes (U), numpy.core, protocol 2.
    written = (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06abcdeftbs."
    )
    found = _NumbersOnly(io.BytesIO(written), encoding="bytes").load()
    assert found[b"data"].tolist() == [[97, 98, 99], [100, 101, 102]]


@pytest.mark.parametrize("files", [python_files, python_files_of_100])
def test_open_unpacked_cifar_python_folder_is_refused(tmp_path, write_files, files):
    with pytest.raises(ArrayError, match="pickles") as caught:
        open_pictures(write_files(tmp_path / "cifar", files()))
    assert "cifar-10-python.tar.gz" in str(caught.value.remedy)


def test_open_other_tar_is_no_cifar_archive(tmp_path, png):
    assert read_cifar_tar(write_tar(tmp_path / "x.tar.gz", {"cats/1.png": png})) is None


def test_open_damaged_tar_is_an_archive_error(tmp_path):
    path = write_tar(tmp_path / "x.tar.gz", binary_files())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ArchiveError, match="incomplete"):
        open_pictures(path)


def test_open_digits_are_scikit_learns_scaled_to_255():
    bunch, listing = load_digits(), open_pictures("digits")
    assert np.array_equal(listing.array[..., 0], np.round(bunch.images * 255 / 16))
    assert listing.labels.tolist() == bunch.target.tolist()
    assert listing.array.shape == (1797, 8, 8, 1)
    assert set(listing.splits.tolist()) == {"unassigned"}


def test_open_digits_path_that_exists_goes_before_the_word(make_folder, monkeypatch, tmp_path):
    make_folder("cats/1.png", "dogs/1.png", root="digits")
    monkeypatch.chdir(tmp_path)
    assert open_pictures("digits").class_names == ("cats", "dogs")
