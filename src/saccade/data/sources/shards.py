"""WebDataset shards: tars in which the files of one picture stand together under one key, KEY.jpg beside KEY.cls.

The convention: https://github.com/webdataset/webdataset. Read in place, by offset, one shard after the other; written
by shard_writer.py.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from saccade.data.cells import printable
from saccade.data.formats import PICTURE_SUFFIXES
from saccade.data.listing import UNASSIGNED, Skipped, SpanItem
from saccade.data.sources.labelled import Labelled
from saccade.data.sources.names import SPLIT_OF_FOLDER, class_name_of, is_ignored
from saccade.data.sources.shard_manifest import Manifest, read_manifest
from saccade.data.sources.tar import Member, place_stamp, tar_members
from saccade.errors import ArchiveError

_LABEL_SUFFIXES = frozenset({"cls", "json"})
_CLASS_FIELDS = ("class_name", "class", "label", "cls", "target")
_MAX_TEXT = 2**20  # what a .cls or .json may have at most
_PROBED = 50


class _Sample(NamedTuple):
    """The files of one picture, by what follows the first dot of their names."""

    key: str
    members: Mapping[str, Member]


@dataclass
class _Found:
    """What was read so far, over all shards."""

    items: list[SpanItem] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def is_shard(path: Path) -> bool:
    """Whether an uncompressed tar begins with samples, not with folders of pictures."""
    for number, member in enumerate(tar_members(path)):
        if not member.is_folder and _split_name(member.name)[1].rpartition(".")[2] == "cls":
            return True
        if number >= _PROBED:
            break
    members = [member for member, _ in zip(tar_members(path), range(_PROBED), strict=False)]
    keys = {_split_name(member.name)[0] for member in members if _is_picture(_split_name(member.name)[1])}
    return any(_split_name(member.name) == (key, "json") for member in members for key in keys)


def read_shards(paths: Sequence[Path], source: str) -> Labelled:
    """List the pictures of several shards; only their .cls and .json files are read.

    Args:
        paths: uncompressed tars, in order.
        source: what the user named.

    Raises:
        ArchiveError: a shard is missing or damaged, or a sample has no class or several pictures.
    """
    manifest = read_manifest(paths)
    shown = [path.name for path in paths]
    found, digest = _Found(), hashlib.sha256()
    for path in paths:
        digest.update(place_stamp(path))
        name = path.name if shown.count(path.name) == 1 else str(path)
        with path.open("rb") as file:
            for sample in _samples(path):
                _add(sample, _Shard(path, name, manifest, file), found)
    return Labelled(
        source=source,
        items=found.items,
        names=tuple(found.names),
        codes=np.array(found.codes, dtype=np.int64),
        splits=np.array(found.splits, dtype=np.str_),
        declared=dict.fromkeys(set(found.splits), frozenset(manifest.class_names)),
        skipped=tuple(found.skipped),
        notes=("1 shard" if len(paths) == 1 else f"{len(paths):,} shards",),
        stamp=digest.digest(),
        groups=np.array(found.groups, dtype=np.str_),
    )


class _Shard(NamedTuple):
    path: Path
    name: str
    manifest: Manifest
    file: IO[bytes]


def _samples(path: Path) -> Iterator[_Sample]:
    key = ""
    members: dict[str, Member] = {}
    for member in tar_members(path):
        if member.is_folder or is_ignored(member.name.rpartition("/")[2]):
            continue
        its_key, suffix = _split_name(member.name)
        if members and its_key != key:
            yield _Sample(key, members)
            members = {}
        key = its_key
        members[suffix] = member
    if members:
        yield _Sample(key, members)


def _split_name(name: str) -> tuple[str, str]:
    """`a.b/0001.left.JPG` -> (`a.b/0001`, `left.jpg`): the key ends at the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return folder + slash + stem, suffix.lower()


def _is_picture(suffix: str) -> bool:
    last = suffix.rpartition(".")[2]
    return f".{last}" in PICTURE_SUFFIXES or last in ("img", "image")


def _add(sample: _Sample, shard: _Shard, found: _Found) -> None:
    pictures = [suffix for suffix in sample.members if _is_picture(suffix)]
    where = f"{shard.name}/{printable(sample.key)}"
    if not pictures:
        found.skipped.append(Skipped(where, "not_a_picture_name", "no file of this sample is a picture"))
        return
    if len(pictures) > 1:
        raise ArchiveError(
            f"a sample has several pictures: {', '.join(sorted(pictures))}",
            where=where,
            remedy="write shards with one picture per key",
        )
    about = _about(sample, shard, where)
    member = sample.members[pictures[0]]
    checksum = about.get("sha256")
    sha256 = bytes.fromhex(checksum) if isinstance(checksum, str) and re.fullmatch("[0-9a-f]{64}", checksum) else b""
    found.items.append(SpanItem(f"{where}.{pictures[0]}", shard.path, member.offset, member.size, sha256))
    name = _class_of(sample, about, shard, where)
    found.codes.append(found.names.setdefault(name, len(found.names)))
    found.splits.append(_split_of(about, shard.path, where))
    found.groups.append(printable(str(about.get("group", ""))))


def _about(sample: _Sample, shard: _Shard, where: str) -> dict[str, Any]:
    """The sample's .json, or an empty one."""
    if "json" not in sample.members:
        return {}
    try:
        about = json.loads(_text(sample.members["json"], shard, where))
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"a .json cannot be read ({error})", where=where, remedy="write the shards again") from error
    return about if isinstance(about, dict) else {"label": about}


def _text(member: Member, shard: _Shard, where: str) -> str:
    if member.size > _MAX_TEXT:
        what = f"{member.size:,} bytes are too many for a label (at most {_MAX_TEXT:,})"
        raise ArchiveError(what, where=where, remedy="write the shards again")
    shard.file.seek(member.offset)
    try:
        return shard.file.read(member.size).decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise ArchiveError("a label is not UTF-8 text", where=where, remedy="write the shards again") from error


def _class_of(sample: _Sample, about: Mapping[str, Any], shard: _Shard, where: str) -> str:
    """The class by name: what the .json calls it, else the .cls, a number being looked up in shards.json."""
    given = next((about[name] for name in _CLASS_FIELDS if isinstance(about.get(name), str | int)), None)
    if (given is None or isinstance(given, int)) and "cls" in sample.members:
        given = _text(sample.members["cls"], shard, where)
    text = "" if given is None else str(given)
    if not text.strip():
        raise ArchiveError(
            f"a sample has no class: beside its picture there is {', '.join(sorted(sample.members))}",
            where=where,
            remedy="write KEY.cls with the number of the class, or KEY.json with class_name, beside every picture",
        )
    names = shard.manifest.class_names
    if names and text.isascii() and text.isdigit() and text not in names:
        if int(text) >= len(names):
            what = f"a sample has the class {text}, but shards.json names only {len(names)}"
            raise ArchiveError(what, where=where, remedy="write the shards again")
        return names[int(text)]
    return class_name_of(text)


def _split_of(about: Mapping[str, Any], path: Path, where: str) -> str:
    """What the .json says, else a word of the shard's name or the name of its folder, else unassigned."""
    said = about.get("split")
    if isinstance(said, str) and said:
        if said.lower() in SPLIT_OF_FOLDER or said == UNASSIGNED:
            return SPLIT_OF_FOLDER.get(said.lower(), UNASSIGNED)
        raise ArchiveError(f"{said!r} is no part", where=where, remedy="write train, val or test")
    words = [*re.split(r"[-_.]", path.name.lower()), path.parent.name.lower()]
    return next((SPLIT_OF_FOLDER[word] for word in words if word in SPLIT_OF_FOLDER), UNASSIGNED)
