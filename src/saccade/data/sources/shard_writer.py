"""Labelled pictures -> WebDataset shards: the files' bytes as they are, three members per picture, and shards.json."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from saccade.data.listing import SPLITS, Listing, RowItem, Skipped
from saccade.data.refusals import accepted_format
from saccade.data.sources.read import read_item
from saccade.data.sources.shard_manifest import MANIFEST, MANIFEST_FORMAT
from saccade.errors import DataError, PictureError, ResourceError, UsageError

DEFAULT_SHARD_MEGABYTES = 512
_SUFFIX_OF = MappingProxyType(
    {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "GIF": "gif", "TIFF": "tif", "AVIF": "avif"}
)
_BLOCK, _TRAILER = 512, 10_240  # of a tar: what a member is rounded up to, and what stands behind the last one


class Sample(NamedTuple):
    """A picture on its way into a shard: where it came from, its bytes, what it shows, its part and its group."""

    name: str
    data: bytes
    label: int
    split: str
    group: str = ""


class Target(NamedTuple):
    """Where shards go: a new folder, the beginning of their names, and the size none should exceed, in bytes."""

    folder: Path
    name: str
    max_bytes: int = DEFAULT_SHARD_MEGABYTES * 10**6


class Shard(NamedTuple):
    """A finished shard, as shards.json describes it."""

    file: str
    split: str
    num_pictures: int
    bytes: int
    sha256: str


class Written(NamedTuple):
    """What was written, and what was left out because it could not be read or is no picture."""

    shards: tuple[Shard, ...]
    skipped: tuple[Skipped, ...]

    @property
    def num_pictures(self) -> int:
        """Over all shards."""
        return sum(shard.num_pictures for shard in self.shards)


def pack_shards(listing: Listing, target: Target, progress: Callable[[int, int], None]) -> Written:
    """Write the pictures of a listing, one part after the other, shuffled within each by a fixed seed.

    A file that cannot be read or is no picture is left out; whether a picture decodes is found out in training.

    Raises:
        UsageError: the folder exists and is not empty.
        ResourceError: the disk is full or cannot be written; nothing is left behind.
        DataError: no picture can be used.
    """
    skipped: list[Skipped] = []
    shards = write_shards(_samples(listing, skipped, progress), target, listing.class_names)
    return Written(shards, (*listing.skipped, *skipped))


def write_shards(samples: Iterable[Sample], target: Target, class_names: Sequence[str]) -> tuple[Shard, ...]:
    """Write samples in their order into a folder that appears when it is whole; a part begins a shard of its own.

    Raises:
        UsageError, ResourceError, DataError: as `pack_shards`.
    """
    folder = target.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("the folder for the shards is there and not empty", where=str(folder), remedy="name a new one")
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        shards = tuple(_write_all(samples, target._replace(folder=partial), class_names))
        if not shards:
            raise DataError("there is no picture to write", where=str(folder), remedy="check the pictures")
        (partial / MANIFEST).write_text(_manifest(shards, class_names), encoding="utf-8")
        with suppress(FileNotFoundError):
            folder.rmdir()  # an empty one, which a rename replaces on Linux alone
        partial.rename(folder)
    except OSError as error:
        free = shutil.disk_usage(folder.parent).free if folder.parent.is_dir() else 0
        room = f"; {free / 2**20:,.0f} MiB are free" if error.errno == errno.ENOSPC else ""
        raise ResourceError(
            f"the shards cannot be written: {error.strerror or error}{room}",
            where=str(folder),
            remedy="free some space there, or name a folder on another disk",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return shards


def _write_all(samples: Iterable[Sample], target: Target, class_names: Sequence[str]) -> Iterator[Shard]:
    waiting = _Waiting(iter(samples))
    for number in range(10**6):
        if waiting.next is None:
            return
        path = target.folder / f"{target.name}-{number:06}.tar"
        split = waiting.next.split
        first = waiting.index
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            while waiting.next is not None and waiting.next.split == split:
                members = _members(waiting.next, f"{waiting.index:09}", class_names)
                size = sum(_BLOCK + -(-len(data) // _BLOCK) * _BLOCK for _, data in members)
                if waiting.index > first and tar.offset + size + _TRAILER > target.max_bytes:
                    break
                for name, data in members:
                    _add(tar, name, data)
                waiting.advance()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        yield Shard(path.name, split, waiting.index - first, path.stat().st_size, sha256)


class _Waiting:
    """The next sample, looked at before it is taken."""

    def __init__(self, samples: Iterator[Sample]) -> None:
        self._samples = samples
        self.index = 0
        self.next = next(samples, None)

    def advance(self) -> None:
        self.next = next(self._samples, None)
        self.index += 1


def _members(sample: Sample, key: str, class_names: Sequence[str]) -> list[tuple[str, bytes]]:
    about = {
        "class_name": class_names[sample.label],
        "label": sample.label,
        "split": sample.split,
        "sha256": hashlib.sha256(sample.data).hexdigest(),
        "path": sample.name,
    }
    if sample.group:
        about["group"] = sample.group
    suffix = _SUFFIX_OF[accepted_format(sample.data, sample.name)]
    text = json.dumps(about, ensure_ascii=True).encode()
    return [(f"{key}.{suffix}", sample.data), (f"{key}.cls", str(sample.label).encode()), (f"{key}.json", text)]


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # time 0, no owner: the same pictures give the same bytes
    info.size = len(data)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(data))


def _manifest(shards: Sequence[Shard], class_names: Sequence[str]) -> str:
    about = {
        "format": MANIFEST_FORMAT,
        "written_by": f"saccade {version('saccade')}",
        "class_names": list(class_names),
        "num_pictures": sum(shard.num_pictures for shard in shards),
        "shards": [shard._asdict() for shard in shards],
    }
    return json.dumps(about, indent=1) + "\n"


def _samples(listing: Listing, skipped: list[Skipped], progress: Callable[[int, int], None]) -> Iterator[Sample]:
    """Readable pictures whose class is known, part after part: who streams shards wants each part well mixed."""
    rank = np.array([SPLITS.index(split) for split in listing.splits.tolist()])
    order = np.lexsort((np.random.default_rng(0).permutation(len(listing)), rank))
    for done, row in enumerate(order.tolist()):
        progress(done + 1, len(listing))
        item = listing.items[row]
        try:
            data = _png(listing, item) if isinstance(item, RowItem) else read_item(item)
            accepted_format(data, item.name)
        except PictureError as error:
            skipped.append(Skipped(item.name, error.reason, error.what))
            continue
        label = int(listing.labels[row])
        if label >= 0:
            yield Sample(item.name, data, label, str(listing.splits[row]), str(listing.groups[row]))


def _png(listing: Listing, item: RowItem) -> bytes:
    if listing.array is None:
        raise ValueError("a listing whose items are rows needs the array they are rows of")
    return png_of(listing.array[item.row])


def png_of(pixels: npt.NDArray[np.uint8]) -> bytes:
    """uint8 (H, W, 1) or (H, W, 3) as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
