"""Which tars are the shards of one collection: a folder of them, a pattern with braces, and shards.json beside them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from saccade.data.sources.names import SPLIT_OF_FOLDER, is_ignored
from saccade.errors import ArchiveError, UsageError

MANIFEST = "shards.json"
MANIFEST_FORMAT = 1
MAX_SHARDS = 100_000
_SHARD = re.compile(r".*\d{3,}\.tar$", re.IGNORECASE)
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")


class Manifest(NamedTuple):
    """What shards.json says: class names by number, and of every shard its size in bytes and its SHA-256."""

    class_names: tuple[str, ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()
    sums: tuple[tuple[str, str], ...] = ()


def find_shards(folder: Path) -> list[Path]:
    """NAME-000000.tar and so on, directly in a folder or in its train, val and test; empty where there are none."""
    found = _shards_in(folder)
    if found:
        return found
    parts = [folder / name for name in sorted(SPLIT_OF_FOLDER) if (folder / name).is_dir()]
    return [path for part in parts for path in _shards_in(part)]


def _shards_in(folder: Path) -> list[Path]:
    if (folder / MANIFEST).is_file():
        return [folder / name for name, _ in _load(folder / MANIFEST).sizes]
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and not is_ignored(entry.name):
                return []  # numbered tars beside folders of classes are something else
            if _SHARD.match(entry.name) and entry.is_file():
                found.append(folder / entry.name)
    return sorted(found)


def expand_braces(pattern: str) -> list[Path]:
    """`/disk{1..2}/x-{000000..000009}.tar` -> twenty paths, in order.

    Raises:
        UsageError: more than 100,000 paths, or one that does not exist.
    """
    texts: dict[str, None] = {}  # braces inside braces name some of them more than once
    for text in _expanded(pattern):
        texts[text] = None
        if len(texts) > MAX_SHARDS:
            raise UsageError(f"the pattern stands for more than {MAX_SHARDS:,} shards", where=pattern)
    paths = [Path(text) for text in texts]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UsageError(
            f"{len(missing):,} of the {len(paths):,} shards that the pattern stands for do not exist, "
            f"the first: {missing[0]}",
            where=pattern,
            remedy="check the range in braces; both ends count",
        )
    return paths


def _expanded(pattern: str) -> Iterator[str]:
    match = _RANGE.search(pattern)
    if match:
        first, last = match.groups()
        step = 1 if int(first) <= int(last) else -1
        for number in range(int(first), int(last) + step, step):
            yield from _expanded(f"{pattern[: match.start()]}{number:0{len(first)}}{pattern[match.end() :]}")
        return
    match = _CHOICE.search(pattern)
    if not match:
        yield pattern
        return
    for choice in match[1].split(","):
        yield from _expanded(pattern[: match.start()] + choice + pattern[match.end() :])


def read_manifest(paths: Sequence[Path]) -> Manifest:
    """shards.json beside the shards, compared with them; an empty one where there is none.

    Raises:
        ArchiveError: it is damaged, or a shard has another size than it says, or is gone.
    """
    folders = dict.fromkeys(path.parent for path in paths)
    found = {folder: _load(folder / MANIFEST) for folder in folders if (folder / MANIFEST).is_file()}
    sizes = {folder / name: size for folder, each in found.items() for name, size in each.sizes}
    for path in paths:
        size = path.stat().st_size if path.is_file() else -1
        if size < 0 or sizes.get(path, size) != size:
            state = "is not there" if size < 0 else f"has {size:,} bytes"
            raise ArchiveError(
                f"the shard {path.name} {state}; {MANIFEST} says {sizes.get(path, 0):,} bytes",
                where=str(path),
                remedy="fetch it again, or write the shards again",
            )
    names = {each.class_names for each in found.values()}
    if len(names) > 1:
        raise ArchiveError("the shards lie in folders whose class names differ", where=", ".join(map(str, folders)))
    return Manifest(next(iter(names), ()), tuple((str(path), size) for path, size in sizes.items()))


def check_sums(paths: Iterable[Path]) -> None:
    """Read whole shards and compare them with the checksums of the shards.json beside them, where there are such.

    Raises:
        ArchiveError: the bytes of a shard are not those that were written.
    """
    sums: dict[Path, dict[str, str]] = {}
    for path in paths:
        manifest = path.parent / MANIFEST
        if path.parent not in sums:
            sums[path.parent] = dict(_load(manifest).sums) if manifest.is_file() else {}
        expected = sums[path.parent].get(path.name)
        if expected is None:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise ArchiveError(
                f"the shard {path.name} has changed since it was written: its SHA-256 begins with {found[:12]}, "
                f"{MANIFEST} says {expected[:12]}",
                where=str(path),
                remedy="fetch it again, or write the shards again",
            )


def _load(path: Path) -> Manifest:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] > MANIFEST_FORMAT:
            raise ArchiveError(
                f"{MANIFEST} has the format {about['format']}; this version reads {MANIFEST_FORMAT}",
                where=str(path),
                remedy="use a newer saccade",
            )
        sizes = tuple((str(shard["file"]), int(shard["bytes"])) for shard in about["shards"])
        sums = tuple((str(shard["file"]), str(shard["sha256"])) for shard in about["shards"] if "sha256" in shard)
        names = tuple(str(name) for name in about["class_names"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"{MANIFEST} cannot be read ({type(error).__name__}: {error})"
        raise ArchiveError(what, where=str(path), remedy="write the shards again") from error
    outside = [name for name, _ in sizes if Path(name).name != name]
    if outside:
        raise ArchiveError(f"{MANIFEST} names a shard outside its folder: {outside[0]!r}", where=str(path))
    return Manifest(names, sizes, sums)
