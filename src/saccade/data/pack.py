"""The pack: every picture decoded once into one memory-mapped uint8 array, beside its index.

Where pixels are not to be kept (`Work.stream`) the index is all there is on disk: streamed.py stands for the array.

`open_pack` is the door: it finds the pack of these pictures and settings in the cache directory, or has
`packing.py` build it. The files are described byte by byte in docs/formats.md.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

from saccade.data.cache import cache_folder
from saccade.data.cells import printable, read_csv
from saccade.data.listing import FileItem, Listing, RowItem, Skipped, SpanItem
from saccade.data.looks import LOOK, Looks, read_looks
from saccade.data.packing import IMAGES_FILE, INDEX_HEADER, PACK_FORMAT, Work, build_pack, discard, strict_refusal
from saccade.data.prepare import PackSettings, Preparation
from saccade.data.sources.read import read_item
from saccade.data.sources.shard_manifest import check_sums
from saccade.data.streamed import Streamed
from saccade.errors import DataError, PictureError

# Reasons that lie outside the picture: a permission, a cable, a bad download. They can end without a trace in it.
_UNREAD = frozenset({"missing", "permission_denied", "io_error", "damaged_member"})


@dataclass(frozen=True)
class Pack:
    """Decoded pictures. Row i of every attribute is item i of the listing; broken pictures keep an empty row.

    Attributes:
        images: uint8 (N, side, side, C), memory-mapped, read-only; or to be indexed like that, where none are kept.
        names: as in the listing, in printable form.
        labels: int64 (N,), -1 where unknown.
        splits: (N,) as given by the owner of the pictures.
        reasons: (N,) "" where the picture can be used, else its reason code.
        codes: per picture, what was noted while decoding, separated by spaces.
        preparation: how further pictures become pixels like these.
        reused: whether it was found, not built.
    """

    folder: Path
    images: npt.NDArray[np.uint8] | Streamed
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    splits: npt.NDArray[np.str_]
    class_names: tuple[str, ...]
    reasons: tuple[str, ...]
    codes: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    preparation: Preparation
    fingerprint: str
    reused: bool

    @property
    def usable(self) -> npt.NDArray[np.int64]:
        """Rows whose picture was decoded and whose class is known."""
        decoded = np.array([reason == "" for reason in self.reasons], dtype=bool)
        return np.flatnonzero(decoded & (self.labels >= 0))

    @property
    def is_streamed(self) -> bool:
        """Whether pixels are decoded whenever they are asked for."""
        return isinstance(self.images, Streamed)

    @cached_property
    def looks(self) -> Looks:
        """What the pictures look like, (N,) of type `LOOK`, memory-mapped; zeros where a picture is broken."""
        return read_looks(self.folder)

    def noted(self) -> dict[str, int]:
        """How many pictures carry each decoder code, the most frequent first."""
        return dict(Counter(code for codes in self.codes for code in codes.split()).most_common())


def open_pack(listing: Listing, settings: PackSettings, work: Work) -> Pack:
    """The pack of these pictures: found in the cache when nothing changed, else built.

    Raises:
        PictureError: with `work.strict`, the first broken picture.
        ResourceError: the disk of the cache directory is too small or cannot be written.
        DataError: no picture at all can be used.
        ArchiveError: a shard is not what its shards.json says.
    """
    if len(listing) == 0:
        raise DataError("there is no picture to pack", where=listing.source)
    fingerprint = fingerprint_of(listing, settings)
    folder = cache_folder() / "packs" / f"{_readable(listing.source)}-{fingerprint[:16]}"
    found = _read_pack(folder, listing, fingerprint, work, reused=True)
    if found is None and work.stream:
        folder = folder.with_name(f"{folder.name}-index")
        found = _read_pack(folder, listing, fingerprint, work, reused=True)
    if found is not None and not _was_mended(found, listing):
        broken = found.skipped[len(listing.skipped) :]
        if work.strict and broken:
            raise strict_refusal(broken[0])
        return found
    check_sums(dict.fromkeys(item.archive for item in listing.items if isinstance(item, SpanItem)))
    discard(folder)
    about = {"format": PACK_FORMAT, "fingerprint": fingerprint, "settings": asdict(settings)}
    build_pack(listing, settings, folder, about, work)
    built = _read_pack(folder, listing, fingerprint, work, reused=False)
    if built is None:
        raise DataError("the pack that was just written cannot be read back", where=str(folder))
    return built


def fingerprint_of(listing: Listing, settings: PackSettings) -> str:
    """64 hexadecimal digits that change when the pictures, their labels or the settings change."""
    in_files = len(listing) > 0 and isinstance(listing.items[0], FileItem)
    text = json.dumps(
        {
            "format": PACK_FORMAT,
            "settings": asdict(settings),
            # Sizes and times identify files only together with the place they lie in; checksums need no place.
            "place": os.path.realpath(listing.source) if in_files else "",
            "class_names": listing.class_names,
            "decoder": f"pillow {PIL.__version__}",
        },
        sort_keys=True,
    )
    digest = hashlib.sha256(printable(text).encode())
    digest.update(listing.stamp)
    digest.update(listing.labels.tobytes())
    digest.update("\n".join(listing.splits.tolist()).encode())
    return digest.hexdigest()


def _readable(source: str) -> str:
    stem = Path(source).name.split(".")[0]
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in stem)[:40] or "pictures"


def _was_mended(pack: Pack, listing: Listing) -> bool:
    """Whether a picture that could not be read then can be read now, which no stamp of the pictures shows."""
    for item, reason in zip(listing.items, pack.reasons, strict=True):
        if reason in _UNREAD and not isinstance(item, RowItem):
            with suppress(PictureError):
                read_item(item)
                return True
    return False


def _read_pack(folder: Path, listing: Listing, fingerprint: str, work: Work, *, reused: bool) -> Pack | None:
    """The pack in a folder, or None when it is missing, damaged or another one: it is then built again."""
    images: npt.NDArray[np.uint8] | Streamed
    try:
        about: dict[str, Any] = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        looks = read_looks(folder)
        rows = read_csv(folder / "index.csv")
        preparation = Preparation.from_json(about["preparation"])
        if work.stream and not (folder / IMAGES_FILE).exists():
            sums = [row["sha256"] if not row["reason"] else "" for row in rows]
            images = Streamed(listing.items, listing.array, sums, preparation, work.stream)
        else:
            images = np.lib.format.open_memmap(folder / IMAGES_FILE, mode="r")
        right_pack = about["format"] == PACK_FORMAT and about["fingerprint"] == fingerprint
        names = tuple(row["path"] for row in rows)
        right_rows = tuple(rows[0]) == INDEX_HEADER and names == tuple(printable(item.name) for item in listing.items)
    except Exception:  # damaged files raise nearly every kind there is: csv.Error, TokenError, EOFError, ...
        return None
    shape = (len(listing), preparation.side, preparation.side, preparation.channels)
    right_looks = looks.shape == (len(listing),) and looks.dtype == LOOK
    if not right_pack or not right_rows or not right_looks or images.shape != shape:
        return None
    if isinstance(images, np.ndarray) and images.dtype != np.uint8:
        return None
    broken = (Skipped(row["path"], row["reason"], row["detail"]) for row in rows if row["reason"])
    return Pack(
        folder=folder,
        images=images,
        names=names,
        labels=listing.labels,
        splits=listing.splits,
        class_names=listing.class_names,
        reasons=tuple(row["reason"] for row in rows),
        codes=tuple(row["codes"] for row in rows),
        skipped=(*listing.skipped, *broken),
        preparation=preparation,
        fingerprint=fingerprint,
        reused=reused,
    )
