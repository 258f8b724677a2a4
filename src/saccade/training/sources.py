"""What training is given of the pictures: batches, from something that shows a part once per epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from saccade.training.trainable import MixedLabels


class LabelledBatch(Protocol):
    """A batch on its device: images (B, C, H, W) in 0..255 and labels (B,), or those of mixed pictures."""

    @property
    def images(self) -> Tensor:
        """(B, C, H, W), 0..255."""

    @property
    def labels(self) -> Tensor:
        """int64 (B,)."""

    @property
    def mixed(self) -> MixedLabels | None:
        """What is learned instead of `labels` where pictures were mixed."""


class Counted(Protocol):
    """A part of the pictures that knows how many it has."""

    @property
    def num_pictures(self) -> int:
        """In an epoch."""

    @property
    def num_batches(self) -> int:
        """In an epoch."""

    @property
    def class_counts(self) -> Sequence[int]:
        """How many pictures of the part each class has."""


class BatchSource(Counted, Protocol):
    """Something that shows every picture of a part once per epoch; `data.batches.Batches` is one."""

    def shared(self, rank: int, size: int) -> BatchSource:
        """The same batches, of each the share of one of several processes; a share may be empty."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[LabelledBatch]:
        """All pictures once, without those of the `first` batches; the order is a function of the epoch."""


class Parts(NamedTuple):
    """The pictures that are learnt from and those that watch."""

    train: BatchSource
    val: BatchSource
