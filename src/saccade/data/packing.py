"""Building a pack: decode everything once, in parallel, and put it under its final name only when it is whole."""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.cells import write_csv
from saccade.data.children import Children, Task
from saccade.data.listing import Listing, RowItem, Skipped
from saccade.data.looks import LOOK, LOOKS_FILE
from saccade.data.prepare import PackSettings, Preparation
from saccade.data.rows import Numbered, Place, Row, find_rows, look_of, row_of_array, unwritable
from saccade.errors import DataError, PictureError, ResourceError

PACK_FORMAT = 3  # 2: with looks.npy; 3: looks are taken from a picture that was reduced first
IMAGES_FILE = "images.npy"
INDEX_HEADER = ("path", "sha256", "label", "split", "width", "height", "reason", "codes", "detail")

Progress = Callable[[int, int], None]

_PROBED = 16  # pictures looked at to guess the size of all
_CRASHED = "decoder_crashed"
_SECONDS = 60.0  # a picture may take to be read and decoded; the largest that is accepted takes about five
_ABANDONED_SECONDS = 24 * 3600
_FREE_MARGIN = 64 * 2**20


class Work(NamedTuple):
    """How the pictures are decoded.

    Attributes:
        workers: in how many processes.
        strict: whether the first broken one stops.
        progress: who is told.
        stream: threads that decode pixels anew whenever they are wanted; 0 where they are kept instead.
    """

    workers: int
    strict: bool
    progress: Progress
    stream: int = 0


class Way(NamedTuple):
    """How pictures become pixels, and where these go: nowhere where a few are only looked at."""

    preparation: Preparation
    place: Place | None


def build_pack(listing: Listing, settings: PackSettings, folder: Path, about: dict[str, Any], work: Work) -> None:
    """Decode all pictures of a listing into `folder`; an interruption leaves nothing under that name.

    The stored side is the network's, or less where every picture is smaller; that is known only after all were
    decoded, so it is guessed from a few and, when the guess was wrong, the work is done once more.
    """
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    try:
        _discard_abandoned(folder.parent)
        partial.mkdir(parents=True, exist_ok=True)
        with Children(work.workers) as children:
            preparation = _guess(listing, settings, children)
            rows = _decode_all(listing, preparation, partial, work, children)
            if (needed := _preparation(settings, rows)) != preparation:
                preparation = needed
                rows = _decode_all(listing, preparation, partial, work, children)
        write_csv(partial / "index.csv", INDEX_HEADER, _index_rows(listing, rows))
        text = json.dumps(about | {"num_pictures": len(listing), "preparation": preparation.to_json()}, indent=1)
        (partial / "pack.json").write_text(text, encoding="utf-8")
        _put_in_place(partial, folder)
    except OSError as error:
        raise unwritable(error, folder.parent) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _discard_abandoned(packs: Path) -> None:
    """Remove what builds that were killed left behind: partial folders nobody has touched for a day."""
    for partial in packs.glob("*.partial-*"):
        if time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove a damaged pack, in one step for whoever looks for it. That there is none, or no right to, is no error."""
    old = folder.with_name(f"{folder.name}.old-{os.getpid()}")
    with suppress(OSError):
        folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def strict_refusal(broken: Skipped) -> PictureError:
    """What `strict` answers to a broken picture."""
    remedy = "mend or remove the picture, or leave out --strict to skip broken ones"
    return PictureError(broken.reason, broken.detail, where=broken.name, remedy=remedy)


def _put_in_place(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        # Another process built the same pack in the meantime: its bytes are the same, and it may be read already.
        if not folder.is_dir():
            raise


def _guess(listing: Listing, settings: PackSettings, children: Children) -> Preparation:
    """How the pictures will be stored, judged by a few of them spread over the listing."""
    probed = np.unique(np.linspace(0, len(listing) - 1, _PROBED).astype(int)).tolist()
    smallest = Preparation(1, 1, settings.fit, settings.rules)
    if listing.array is not None:
        return _preparation(settings, [_of_array(listing, index, smallest)[1] for index in probed])
    return _preparation(settings, list(_decoded(listing, probed, Way(smallest, None), children)))


def _preparation(settings: PackSettings, rows: Sequence[Row]) -> Preparation:
    """The stored side and channels that these pictures call for."""
    usable = [row for row in rows if not row.reason]
    longest = max((max(row.original_size) for row in usable), default=settings.image_size)
    all_grey = settings.grey and all(row.grey for row in usable)
    return Preparation(min(settings.image_size, longest), 1 if all_grey else 3, settings.fit, settings.rules)


def _decode_all(listing: Listing, preparation: Preparation, partial: Path, work: Work, children: Children) -> list[Row]:
    """Write images.npy; return what was found out about each picture, without its pixels."""
    shape = (len(listing), preparation.side, preparation.side, preparation.channels)
    path = partial / IMAGES_FILE
    path.unlink(missing_ok=True)  # of a wrong guess: its space is free again
    _check_space(partial, (0 if work.stream else math.prod(shape)) + len(listing) * LOOK.itemsize)
    images = None if work.stream else np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    looks = np.lib.format.open_memmap(partial / LOOKS_FILE, mode="w+", dtype=LOOK, shape=(len(listing),))
    rows: list[Row] = []
    with closing(_rows(listing, preparation, images, children)) as found:
        for row in found:
            if row.reason and work.strict:
                raise strict_refusal(Skipped(listing.items[len(rows)].name, row.reason, row.detail))
            if row.reason == _CRASHED and images is not None:  # perhaps while it wrote
                images[len(rows)] = 0
            looks[len(rows)] = look_of(row)[0]
            rows.append(row._replace(look=b""))
            work.progress(len(rows), len(listing))
    if images is not None:
        images.flush()
    looks.flush()
    if rows and all(row.reason for row in rows):
        raise DataError(
            f"none of the {len(rows):,} pictures can be used; the first: {rows[0].detail}",
            where=f"{listing.source}: {listing.items[0].name}",
        )
    return rows


def _rows(listing: Listing, preparation: Preparation, images: np.memmap | None, children: Children) -> Generator[Row]:
    """One Row per item, in order; their pixels are written meanwhile, where they are kept."""
    if listing.array is None:
        place = None if images is None else Place(Path(str(images.filename)), images.offset)
        way = Way(preparation, place)
        yield from _decoded(listing, range(len(listing)), way, children)
        return
    for index in range(len(listing)):  # already decoded: nothing that a process of its own could do faster
        pixels, row = _of_array(listing, index, preparation)
        if images is not None:
            images[index] = pixels
        yield row


def _decoded(listing: Listing, rows: Sequence[int], way: Way, children: Children) -> Generator[Row]:
    items = ((row, listing.items[row]) for row in rows)
    stored = [Numbered(row, item) for row, item in items if not isinstance(item, RowItem)]
    run = functools.partial(find_rows, preparation=way.preparation, place=way.place)
    yield from children.results(Task(run, _lost, _SECONDS), stored)


def _lost(picture: Numbered) -> Row:
    what = f"decoding it crashed its process, or took longer than {_SECONDS:g} seconds"
    return Row(b"", "", (0, 0), False, _CRASHED, "", what)


def _of_array(listing: Listing, index: int, preparation: Preparation) -> tuple[npt.NDArray[np.uint8], Row]:
    item = listing.items[index]
    if not isinstance(item, RowItem) or listing.array is None:
        raise ValueError("a listing whose items are rows needs the array they are rows of")
    return row_of_array(listing.array[item.row], preparation)


def _index_rows(listing: Listing, rows: Sequence[Row]) -> Iterator[tuple[object, ...]]:
    for item, label, split, row in zip(listing.items, listing.labels, listing.splits, rows, strict=True):
        width, height = row.original_size
        yield (
            item.name,
            row.sha256,
            int(label),
            str(split),
            width,
            height,
            row.reason,
            row.codes,
            row.detail,
        )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _FREE_MARGIN > free:
        raise ResourceError(
            f"the pack needs {needed / 2**20:,.0f} MiB, the disk has {free / 2**20:,.0f} MiB free",
            where=str(folder.parent),
            remedy="free some space, choose a smaller --image-size, set SACCADE_CACHE to another disk, or let `train` "
            "keep no pack: --stream",
        )
