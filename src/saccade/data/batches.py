"""Batches: a pack and row numbers -> (images, labels) on a device, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.data.augment import Augmentation, Draws, OwnChange, augment, draw_all, enlarge
from saccade.data.draws import Stream, generator_for
from saccade.data.mixing import Mixed, Mixing, draw_mixing, mix
from saccade.data.sampling import balanced_order
from saccade.data.streamed import Streamed
from saccade.errors import DataError

_RESIDENT_SHARE = 0.25  # of a GPU's free memory that pictures may take
_RESIDENT_STEP = 4096


class Batch(NamedTuple):
    """Images (B, C, size, size) in 0..255 (uint8 where nothing changed them), labels int64 (B,), pack rows (B,).

    `mixed` tells the labels of pictures that are mixtures of two; `labels` are then those of the first.
    """

    images: Tensor
    labels: Tensor
    rows: npt.NDArray[np.int64]
    mixed: Mixed | None = None


class Share(NamedTuple):
    """Which share of every batch: that of process `rank` of `size` processes that learn together."""

    rank: int = 0
    size: int = 1

    def of(self, num_pictures: int) -> slice:
        """Of a batch of so many pictures; shares differ by one at most.

        BatchNorm cannot learn from a single picture, so where there are too few for everybody to have two, some have
        none.
        """
        takers = max(1, min(self.size, num_pictures // 2))
        first, last = (num_pictures * min(rank, takers) // takers for rank in (self.rank, self.rank + 1))
        return slice(first, last)


_WHOLE = Share()


@dataclass(frozen=True)
class Batches:
    """A part of a pack, batch by batch.

    Attributes:
        images: uint8 (N, side, side, C), usually `Pack.images`; streamed ones are decoded a little ahead.
        labels: int64 (N,).
        rows: the pictures of this part, as rows of `images`.
        size: side of the pictures that come out; smaller ones are enlarged on the device.
        seed: with the epoch it decides the order and what augmentation does.
        augmentation: None for pictures as they are, in the order of `rows`; else shuffled anew every epoch.
        views: epochs cycle through so many fixed random views of each picture; 0 for a fresh one every epoch.
        mixing: of pairs within a batch; None for pictures by themselves.
        num_classes: of the pack, which a part need not show all of; 0: those that it shows.
        balanced: epochs show every class equally often, see sampling.py; of no effect where nothing is shuffled.
        resident: the whole of `images` on the device, see `resident_images`; None: batches are fetched from the map.
        sides: of the pictures in the first epochs, where they are to be smaller than `size` at first.
        share: of every batch that `epoch` gives; the order and the batches are the same whatever it is.
    """

    images: npt.NDArray[np.uint8] | Streamed
    labels: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    batch_size: int
    size: int
    device: torch.device
    seed: int = 0
    augmentation: Augmentation | None = None
    views: int = 0
    mixing: Mixing | None = None
    resident: Tensor | None = None
    num_classes: int = 0
    balanced: bool = False
    sides: tuple[int, ...] = ()
    share: Share = _WHOLE

    @property
    def class_counts(self) -> list[int]:
        """How many pictures of the part each class has."""
        counts: list[int] = np.bincount(self.labels[self.rows], minlength=self.num_classes).tolist()
        return counts

    @property
    def num_pictures(self) -> int:
        """Pictures in an epoch; each comes exactly once, unless classes are balanced."""
        return len(self.rows)

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return len(self._bounds())

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The rows in the order in which this epoch shows them."""
        if self.augmentation is None:
            return self.rows
        if self.balanced:
            return balanced_order(self.rows, self.labels[self.rows], self.seed, epoch)
        shuffled = torch.randperm(len(self.rows), generator=generator_for(self.seed, epoch, Stream.ORDER))
        return np.asarray(self.rows[shuffled.numpy()], dtype=np.int64)

    def plan(self, epoch: int) -> Iterator[npt.NDArray[np.int64]]:
        """The rows of each batch of an epoch, in order."""
        order = self.order(epoch)
        for start, stop in self._bounds():
            yield order[start:stop]

    def view_of(self, epoch: int) -> int:
        """Which view of its pictures an epoch shows: 0 as they are, else the random draws of that number."""
        if self.augmentation is None or self.augmentation.changes_nothing:
            return 0
        return (epoch - 1) % self.views + 1 if self.views else epoch

    def shared(self, rank: int, size: int) -> Batches:
        """The same batches, of which a process with this number, of so many, sees its share."""
        return replace(self, share=Share(rank, size))

    def share_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The part of a batch that this process sees."""
        return rows[self.share.of(len(rows))]

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """All pictures of the part once, without those of the `first` batches; of each batch the own share."""
        view = self.view_of(epoch)
        for rows in self._ahead(islice(self.plan(epoch), first, None)):
            own = self.share_of(rows)
            if len(own) == 0:
                yield Batch(self._nothing(), self.labels_of(own), own)
            elif self.mixing is None:
                yield Batch(self._reduced(self.pictures(own, view), epoch), self.labels_of(own), own)
            else:
                mixed = self._mixed(rows, epoch, self.mixing)
                yield mixed._replace(images=self._reduced(mixed.images, epoch))

    def pictures(self, rows: npt.NDArray[np.int64], view: int) -> Tensor:
        """One view of some pictures: (B, C, size, size) in 0..255, on the device."""
        images = self._on_device(rows)
        if view == 0 or self.augmentation is None:
            return enlarge(images, self.size).contiguous(memory_format=torch.channels_last)
        draws = _draws(len(self.labels), self.augmentation, self.seed, view).of(torch.from_numpy(rows), self.device)
        changed = augment(images, draws, self.augmentation, self.size)
        if self.augmentation.own is not None:
            generator = generator_for(self.seed, view, Stream.OWN, int(rows[0]))
            changed = own_change(changed, self.augmentation.own, generator)
        # In this order of memory convolutions are faster, and the same whatever batch a picture is in.
        return changed.contiguous(memory_format=torch.channels_last)

    def _mixed(self, rows: npt.NDArray[np.int64], epoch: int, mixing: Mixing) -> Batch:
        """The own share of a batch, each picture mixed with the one before it in the whole batch."""
        own = self.share.of(len(rows))
        alone = len(rows) == own.stop - own.start
        # The partner of a share's first picture belongs to another share: it comes along, and leaves again.
        shown = rows if alone else np.concatenate([rows[own.start - 1 : own.start or None], rows[own]])
        draws = _mixing_draws(len(self.labels), mixing, self.seed, epoch)[torch.from_numpy(shown)]
        labels = self.labels_of(shown)
        images, mixed = mix(self.pictures(shown, self.view_of(epoch)), labels, draws.to(self.device), mixing)
        if not alone:
            images, labels, mixed = images[1:], labels[1:], Mixed(*(each[1:] for each in mixed))
        return Batch(images.contiguous(memory_format=torch.channels_last), labels, rows[own], mixed)

    def _reduced(self, images: Tensor, epoch: int) -> Tensor:
        """At the side of an early epoch: every pixel that comes out is a mean of those that it stands for."""
        if self.augmentation is None or not 1 <= epoch <= len(self.sides) or self.sides[epoch - 1] == self.size:
            return images
        side = self.sides[epoch - 1]
        reduced = F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True)
        return reduced.contiguous(memory_format=torch.channels_last)

    def _nothing(self) -> Tensor:
        return torch.empty(0, self.images.shape[3], self.size, self.size, device=self.device)

    def labels_of(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """int64 (B,), on the device."""
        return torch.from_numpy(self.labels[rows]).to(self.device)

    def _ahead(self, batches: Iterator[npt.NDArray[np.int64]]) -> Iterator[npt.NDArray[np.int64]]:
        return self.images.ahead(batches, self.share_of) if isinstance(self.images, Streamed) else batches

    def release(self) -> None:
        """Let the system take back the memory of the mapped pixels that were read; they are read again when needed."""
        mapped = None if isinstance(self.images, Streamed) else self.images.base
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    def _on_device(self, rows: npt.NDArray[np.int64]) -> Tensor:
        if self.resident is not None:
            return self.resident[torch.from_numpy(rows).to(self.device, non_blocking=True)].permute(0, 3, 1, 2)
        # Fancy indexing is the one copy out of the map; the permuted view is channels_last without another.
        images = self.images if isinstance(self.images, Streamed) else np.asarray(self.images)
        pixels = torch.from_numpy(images[rows])
        return pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def _bounds(self) -> list[tuple[int, int]]:
        total = len(self.rows)
        starts = list(range(0, total, self.batch_size))
        # BatchNorm cannot learn from a single picture: a last one that would be alone joins the batch before it.
        if len(starts) > 1 and self.batch_size > 1 and total - starts[-1] == 1:
            starts.pop()
        return list(zip(starts, [*starts, total][1:], strict=True))


def own_change(images: Tensor, own: OwnChange, generator: torch.Generator) -> Tensor:
    """What a caller's own function makes of a batch: float32, of the same shape, on the same device.

    Raises:
        DataError: it is something else.
    """
    changed = own(images, generator)
    if isinstance(changed, Tensor) and changed.shape == images.shape and changed.device == images.device:
        return changed.float()
    found = f"{tuple(changed.shape)} on {changed.device}" if isinstance(changed, Tensor) else type(changed).__name__
    raise DataError(
        f"an augmentation must return a batch like the one it gets, {tuple(images.shape)} on {images.device}; "
        f"this one returned {found}",
        where="augment_with",
        remedy="return a tensor of the same shape, 0..255, on the same device",
    )


def resident_images(images: npt.NDArray[np.uint8] | Streamed, device: torch.device) -> Tensor | None:
    """A whole pack as uint8 on a GPU, where it takes no more than a quarter of what is free there; else None."""
    if device.type != "cuda" or isinstance(images, Streamed):
        return None
    if images.nbytes > _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
        return None
    whole = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), _RESIDENT_STEP):  # the map is read-only, and torch wants to be able to write
        whole[start : start + _RESIDENT_STEP] = torch.from_numpy(np.array(images[start : start + _RESIDENT_STEP]))
    return whole


@lru_cache(maxsize=2)
def _draws(num_pictures: int, augmentation: Augmentation, seed: int, view: int) -> Draws:
    """All pictures' random numbers of one view, kept while its batches are made."""
    return draw_all(num_pictures, augmentation, seed, view)


@lru_cache(maxsize=1)
def _mixing_draws(num_pictures: int, mixing: Mixing, seed: int, epoch: int) -> Tensor:
    return draw_mixing(num_pictures, mixing, seed, epoch)
