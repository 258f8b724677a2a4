"""open_pictures: look at what the user named, pick the form, and check the classes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import MappingProxyType

from saccade.data.formats import identify
from saccade.data.listing import Listing
from saccade.data.sources.archive import read_zip
from saccade.data.sources.arrays import read_npy, read_npz
from saccade.data.sources.cifar import find_cifar, read_cifar_folder, read_cifar_tar
from saccade.data.sources.digits import read_digits
from saccade.data.sources.folder import read_folder
from saccade.data.sources.idx import find_idx, read_idx
from saccade.data.sources.labelled import Labelled, index_classes
from saccade.data.sources.tree import LAYOUT
from saccade.errors import ArchiveError, LayoutError, UsageError

# Words that stand for a data set which is not part of the package, and what to give instead.
_FILES_OF_WORD = MappingProxyType(
    {
        "mnist": "the folder with train-images-idx3-ubyte.gz and its three companions",
        "fashion-mnist": "the folder with train-images-idx3-ubyte.gz and its three companions",
        "cifar10": "cifar-10-binary.tar.gz, cifar-10-python.tar.gz, or a zip of class folders",
        "cifar100": "cifar-100-binary.tar.gz",
    }
)


def open_pictures(source: str | Path, *, follow_links: bool = True, allow_empty_class: bool = False) -> Listing:
    """List labelled pictures of any accepted form; no picture is decoded.

    Args:
        source: a folder of class folders (with or without train, val, test above them), a zip of one, an .npz or
            .npy, a folder of idx files, a CIFAR archive, or the word `digits`. A path that exists goes before
            the word.
        follow_links: whether links in a folder are followed.
        allow_empty_class: keep a class that no picture (or no picture of one of the parts) shows.

    Raises:
        UsageError: there is no such path or word.
        LayoutError, LabelError, ArchiveError, ArrayError: what is there cannot be used; each says why.
    """
    found = _read(source, follow_links=follow_links)
    return index_classes(found, allow_empty_class=allow_empty_class)


def _read(source: str | Path, *, follow_links: bool) -> Labelled:
    path = Path(source)
    try:
        is_folder, is_file, is_there = path.is_dir(), path.is_file(), path.exists()
    except (OSError, ValueError) as error:  # a name that no file system could hold
        raise UsageError(f"this cannot be a path ({error})", where=ascii(str(source)), remedy=LAYOUT) from error
    if is_folder:
        return _read_folder(path, follow_links=follow_links)
    if is_file:
        return _read_file(path)
    if is_there:
        raise LayoutError("this is neither a folder nor a file", where=str(path), remedy=LAYOUT)
    return _read_word(str(source))


def _read_word(word: str) -> Labelled:
    if word == "digits":
        return read_digits()
    if word in _FILES_OF_WORD:
        raise UsageError(
            f"{word} is not part of the package and is not downloaded yet",
            where=word,
            remedy=f"give the path of its files: {_FILES_OF_WORD[word]}",
        )
    raise UsageError(
        f"there is nothing at {word!r}", where=word, remedy=f"check the path, or give the word digits; {LAYOUT}"
    )


def _read_folder(path: Path, *, follow_links: bool) -> Labelled:
    try:
        if find_idx(path):
            return read_idx(path)
        cifar = find_cifar(path)
    except PermissionError as error:
        remedy = "check that you may read it"
        raise LayoutError("the folder cannot be read", where=str(path), remedy=remedy) from error
    if cifar:
        return read_cifar_folder(cifar)
    return read_folder(path, follow_links=follow_links)


def _read_file(path: Path) -> Labelled:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        remedy = "check that you may read it"
        raise LayoutError(f"the file cannot be read ({error.strerror})", where=str(path), remedy=remedy) from error
    if head.startswith(b"\x93NUMPY"):
        return read_npy(path)
    if path.suffix.lower() == ".npz" or (head.startswith(b"PK") and _holds_arrays(path, head)):
        return read_npz(path)
    if head.startswith(b"PK") or path.suffix.lower() == ".zip":
        return read_zip(path)
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        found = read_cifar_tar(path)
        if found:
            return found
        raise ArchiveError(
            "this tar is no CIFAR archive, and pictures are not read from other tars yet",
            where=str(path),
            remedy="unpack it and give the folder, or pack it as a zip",
        )
    raise _unknown_file(path, head)


def _holds_arrays(path: Path, head: bytes) -> bool:
    first_name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if not first_name.endswith(b".npy"):
        return False  # spares large archives of pictures a second look at all their names
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False  # whoever reads it will say so
    return bool(names) and all(name.endswith(".npy") for name in names)


def _unknown_file(path: Path, head: bytes) -> LayoutError:
    if not head:
        what = "the file is empty (0 bytes)"
    else:
        kind = identify(head)
        single = kind.verdict == "accepted"
        what = f"this is a single {kind.name}: one picture has no class to learn" if single else ""
        what = what or f"this file holds {kind.name}, which is no form of labelled pictures"
    return LayoutError(what, where=str(path), remedy=LAYOUT)
