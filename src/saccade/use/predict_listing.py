"""What is to be predicted, written down once: a line per picture, so that a restart sees the same pictures in the same
order, however long the list is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from saccade.data.listing import FileItem, MemberItem, SpanItem
from saccade.errors import UsageError
from saccade.use.inputs import Named
from saccade.use.squares import Refused
from saccade.whole import whole_file


class Listed(NamedTuple):
    """How many pictures there are, and the SHA-256 of the list."""

    num_pictures: int
    sha256: str


def write_listing(path: Path, pictures: Iterable[Named]) -> Listed:
    """Write the list; nothing is decoded.

    Raises:
        UsageError: a picture lies in memory.
        OSError: the disk refuses.
    """
    digest, num_pictures = hashlib.sha256(), 0
    with whole_file(path) as partial, partial.open("wb") as file:
        for picture in pictures:
            line = json.dumps(_values(picture), ensure_ascii=True).encode() + b"\n"
            digest.update(line)
            file.write(line)
            num_pictures += 1
    return Listed(num_pictures, digest.hexdigest())


def read_listing(path: Path) -> Iterator[Named]:
    """The pictures again, one at a time."""
    with path.open("rb") as file:
        for line in file:
            yield _picture(json.loads(line))


def _values(picture: Named) -> list[Any]:
    name, item = picture
    if isinstance(item, FileItem):
        return ["file", name, str(item.path)]
    if isinstance(item, MemberItem):
        return ["member", name, item.name, str(item.archive)]
    if isinstance(item, SpanItem):
        return ["span", name, item.name, str(item.archive), item.offset, item.size]
    if isinstance(item, Refused):
        return ["refused", name, *item]
    raise UsageError(
        "only pictures in files can be predicted into a file",
        where=name,
        remedy="for arrays, write what predict_iter returns",
    )


def _picture(values: list[Any]) -> Named:
    kind, name, *rest = values
    if kind == "file":
        return Named(name, FileItem(name, Path(rest[0])))
    if kind == "member":
        return Named(name, MemberItem(rest[0], Path(rest[1])))
    if kind == "span":
        return Named(name, SpanItem(rest[0], Path(rest[1]), rest[2], rest[3]))
    return Named(name, Refused(*rest))
