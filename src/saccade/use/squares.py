"""Pictures as they come, each to the square that a network looks at or to the reason why not; in child processes.

It imports no more than that takes, for a child is started from nothing while somebody waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.listing import StoredItem
from saccade.data.prepare import Preparation, prepare
from saccade.data.sources.read import read_ahead, read_item
from saccade.errors import ArchiveError, ArrayError, PictureError

_READ_AHEAD = 4  # pictures

Pixels = npt.NDArray[np.uint8]


class Encoded(NamedTuple):
    """A picture as the bytes of a file, which somebody sent; `name` is for messages and never a path."""

    name: str
    data: bytes


class Refused(NamedTuple):
    """Something that was named as a picture, and why it cannot be one."""

    name: str
    reason: str
    detail: str


Readable = StoredItem | Encoded | Refused


def read_squares(items: Sequence[Readable], preparation: Preparation) -> Iterator[Pixels | PictureError]:
    """uint8 (side, side, C) for each, or why it cannot be read."""
    for number, item in enumerate(items):
        for following in items[1:_READ_AHEAD] if number == 0 else items[number + _READ_AHEAD - 1 :][:1]:
            if not isinstance(following, Encoded | Refused):
                read_ahead(following)
        try:
            yield prepare(_bytes_of(item), item.name, preparation).pixels
        except PictureError as error:
            yield PictureError(error.reason, error.what, where=error.where)
        except ArchiveError as error:  # it was there when its pictures were listed
            yield PictureError("io_error", error.what, where=error.where)


def _bytes_of(item: Readable) -> bytes:
    if isinstance(item, Refused):
        raise PictureError(item.reason, item.detail, where=item.name)
    return item.data if isinstance(item, Encoded) else read_item(item)


def as_picture(array: npt.NDArray[np.uint8], name: str) -> Pixels:
    """An array as uint8 (H, W, C), C = 1 or 3.

    Raises:
        ArrayError: it is not a picture.
    """
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype != np.uint8 or not pixels.size:
        raise ArrayError(
            f"a picture is uint8 (H, W), (H, W, 1) or (H, W, 3), got {array.dtype} {array.shape}",
            where=name,
            remedy="scale to 0..255 and convert with .astype(np.uint8)",
        )
    return pixels
