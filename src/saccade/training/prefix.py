"""The frozen prefix, computed once per picture and view, and trained from.

Where the first stages of a network are frozen, what they give for a picture never changes. `Prefix` computes it,
`store.py` keeps it, and `Tail` is the rest of the network, which trains on it as if it saw the pictures: the same
losses to rounding error, at the price of the rest alone. It knows networks through their stages only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from saccade.training.sources import Counted
from saccade.training.store import FeatureStore, Layout, MemoryStore
from saccade.training.trainable import Outputs, TrainingOutputs

# Pixels of a batch for the prefix: 32 pictures of 224 pixels, more of smaller ones; a bound on memory.
_BATCH_PIXELS = 32 * 224 * 224
_SMALLEST_BATCH, _LARGEST_BATCH = 8, 512


class Divisible(Protocol):
    """What the prefix needs of a network; every `models.network.Network` has it."""

    stages: nn.Sequential
    head: nn.Module
    frozen_stages: Collection[str]
    l2: Mapping[str, float]

    @property
    def normalise(self) -> nn.Module:
        """What comes before the stages."""

    def before(self, images: Tensor, num_stages: int) -> Tensor:
        """Images in 0..255 through the first stages."""

    def after(self, x: Tensor, num_stages: int) -> TrainingOutputs:
        """What `before` gave, through the rest."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All of them."""

    def train(self, mode: bool = True) -> nn.Module:
        """Switch to training mode."""

    def eval(self) -> nn.Module:
        """Switch to inference mode."""


class Pixels(Counted, Protocol):
    """Pictures by row, view and epoch; `data.batches.Batches` is one."""

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Of all pictures of the part."""

    def plan(self, epoch: int) -> Iterator[npt.NDArray[np.int64]]:
        """The rows of each batch of an epoch, in order."""

    def shared(self, rank: int, size: int) -> Pixels:
        """The same batches, of each the share of one of several processes."""

    def share_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The part of a batch that this process sees."""

    def view_of(self, epoch: int) -> int:
        """Which random view of its pictures an epoch shows; 0 is the pictures as they are."""

    def pictures(self, rows: npt.NDArray[np.int64], view: int) -> Tensor:
        """(B, C, H, W) in 0..255, on the device."""

    def labels_of(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """int64 (B,), on the device."""

    def release(self) -> None:
        """Give back the memory of pixels that were read."""


def num_frozen(network: Divisible) -> int:
    """How many stages at the beginning are frozen; 0 where none of them has a parameter that could be spared."""
    count = 0
    for name in dict(network.stages.named_children()):
        if name not in network.frozen_stages:
            break
        count += 1
    return count if any(True for stage in list(network.stages)[:count] for _ in stage.parameters()) else 0


class Prefix:
    """The frozen stages at the beginning and, where all are frozen, the layers of the head that only reshape or pool.

    Args:
        network: frozen as it will be trained; nothing is copied.
        dtype: float32, or bfloat16 under autocast.
    """

    def __init__(self, network: Divisible, dtype: torch.dtype) -> None:
        self.network = network
        self.dtype = dtype
        self.num_stages = num_frozen(network)
        self.head_layers = _plain_layers(network.head) if self.num_stages == len(network.stages) else []

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in 0..255 -> features (B, ...), in the type the last layer gives."""
        self.network.eval()
        with self._autocast(images.device):
            x = self.network.before(images.contiguous(memory_format=torch.channels_last), self.num_stages)
        pooled = x.float()
        for layer in self.head_layers:
            pooled = layer(pooled)
        # A mean is worth its digits; values that were only reshaped have no more of them than before.
        return pooled if pooled.numel() < x.numel() else pooled.to(x.dtype)

    def identity(self) -> dict[str, object]:
        """What the features depend on besides the pictures: which layers, with which weights, in which type."""
        digest = hashlib.sha256()
        stages = list(self.network.stages.named_children())[: self.num_stages]
        parts = [("normalise", self.network.normalise), *stages]
        for part, module in parts:
            for name, tensor in module.state_dict().items():
                digest.update(f"{part}.{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        layers = [*(f"{name}: {stage}" for name, stage in stages), *map(str, self.head_layers)]
        digest.update("\n".join(layers).encode())
        return {
            "weights": digest.hexdigest(),
            "num_stages": self.num_stages,
            "computed_in": str(self.dtype).removeprefix("torch."),
        }

    def in_words(self) -> str:
        """`stem to layer3_1` and, where it goes on, `head.pool`."""
        names = [name for name, _ in self.network.stages.named_children()][: self.num_stages]
        span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        return f"{span} and the head's pooling" if self.head_layers else span

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(device.type, self.dtype)


def _plain_layers(head: nn.Module) -> list[nn.Module]:
    """The layers at the beginning of a head that compute the same for ever: no parameters, no dropout."""
    layers: list[nn.Module] = []
    for layer in head if isinstance(head, nn.Sequential) else ():
        if any(True for _ in layer.parameters()) or isinstance(layer, nn.Dropout):
            break
        layers.append(layer)
    return layers


class Tail:
    """The rest of a network behind its prefix, trainable like the whole of it: it takes features for images."""

    def __init__(self, prefix: Prefix) -> None:
        self.network = prefix.network
        self.stages = prefix.network.stages
        self.l2 = prefix.network.l2
        self.head = prefix.network.head
        self._num_stages = prefix.num_stages
        self._skipped = len(prefix.head_layers)

    def training_outputs(self, images: Tensor) -> TrainingOutputs:
        """Features (N, ...), here called images, to everything the loss looks at."""
        x = images.float()
        if not self._skipped:
            return self.network.after(x, self._num_stages)
        for layer in list(self.head.children())[self._skipped :]:
            x = layer(x)
        return Outputs(x, {})

    def __call__(self, images: Tensor) -> Tensor:
        """Features (N, ...), here called images, to logits (N, K)."""
        return self.training_outputs(images).logits

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of the whole network, learning or not."""
        return self.network.parameters()

    def train(self, mode: bool = True) -> nn.Module:
        """Switch to training mode; what is frozen stays as it is."""
        return self.network.train(mode)

    def eval(self) -> nn.Module:
        """Switch to inference mode."""
        return self.network.eval()


def as_kept(features: Tensor) -> Tensor:
    """Maps are kept with their channels last, as they are computed: (N, D, h, w) -> (N, h, w, D)."""
    return (features.permute(0, 2, 3, 1) if features.ndim == 4 else features).contiguous()


def as_given(kept: Tensor) -> Tensor:
    """The opposite, without a copy: in this order of memory the rest of the network computes the very same bits."""
    return kept.permute(0, 3, 1, 2) if kept.ndim == 4 else kept


class FeatureBatch(NamedTuple):
    """Features (B, ...) on the device, under the name that the loop knows, and labels int64 (B,)."""

    images: Tensor
    labels: Tensor
    mixed: None = None


class CachedBatches:
    """The batches of `pixels`, in the same order, with features for pictures.

    Args:
        pixels: whose plan and labels are followed.
        stores: for each view that an epoch may show; row i of a store is the picture `pixels.rows` sorted, at i.
        device: where features go.
    """

    def __init__(self, pixels: Pixels, stores: Mapping[int, FeatureStore | MemoryStore], device: torch.device) -> None:
        self._pixels = pixels
        self._stores = stores
        self._device = device
        self._sorted = np.sort(pixels.rows)

    @property
    def num_pictures(self) -> int:
        """In an epoch."""
        return self._pixels.num_pictures

    @property
    def num_batches(self) -> int:
        """In an epoch."""
        return self._pixels.num_batches

    @property
    def class_counts(self) -> Sequence[int]:
        """How many pictures of the part each class has."""
        return self._pixels.class_counts

    def shared(self, rank: int, size: int) -> CachedBatches:
        """The same batches, of each the share of one of several processes."""
        return CachedBatches(self._pixels.shared(rank, size), self._stores, self._device)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[FeatureBatch]:
        """All pictures once, without those of the `first` batches."""
        view = self._pixels.view_of(epoch)
        store = self._stores[view]
        for rows in map(self._pixels.share_of, islice(self._pixels.plan(epoch), first, None)):
            features = as_given(store.rows(np.searchsorted(self._sorted, rows)))
            yield FeatureBatch(features.to(self._device, non_blocking=True), self._pixels.labels_of(rows))


def layout_of(prefix: Prefix, pixels: Pixels) -> Layout:
    """What a store of these pictures would hold; the prefix runs on one of them to know."""
    picture = pixels.pictures(pixels.rows[:1], 0)
    features = as_kept(prefix(picture))
    fitting = _BATCH_PIXELS // (picture.shape[-1] * picture.shape[-2])
    chunk_rows = int(np.clip(fitting, _SMALLEST_BATCH, _LARGEST_BATCH))
    return Layout(pixels.num_pictures, tuple(features.shape[1:]), features.dtype, chunk_rows)


def fill_store(
    store: FeatureStore | MemoryStore, prefix: Prefix, pixels: Pixels, view: int, progress: Callable[[int], None]
) -> int:
    """Compute what is missing in a store; returns how many pictures were computed.

    Raises:
        Timeout: another process is filling it.
        OSError: the disk is full or cannot be written.
    """
    rows = np.sort(pixels.rows)

    def compute(start: int, stop: int) -> Tensor:
        features = as_kept(prefix(pixels.pictures(rows[start:stop], view)))
        pixels.release()
        return features

    return store.fill(compute, progress)
