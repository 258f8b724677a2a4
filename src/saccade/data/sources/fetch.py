"""A file out of the network: whole, with the right checksum, or not at all."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from saccade.errors import ResourceError
from saccade.whole import whole_file

PATIENCE = 30.0  # seconds without a byte after which the network counts as absent
_CHUNK = 2**20


class Published(NamedTuple):
    """A file as its publisher describes it: its name, and its MD5 in hexadecimal digits."""

    name: str
    md5: str


def fetch(published: Published, folder: Path, places: Sequence[str], way_out: str = "") -> Path:
    """The file in `folder`, fetched from the first of `places` that has it; its checksum is right either way.

    Args:
        published: the file.
        folder: where it is kept; made when needed.
        places: addresses that the file's name is put behind, tried in order.
        way_out: what else the reader can do when there is no network; stands behind the remedy.

    Raises:
        ResourceError: it is not there and cannot be had; the message says which file to put where.
    """
    path = folder / published.name
    damaged = path.is_file() and not has_md5(path, published.md5)
    if path.is_file() and not damaged:
        return path
    failures = []
    for place in places:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as partial:
                _download(place + published.name, partial, published)
            return path
        except (OSError, HTTPException, ValueError) as error:
            failures.append(f"{place + published.name}: {error}")
    in_cache = "; the file that is there is damaged (its checksum is wrong) and was not used" if damaged else ""
    raise ResourceError(
        f"{published.name} could not be downloaded{in_cache}",
        where="; ".join(failures),
        remedy=f"with a network elsewhere, put the file {published.name} into the folder {folder}{way_out}",
    )


def has_md5(path: Path, md5: str) -> bool:
    """Whether a file has this checksum; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            # No defence against forgers; publishers give no better one, and what is unpickled has its SHA-256 checked.
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
    except OSError:
        return False


def _download(address: str, partial: Path, published: Published) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": "saccade"})  # noqa: S310 - from our own table
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer, partial.open("wb") as file:  # noqa: S310
        while piece := answer.read(_CHUNK):
            file.write(piece)
    if not has_md5(partial, published.md5):
        raise ValueError(f"{partial.stat().st_size:,} bytes arrived whose checksum is not {published.md5}")
