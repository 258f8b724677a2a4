"""The pictures an exported file is tried on: the run's own, found again where they lay, or made up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.cells import printable
from saccade.data.decode import decode
from saccade.data.listing import TRAIN, Listing, RowItem
from saccade.data.pack import Pack
from saccade.data.packing import Work
from saccade.data.prepare import Preparation, prepare, prepare_pixels
from saccade.data.sources.named import WORDS
from saccade.data.sources.open import open_pictures
from saccade.data.sources.read import read_item
from saccade.engine import num_cores
from saccade.errors import DataError, PictureError
from saccade.evaluation.evaluate import reopen_pictures
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork

# The sides of pictures that are made up: small, odd, long, large, and the square itself.
_MADE_UP = ((8, 8), (31, 47), (64, 64), (17, 300), (300, 17), (375, 500), (600, 401), (1080, 1920))
_PER_SIZE = 4

Pixels = npt.NDArray[np.uint8]


class Sample(NamedTuple):
    """A picture to try a file on.

    Attributes:
        name: what to call it.
        pixels: uint8 (H, W, 3), as the package sees it once it is decoded.
        square: uint8 (side, side, C), as the package prepares it.
        in_full: the same decoded in full, where the package reduces it while decoding (large JPEGs); else None.
    """

    name: str
    pixels: Pixels
    square: Pixels
    in_full: Pixels | None = None


class Found(NamedTuple):
    """A run's pictures: the listing, its pack, and the rows of the test part; the labels count the run's classes."""

    listing: Listing
    pack: Pack
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]


def find_pictures(run: RunFolder, trained: TrainedNetwork) -> Found:
    """The run's pictures, where they lay.

    Raises:
        DataError: they are gone.
    """
    work = Work(num_cores(), strict=False, progress=lambda done, total: None)
    pack, rows, _ = reopen_pictures(run, trained, None, work)
    if len(rows) == 0:
        raise DataError("none of the run's test pictures is there any more", where=run.data_report["source"])
    source = run.data_report["source"]
    data_dir = run.recipe.data_dir if source in WORDS else None
    listing = open_pictures(source, allow_empty_class=True, data_dir=data_dir)
    number = {name: index for index, name in enumerate(trained.class_names)}
    known = np.array([number.get(name, -1) for name in pack.class_names], dtype=np.int64)
    return Found(listing, pack, rows, known[pack.labels])


def training_squares(run: RunFolder, found: Found, num: int) -> Pixels:
    """Squares (N, side, side, C) of at most `num` pictures that the run learned from, evenly spaced.

    Raises:
        DataError: none of them is there any more.
    """
    splits = run.splits
    learned = np.array([splits.get(printable(name)) == TRAIN for name in found.pack.names], dtype=bool)
    rows = evenly(found.pack.usable[learned[found.pack.usable]], num)
    if len(rows) == 0:
        raise DataError("none of the run's training pictures is there any more", where=found.listing.source)
    return np.array(found.pack.images[rows])


def samples_of(found: Found, preparation: Preparation, num: int) -> Iterator[Sample]:
    """At most `num` test pictures, evenly spaced, each as it is decoded and as it is prepared."""
    for row in evenly(found.rows, num).tolist():
        item = found.listing.items[row]
        if isinstance(item, RowItem):
            if found.listing.array is None:
                raise ValueError("items are rows of no array")
            yield sample_of_array(item.name, found.listing.array[item.row], preparation)
            continue
        try:
            yield sample_of_file(item.name, read_item(item), preparation)
        except PictureError:  # it went away or changed since the pack was made
            continue


def sample_of_file(name: str, data: bytes, preparation: Preparation) -> Sample:
    """A picture from the bytes of its file.

    Raises:
        PictureError: it cannot be used.
    """
    prepared = prepare(data, name, preparation)
    image = prepared.decoded.image
    in_full = None
    if preparation.rules.draft and sorted(image.size) != sorted(prepared.original_size):
        in_full = np.array(decode(data, name, replace(preparation.rules, draft=False)).image.convert("RGB"))
    return Sample(name, np.array(image.convert("RGB")), prepared.pixels, in_full)


def sample_of_array(name: str, pixels: Pixels, preparation: Preparation) -> Sample:
    """A picture that is decoded already, uint8 (H, W, C), C = 1 or 3."""
    coloured = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.array(pixels)
    return Sample(name, coloured, prepare_pixels(np.array(pixels), preparation))


def made_up(preparation: Preparation) -> Iterator[Sample]:
    """Soft shapes with noise, in sizes from 8 × 8 to a film's: 36 pictures, always the same."""
    rng = np.random.default_rng(0)
    side = preparation.side
    for height, width in (*_MADE_UP, (side, side)):
        for number in range(_PER_SIZE):
            down, along = np.linspace(0, 3, height)[:, None, None], np.linspace(0, 3, width)[None, :, None]
            waves = np.sin(down * rng.uniform(1, 6, 3) + along * rng.uniform(1, 6, 3) + rng.uniform(0, 6, 3))
            pixels = 128 + 90 * waves + rng.normal(0, 12 * number, (height, width, 3))
            name = f"made up, {height}×{width}, number {number + 1}"
            yield sample_of_array(name, np.clip(pixels, 0, 255).astype(np.uint8), preparation)


def evenly(rows: npt.NDArray[np.int64], num: int) -> npt.NDArray[np.int64]:
    """At most `num` of them, evenly spaced."""
    if len(rows) <= num:
        return rows
    return rows[np.linspace(0, len(rows) - 1, num).round().astype(np.int64)]
