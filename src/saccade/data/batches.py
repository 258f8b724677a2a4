"""Batches: a pack and row numbers -> (images, labels) on a device, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saccade.data.augment import Augmentation, augment, draw, enlarge, generator_for


class Batch(NamedTuple):
    """Images (B, C, size, size) in 0..255 (uint8 where nothing changed them), labels int64 (B,), pack rows (B,)."""

    images: Tensor
    labels: Tensor
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batches:
    """A part of a pack, batch by batch.

    Attributes:
        images: uint8 (N, side, side, C), usually `Pack.images`.
        labels: int64 (N,).
        rows: the pictures of this part, as rows of `images`.
        size: side of the pictures that come out; smaller ones are enlarged on the device.
        seed: with the epoch it decides the order and what augmentation does.
        augmentation: None for pictures as they are, in the order of `rows`; else shuffled anew every epoch.
        views: epochs cycle through so many fixed random views of each picture; 0 for a fresh one every epoch.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    batch_size: int
    size: int
    device: torch.device
    seed: int = 0
    augmentation: Augmentation | None = None
    views: int = 0

    @property
    def num_pictures(self) -> int:
        """Pictures in an epoch; each comes exactly once."""
        return len(self.rows)

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return len(self._bounds())

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The rows in the order in which this epoch shows them."""
        if self.augmentation is None:
            return self.rows
        shuffled = torch.randperm(len(self.rows), generator=generator_for(self.seed, epoch, stream=0))
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

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """All pictures of the part once."""
        view = self.view_of(epoch)
        for rows in self.plan(epoch):
            yield Batch(self.pictures(rows, view), self.labels_of(rows), rows)

    def pictures(self, rows: npt.NDArray[np.int64], view: int) -> Tensor:
        """One view of some pictures: (B, C, size, size) in 0..255, on the device."""
        images = self._on_device(rows)
        if view == 0 or self.augmentation is None:
            return enlarge(images, self.size)
        draws = _draws(len(self.labels), self.seed, view)
        return augment(images, draws[torch.from_numpy(rows)], self.augmentation, self.size)

    def labels_of(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """int64 (B,), on the device."""
        return torch.from_numpy(self.labels[rows]).to(self.device)

    def release(self) -> None:
        """Let the system take back the memory of the mapped pixels that were read; they are read again when needed."""
        mapped = self.images.base
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    def _on_device(self, rows: npt.NDArray[np.int64]) -> Tensor:
        # Fancy indexing is the one copy out of the map; the permuted view is channels_last without another.
        pixels = torch.from_numpy(np.asarray(self.images)[rows])
        return pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def _bounds(self) -> list[tuple[int, int]]:
        total = len(self.rows)
        starts = list(range(0, total, self.batch_size))
        # BatchNorm cannot learn from a single picture: a last one that would be alone joins the batch before it.
        if len(starts) > 1 and self.batch_size > 1 and total - starts[-1] == 1:
            starts.pop()
        return list(zip(starts, [*starts, total][1:], strict=True))


@lru_cache(maxsize=2)
def _draws(num_pictures: int, seed: int, view: int) -> Tensor:
    """All pictures' random numbers of one view, kept while its batches are made."""
    return draw(num_pictures, seed, view)
