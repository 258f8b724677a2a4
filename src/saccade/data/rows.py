"""One picture of a pack: read, decoded, looked at, its pixels written to their place. It runs in child processes.

It imports no more than that takes, for a child is started from nothing while somebody waits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.listing import StoredItem
from saccade.data.looks import ARRAY_FORMAT, LOOK, Looks, look_at
from saccade.data.prepare import Preparation, prepare, prepare_pixels, whole_picture
from saccade.data.sources.read import read_ahead, read_item
from saccade.data.square import as_image
from saccade.errors import PictureError, ResourceError

_READ_AHEAD = 4  # pictures


class Row(NamedTuple):
    """What was found out about one picture; `look` is empty where it cannot be used, else the bytes of a `LOOK`."""

    look: bytes
    sha256: str
    original_size: tuple[int, int]
    grey: bool
    reason: str
    codes: str
    detail: str


class Numbered(NamedTuple):
    """A picture and its row in the pack."""

    row: int
    item: StoredItem


class Place(NamedTuple):
    """Where pixels are written: row i begins at byte `offset` + i × bytes of a row."""

    images: Path
    offset: int


def find_rows(pictures: Sequence[Numbered], preparation: Preparation, place: Place | None) -> Iterator[Row]:
    """A row per picture; its pixels go to their place, or nowhere where there is none.

    Raises:
        ResourceError: they cannot be written there.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_opened(place)) if place else None
        for number, (row, item) in enumerate(pictures):
            for following in pictures[1:_READ_AHEAD] if number == 0 else pictures[number + _READ_AHEAD - 1 :][:1]:
                read_ahead(following.item)
            pixels, found = _find_row(item, preparation)
            if place and file and pixels is not None:
                _write(file, place.offset + row * pixels.nbytes, pixels)
            yield found


def row_of_array(pixels: npt.NDArray[np.uint8], preparation: Preparation) -> tuple[npt.NDArray[np.uint8], Row]:
    """The square, and what there is to say, of a picture that came decoded: uint8 (H, W, C), C = 1 or 3."""
    height, width, channels = pixels.shape
    sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
    look = look_at(as_image(pixels), sha256, pixels.nbytes, ARRAY_FORMAT)
    row = Row(look.tobytes(), sha256, (width, height), channels == 1, reason="", codes="", detail="")
    return prepare_pixels(pixels, preparation), row


def look_of(row: Row) -> Looks:
    """The look as an array of shape (1,) and type `LOOK`; zeros where the picture cannot be used."""
    return np.frombuffer(row.look, dtype=LOOK) if row.look else np.zeros(1, dtype=LOOK)


def _find_row(item: StoredItem, preparation: Preparation) -> tuple[npt.NDArray[np.uint8] | None, Row]:
    sha256 = ""
    try:
        data = read_item(item)
        sha256 = hashlib.sha256(data).hexdigest()
        found = prepare(data, item.name, preparation)
    except PictureError as error:
        return None, Row(b"", sha256, (0, 0), False, error.reason, "", error.what)
    seen = whole_picture(data, item.name, found, preparation)
    look = look_at(seen, sha256, len(data), found.decoded.format)
    look["width"], look["height"] = found.original_size
    return found.pixels, Row(look.tobytes(), sha256, found.original_size, found.grey, "", " ".join(found.codes), "")


def _opened(place: Place) -> IO[bytes]:
    try:
        return place.images.open("r+b", buffering=0)
    except OSError as error:
        raise unwritable(error, place.images.parent.parent) from error


def _write(file: IO[bytes], at: int, pixels: npt.NDArray[np.uint8]) -> None:
    try:
        file.seek(at)
        rest = pixels.tobytes()
        while len(rest):
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise unwritable(error, Path(file.name).parent.parent) from error


def unwritable(error: OSError, packs: Path) -> ResourceError:
    """What is said when the disk does not take a pack."""
    return ResourceError(
        f"the pack cannot be written: {error.strerror or error}",
        where=str(packs),
        remedy="free some space there, or set SACCADE_CACHE to a folder on another disk",
    )
