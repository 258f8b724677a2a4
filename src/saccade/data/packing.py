"""Building a pack: decode everything once, in parallel, and put it under its final name only when it is whole."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import numpy.typing as npt

from saccade.data.cells import write_csv
from saccade.data.listing import FileItem, Item, Listing, MemberItem, RowItem, Skipped
from saccade.data.prepare import PackSettings, Preparation, prepare, prepare_pixels
from saccade.data.sources.read import read_item
from saccade.errors import DataError, PictureError, ResourceError

PACK_FORMAT = 1
INDEX_HEADER = ("path", "sha256", "label", "split", "width", "height", "reason", "codes", "detail")

Progress = Callable[[int, int], None]

_PROBED = 16  # pictures looked at to guess the size of all
_CHUNK = 64  # pictures a worker decodes at a time: small enough for a lively progress bar, large enough to be cheap
_ABANDONED_SECONDS = 24 * 3600
_FREE_MARGIN = 64 * 2**20


class Row(NamedTuple):
    """What a worker found out about one picture; `pixels` is None where it cannot be used."""

    pixels: npt.NDArray[np.uint8] | None
    sha256: str
    original_size: tuple[int, int]
    grey: bool
    reason: str
    codes: str
    detail: str


class Work(NamedTuple):
    """How the pictures are decoded: in how many processes, whether the first broken one stops, who is told."""

    workers: int
    strict: bool
    progress: Progress


def build_pack(listing: Listing, settings: PackSettings, folder: Path, about: dict[str, Any], work: Work) -> None:
    """Decode all pictures of a listing into `folder`; an interruption leaves nothing under that name.

    The stored side is the network's, or less where every picture is smaller; that is known only after all were
    decoded, so it is guessed from a few and, when the guess was wrong, the work is done once more.
    """
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    try:
        _discard_abandoned(folder.parent)
        partial.mkdir(parents=True, exist_ok=True)
        preparation = _guess(listing, settings)
        rows = _decode_all(listing, preparation, partial, work)
        if (needed := _preparation(settings, rows)) != preparation:
            preparation = needed
            rows = _decode_all(listing, preparation, partial, work)
        write_csv(partial / "index.csv", INDEX_HEADER, _index_rows(listing, rows))
        text = json.dumps(about | {"num_pictures": len(listing), "preparation": preparation.to_json()}, indent=1)
        (partial / "pack.json").write_text(text, encoding="utf-8")
        _put_in_place(partial, folder)
    except OSError as error:
        raise ResourceError(
            f"the pack cannot be written: {error.strerror or error}",
            where=str(folder.parent),
            remedy="free some space there, or set SACCADE_CACHE to a folder on another disk",
        ) from error
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


def _guess(listing: Listing, settings: PackSettings) -> Preparation:
    """How the pictures will be stored, judged by a few of them spread over the listing."""
    probed = np.unique(np.linspace(0, len(listing) - 1, _PROBED).astype(int)).tolist()
    smallest = Preparation(1, 1, settings.fit, settings.rules)
    return _preparation(settings, [_row(listing, index, smallest) for index in probed])


def _preparation(settings: PackSettings, rows: Sequence[Row]) -> Preparation:
    """The stored side and channels that these pictures call for."""
    usable = [row for row in rows if not row.reason]
    longest = max((max(row.original_size) for row in usable), default=settings.image_size)
    all_grey = settings.grey and all(row.grey for row in usable)
    return Preparation(min(settings.image_size, longest), 1 if all_grey else 3, settings.fit, settings.rules)


def _decode_all(listing: Listing, preparation: Preparation, partial: Path, work: Work) -> list[Row]:
    """Write images.npy; return what was found out about each picture, without its pixels."""
    shape = (len(listing), preparation.side, preparation.side, preparation.channels)
    path = partial / "images.npy"
    path.unlink(missing_ok=True)  # of a wrong guess: its space is free again
    _check_space(partial, math.prod(shape))
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    rows: list[Row] = []
    with closing(_rows(listing, preparation, work.workers)) as found:
        for row in found:
            if row.reason and work.strict:
                raise strict_refusal(Skipped(listing.items[len(rows)].name, row.reason, row.detail))
            if row.pixels is not None:
                images[len(rows)] = row.pixels
            rows.append(row._replace(pixels=None))
            work.progress(len(rows), len(listing))
    images.flush()
    if rows and all(row.reason for row in rows):
        raise DataError(
            f"none of the {len(rows):,} pictures can be used; the first: {rows[0].detail}",
            where=f"{listing.source}: {listing.items[0].name}",
        )
    return rows


def _rows(listing: Listing, preparation: Preparation, workers: int) -> Generator[Row]:
    """One Row per item, in order."""
    if listing.array is not None:  # already decoded: nothing that a process of its own could do faster
        yield from (_row(listing, index, preparation) for index in range(len(listing)))
        return
    chunks = [listing.items[start : start + _CHUNK] for start in range(0, len(listing), _CHUNK)]
    # loky's workers need no __main__ guard in the user's script and never inherit threads or CUDA by fork.
    pool = joblib.Parallel(n_jobs=min(workers, len(chunks)), backend="loky", return_as="generator")
    results = pool(joblib.delayed(_decode_chunk)(chunk, preparation) for chunk in chunks)
    try:
        for rows in results:
            yield from rows
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib's, about work given up: after Ctrl-C that is what was asked for
            results.close()


def _decode_chunk(items: Sequence[Item], preparation: Preparation) -> list[Row]:
    return [_decode_item(item, preparation) for item in items if not isinstance(item, RowItem)]


def _row(listing: Listing, index: int, preparation: Preparation) -> Row:
    item = listing.items[index]
    if not isinstance(item, RowItem):
        return _decode_item(item, preparation)
    if listing.array is None:
        raise ValueError("a listing whose items are rows needs the array they are rows of")
    pixels = listing.array[item.row]
    height, width, channels = pixels.shape
    return Row(
        prepare_pixels(pixels, preparation),
        hashlib.sha256(pixels.tobytes()).hexdigest(),
        (width, height),
        channels == 1,
        reason="",
        codes="",
        detail="",
    )


def _decode_item(item: FileItem | MemberItem, preparation: Preparation) -> Row:
    sha256 = ""
    try:
        data = read_item(item)
        sha256 = hashlib.sha256(data).hexdigest()
        found = prepare(data, item.name, preparation)
    except PictureError as error:
        return Row(None, sha256, (0, 0), False, error.reason, "", error.what)
    return Row(found.pixels, sha256, found.original_size, found.grey, "", " ".join(found.codes), "")


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
            remedy="free some space, choose a smaller --image-size, or set SACCADE_CACHE to another disk",
        )
