"""open_pictures: look at what the user named, pick the form, and check the classes."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from saccade.data.cache import cache_folder
from saccade.data.cache_room import use_entry
from saccade.data.formats import identify
from saccade.data.listing import Listing, MemberItem, SpanItem
from saccade.data.sources.archive import read_zip
from saccade.data.sources.arrays import read_npy, read_npz
from saccade.data.sources.cifar import find_cifar, read_cifar_folder, read_cifar_tar
from saccade.data.sources.digits import read_digits
from saccade.data.sources.folder import read_folder
from saccade.data.sources.idx import find_idx, read_idx
from saccade.data.sources.labelled import Labelled, index_classes
from saccade.data.sources.named import NAMED_SETS, WORDS, read_named
from saccade.data.sources.shard_manifest import expand_braces, find_shards
from saccade.data.sources.shards import is_shard, read_shards
from saccade.data.sources.table import TABLE_SUFFIXES, read_table
from saccade.data.sources.tar import read_tar
from saccade.data.sources.tree import LAYOUT
from saccade.data.sources.unpacked import is_compressed, unpacked_tar
from saccade.errors import LayoutError, UsageError


class _Options(NamedTuple):
    """What `open_pictures` was asked beside the pictures."""

    follow_links: bool
    allow_empty_class: bool
    data_dir: Path | None
    group_by: str | None


def open_pictures(
    source: str | Path,
    *,
    follow_links: bool = True,
    allow_empty_class: bool = False,
    data_dir: str | Path | None = None,
    group_by: str | None = None,
) -> Listing:
    """List labelled pictures of any accepted form; no picture is decoded.

    Args:
        source: a folder of class folders (with or without train, val, test above them), a zip or tar of one, a table
            (csv, tsv, parquet), an .npz or .npy, a folder of idx files, a CIFAR archive, WebDataset shards (a folder
            or a pattern such as x-{000..012}.tar), or one of the words digits, mnist, fashion-mnist, cifar10,
            cifar100. A path that exists goes before the word.
        follow_links: whether links in a folder are followed.
        allow_empty_class: keep a class that no picture (or no picture of one of the parts) shows.
        data_dir: where the files of a data set that is given by its word lie, and then `source` is such a word; None:
            fetched into the cache.
        group_by: the column of a table that says which pictures belong together; None: one with a usual name. What is
            no plain word is an expression for the names of the pictures, and none of a table's business.

    Raises:
        UsageError: there is no such path or word.
        LayoutError, LabelError, ArchiveError, ArrayError, TableError: what is there cannot be used; each says why.
        ResourceError: a data set cannot be fetched, or the cache has no room for what a compressed tar holds.
        MissingExtraError: a .parquet without pyarrow.
    """
    if not str(source).strip():
        raise UsageError("no pictures were named: the path is empty", where=repr(str(source)), remedy=LAYOUT)
    options = _Options(follow_links, allow_empty_class, Path(data_dir) if data_dir is not None else None, group_by)
    found = _read(source, options)
    noted = replace(found, notes=(*found.notes, *use_entry(_place_of(found, str(source)))))
    return index_classes(noted, allow_empty_class=allow_empty_class)


def _place_of(found: Labelled, source: str) -> Path:
    """Where the bytes of the pictures lie: a fetched data set and an unpacked tar are not where one said."""
    if source in WORDS and not Path(source).exists():
        return cache_folder() / "sets" / source / "files"
    first = found.items[0] if len(found.items) else None
    return first.archive if isinstance(first, MemberItem | SpanItem) else Path(source)


def _read(source: str | Path, options: _Options) -> Labelled:
    path = Path(source)
    if options.data_dir is not None:
        return _read_from(options.data_dir, str(source))
    try:
        is_folder, is_file, is_there = path.is_dir(), path.is_file(), path.exists()
    except (OSError, ValueError) as error:  # a name that no file system could hold
        raise UsageError(f"this cannot be a path ({error})", where=ascii(str(source)), remedy=LAYOUT) from error
    if is_folder:
        return _read_folder(path, options)
    if is_file:
        return _read_file(path, options)
    if is_there:
        raise LayoutError("this is neither a folder nor a file", where=str(path), remedy=LAYOUT)
    return _read_word(str(source))


def _read_from(data_dir: Path, word: str) -> Labelled:
    if word not in NAMED_SETS:
        raise UsageError(
            f"a folder to read {', '.join(NAMED_SETS)} from was given, and the pictures are {word!r}",
            where=f"--data-dir {data_dir}",
            remedy="leave it out, or name one of these data sets",
        )
    return read_named(word, data_dir)


def _read_word(word: str) -> Labelled:
    if word == "digits":
        return read_digits()
    if word in WORDS:
        return read_named(word, None)
    if "{" in word:
        return read_shards(expand_braces(word), word)
    raise UsageError(
        f"there is nothing at {word!r}", where=word, remedy=f"check the path, or give {', '.join(WORDS)}; {LAYOUT}"
    )


def _read_folder(path: Path, options: _Options) -> Labelled:
    try:
        if find_idx(path):
            return read_idx(path)
        cifar, shards = find_cifar(path), find_shards(path)
    except PermissionError as error:
        remedy = "check that you may read it"
        raise LayoutError("the folder cannot be read", where=str(path), remedy=remedy) from error
    if cifar:
        return read_cifar_folder(cifar)
    if shards:
        return read_shards(shards, str(path))
    return read_folder(path, follow_links=options.follow_links)


def _read_file(path: Path, options: _Options) -> Labelled:
    if path.suffix.lower() in TABLE_SUFFIXES:
        return read_table(path, allow_empty_class=options.allow_empty_class, group_by=options.group_by)
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
    compressed = is_compressed(head, path)
    if compressed or head[257:262] == b"ustar" or path.suffix.lower() == ".tar":
        return _read_tar(path, compressed=compressed)
    raise _unknown_file(path, head)


def _read_tar(path: Path, *, compressed: bool) -> Labelled:
    found = read_cifar_tar(path)
    if found:
        return found
    plain = unpacked_tar(path) if compressed else path
    return read_shards([plain], str(path)) if is_shard(plain) else read_tar(path, plain)


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
