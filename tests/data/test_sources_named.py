"""Data sets by name: fetched from a server of the test's own, or read from a folder."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torchvision

from saccade.data.sources.cifar import PUBLISHED_PYTHON_SHA256
from saccade.data.sources.fetch import Published
from saccade.data.sources.labelled import index_classes
from saccade.data.sources.named import NAMED_SETS, NamedSet, fetching, read_named
from saccade.data.sources.open import open_pictures
from saccade.errors import ResourceError, UsageError

NAMES = ("shirt", "bag", "boot")
IDX = {"images": ("images-idx3-ubyte", (3, 28, 28)), "labels": ("labels-idx1-ubyte", (3,))}
UNREACHABLE = "http://127.0.0.1:9/"  # the discard port: nobody listens


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Hand out a folder over HTTP on this machine; returns the address."""
    servers = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The four files of a small data set: three pictures of three classes in each part."""
    folder = tmp_path / "published"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        for role, (name, shape) in IDX.items():
            values = np.arange(3, dtype=np.uint8) if role == "labels" else rng.integers(0, 256, shape, dtype=np.uint8)
            header = bytes([0, 0, 8, len(shape)]) + b"".join(length.to_bytes(4, "big") for length in shape)
            (folder / f"{part}-{name}.gz").write_bytes(gzip.compress(header + values.tobytes(), mtime=0))
    return folder


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def small_set(files: Path, *places: str) -> dict[str, NamedSet]:
    published = (Published(path.name, md5(path.read_bytes())) for path in sorted(files.iterdir()))
    return {"small": NamedSet(tuple(published), places, NAMES, ("", "small", "Small/raw"))}


def check(found) -> None:
    listing = index_classes(found)
    assert listing.class_names == tuple(sorted(NAMES))
    assert [listing.class_names[label] for label in listing.labels.tolist()] == [*NAMES, *NAMES]
    assert listing.splits.tolist() == ["train"] * 3 + ["test"] * 3
    assert listing.source == "small"


@pytest.mark.parametrize(
    ("word", "theirs"),
    [
        ("mnist", torchvision.datasets.MNIST),
        ("fashion-mnist", torchvision.datasets.FashionMNIST),
        ("cifar10", torchvision.datasets.CIFAR10),
        ("cifar100", torchvision.datasets.CIFAR100),
    ],
)
def test_addresses_and_checksums_are_torchvisions(word, theirs):
    ours = NAMED_SETS[word]
    if hasattr(theirs, "resources"):
        assert list(ours.files) == theirs.resources
        assert list(ours.places) == theirs.mirrors
    else:
        assert list(ours.files) == [(theirs.filename, theirs.tgz_md5)]
        assert [place + theirs.filename for place in ours.places] == [theirs.url]
    if word == "fashion-mnist":
        assert list(ours.class_names) == theirs.classes


def test_python_archives_of_both_cifars_have_a_checksum_to_be_unpickled_by():
    assert len(PUBLISHED_PYTHON_SHA256) == 2


def test_read_named_downloads_into_the_cache_once(files, serve, cache):
    address = serve(files)
    check(read_named("small", None, small_set(files, address)))
    assert sorted(path.name for path in (cache / "sets" / "small").iterdir()) == sorted(p.name for p in files.iterdir())
    check(read_named("small", None, small_set(files, UNREACHABLE)))


def test_fetching_says_what_is_missing_until_it_is_there(files, serve, cache):
    sets = small_set(files, serve(files))
    assert "t10k-images-idx3-ubyte.gz" in fetching("small", sets)
    read_named("small", None, sets)
    assert fetching("small", sets) is None
    assert fetching("pictures", sets) is None


@pytest.mark.parametrize("source", ["digits", "animals"])
def test_open_with_a_data_dir_and_no_named_set_is_a_usage_error(tmp_path, source):
    with pytest.raises(UsageError, match=f"the pictures are '{source}'"):
        open_pictures(source, data_dir=tmp_path)


def test_read_named_tries_the_next_place(files, serve, cache, tmp_path):
    (tmp_path / "empty").mkdir()
    check(read_named("small", None, small_set(files, UNREACHABLE, serve(tmp_path / "empty"), serve(files))))


def test_read_named_without_a_network_names_file_folder_and_way_out(files, cache):
    with pytest.raises(ResourceError, match=r"t10k-images-idx3-ubyte\.gz could not be downloaded") as caught:
        read_named("small", None, small_set(files, UNREACHABLE))
    assert caught.value.exit_code == 4
    assert UNREACHABLE in str(caught.value.where)
    assert str(cache / "sets" / "small") in str(caught.value.remedy)
    assert "--data-dir" in str(caught.value.remedy)


def test_read_named_with_a_wrong_checksum_keeps_nothing(files, serve, cache):
    sets = small_set(files, serve(files))
    (files / "train-labels-idx1-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(ResourceError, match="train-labels") as caught:
        read_named("small", None, sets)
    assert "checksum" in str(caught.value.where)
    assert sorted(path.name for path in (cache / "sets" / "small").iterdir()) == [
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
        "train-images-idx3-ubyte.gz",
    ]


def test_read_named_with_a_damaged_file_in_the_cache_fetches_it_again(files, serve, cache):
    sets = small_set(files, serve(files))
    read_named("small", None, sets)
    (cache / "sets" / "small" / "train-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    check(read_named("small", None, sets))


@pytest.mark.parametrize("inner", ["", "small", "Small/raw"])
def test_read_named_from_a_folder_needs_no_network(files, tmp_path, inner):
    place = tmp_path / "own" / inner
    place.parent.mkdir(parents=True, exist_ok=True)
    files.rename(place)
    check(read_named("small", tmp_path / "own", small_set(place, UNREACHABLE)))


def test_read_named_from_a_folder_with_plain_files(files, tmp_path):
    (tmp_path / "own").mkdir()
    for path in files.iterdir():
        (tmp_path / "own" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    check(read_named("small", tmp_path / "own", small_set(files)))


def test_read_named_from_a_folder_with_files_packed_anew_says_so(files):
    sets = small_set(files, UNREACHABLE)
    assert not any("byte by byte" in note for note in read_named("small", files, sets).notes)
    path = files / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=1))
    found = read_named("small", files, sets)
    check(found)
    assert [note for note in found.notes if "byte by byte" in note and note.endswith("t10k-labels-idx1-ubyte.gz")]


def test_read_named_from_a_folder_without_it_lists_what_was_looked_for(files, tmp_path):
    with pytest.raises(UsageError, match=r"train-images-idx3-ubyte\.gz") as caught:
        read_named("small", tmp_path, small_set(files, UNREACHABLE))
    assert str(tmp_path) in str(caught.value.where)


def test_open_mnist_by_name_has_all_its_pictures(shared):
    listing = open_pictures("mnist", data_dir=shared / "data")
    assert np.array_equal(listing.array, open_pictures(shared / "data" / "mnist").array)
    assert listing.source == "mnist"
    assert listing.class_names == tuple("0123456789")
    assert (listing.splits == "train").sum() == 60_000
    assert (listing.splits == "test").sum() == 10_000


def test_open_cifar10_by_name_from_a_zip_of_class_folders(shared):
    listing = open_pictures("cifar10", data_dir=shared / "data")
    assert len(listing.class_names) == 10
    assert listing.source == "cifar10"
