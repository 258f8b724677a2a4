"""How large pictures are, before any is decoded."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from saccade.data.decode import size_of
from saccade.data.listing import Listing, RowItem
from saccade.data.sources.read import read_item
from saccade.errors import PictureError

_SAMPLE = 25  # enough for the middle one


def typical_size(listing: Listing) -> tuple[int, int]:
    """(width, height) in pixels: the medians over some pictures, evenly spaced; (0, 0) where none can be read.

    Raises:
        ArchiveError: the pictures' archive cannot be read any more.
    """
    if listing.array is not None:
        height, width = listing.array.shape[1:3]
        return int(width), int(height)
    sizes = []
    for row in np.unique(np.linspace(0, len(listing) - 1, min(_SAMPLE, len(listing))).astype(np.int64)).tolist():
        item = listing.items[row]
        if isinstance(item, RowItem):
            continue
        with suppress(PictureError):
            sizes.append(size_of(read_item(item), item.name))
    if not sizes:
        return 0, 0
    width, height = np.median(np.array(sizes), axis=0).astype(int).tolist()
    return width, height
