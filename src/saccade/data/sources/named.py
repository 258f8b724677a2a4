"""Data sets by name: fetched from where they are published, or read from a folder of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from saccade.data.cache import cache_folder
from saccade.data.sources.archive import read_zip
from saccade.data.sources.cifar import find_cifar, read_cifar_folder, read_cifar_tar
from saccade.data.sources.fetch import Published, fetch, has_md5
from saccade.data.sources.idx import find_idx, read_idx
from saccade.data.sources.labelled import Labelled
from saccade.errors import ArchiveError, UsageError


class NamedSet(NamedTuple):
    """What is published under a name.

    `places` are tried in order; `class_names` of files that hold numbers alone; `folders`: where people keep them
    below a folder of data sets, torchvision's among them.
    """

    files: tuple[Published, ...]
    places: tuple[str, ...]
    class_names: tuple[str, ...]
    folders: tuple[str, ...]


_KRIZHEVSKY = ("https://www.cs.toronto.edu/~kriz/",)
# Addresses and checksums as torchvision.datasets has them.
NAMED_SETS: Mapping[str, NamedSet] = MappingProxyType(
    {
        "mnist": NamedSet(
            (
                Published("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                Published("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
                Published("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
                Published("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
            ),
            ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
            tuple("0123456789"),
            ("", "mnist", "MNIST", "MNIST/raw"),
        ),
        "fashion-mnist": NamedSet(
            (
                Published("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                Published("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
                Published("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
                Published("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
            ),
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            (
                *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
                *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
            ),
            ("", "fashion-mnist", "fashion_mnist", "FashionMNIST", "FashionMNIST/raw"),
        ),
        "cifar10": NamedSet(
            (Published("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),),
            _KRIZHEVSKY,
            (),
            ("", "cifar10", "cifar-10"),
        ),
        "cifar100": NamedSet(
            (Published("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),),
            _KRIZHEVSKY,
            (),
            ("", "cifar100", "cifar-100"),
        ),
    }
)
WORDS = ("digits", *NAMED_SETS)


def read_named(word: str, data_dir: Path | None, sets: Mapping[str, NamedSet] = NAMED_SETS) -> Labelled:
    """Read a data set by name.

    Args:
        word: a key of `sets`.
        data_dir: a folder that holds its files, directly or in a folder of its name; None: the cache, and where it is
            not there yet, the place it is published at.
        sets: what there is.

    Raises:
        ResourceError: it is not in the cache and cannot be downloaded; the message says which file to put where.
        UsageError: `data_dir` does not hold it.
        ArchiveError, ArrayError: it is damaged, or pickles that are not the published ones.
    """
    named = sets[word]
    if data_dir is None:
        folder = cache_folder() / "sets" / word
        way_out = ", or keep all its files in a folder of your own and name that: --data-dir DIR"
        for published in named.files:
            fetch(published, folder, named.places, way_out)
        found = _read(folder, named, word)
    else:
        found = _read_local(data_dir, named, word)
    if found is None:
        raise ArchiveError(f"{named.files[0].name} holds something else", where=word, remedy="fetch it again")
    # Called by its name also where its files lie elsewhere: only the name says what its numbers stand for.
    return replace(found, source=word)


def fetching(word: str, sets: Mapping[str, NamedSet] = NAMED_SETS) -> str | None:
    """What `read_named` is about to download, in words; None where it need not."""
    if word not in sets:
        return None
    folder = cache_folder() / "sets" / word
    missing = [published.name for published in sets[word].files if not (folder / published.name).is_file()]
    return f"fetching {', '.join(missing)} from {sets[word].places[0]} into {folder}" if missing else None


def _read_local(data_dir: Path, named: NamedSet, word: str) -> Labelled:
    folders = [data_dir / name for name in named.folders if (data_dir / name).is_dir()]
    for folder in folders:
        found = _read(folder, named, word)
        if found is not None:
            return replace(found, notes=(*found.notes, *_other_files(folder, named)))
    names = ", ".join(published.name for published in named.files)
    raise UsageError(
        f"there is no {word} in this folder: neither it nor one of {', '.join(named.folders[1:])} in it holds {names}",
        where=f"--data-dir {data_dir}",
        remedy=f"put {'them' if len(named.files) > 1 else 'it'} there, or leave --data-dir out to download",
    )


def _other_files(folder: Path, named: NamedSet) -> list[str]:
    """A sentence on files that are not, byte by byte, the published ones: unpacked, packed anew, or something else."""
    other = [published.name for published in named.files if not has_md5(folder / published.name, published.md5)]
    if not other:
        return []
    return [f"{folder}: not the published files byte by byte, so their checksums prove nothing: {', '.join(other)}"]


def _read(folder: Path, named: NamedSet, word: str) -> Labelled | None:
    """The set in one folder, in any form it comes in; None where the folder does not hold it."""
    if named.class_names:
        return read_idx(folder, named.class_names) if find_idx(folder) else None
    stem = named.files[0].name.removesuffix("-python.tar.gz")  # cifar-10
    for name in (named.files[0].name, f"{stem}-binary.tar.gz"):
        if (folder / name).is_file():
            return read_cifar_tar(folder / name)
    unpacked = next(
        (folder / name for name in (f"{stem}-batches-bin", f"{stem}-binary") if (folder / name).is_dir()), None
    )
    if unpacked is not None and find_cifar(unpacked):
        return read_cifar_folder(unpacked)
    return read_zip(folder / f"{word}.zip") if (folder / f"{word}.zip").is_file() else None
