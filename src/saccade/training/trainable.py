"""What training needs of a network, and what it learns from: every architecture has this surface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from torch import Tensor, nn


class TrainingOutputs(Protocol):
    """Logits (N, K), and those of auxiliary classifiers by name."""

    @property
    def logits(self) -> Tensor:
        """Of the main head."""

    @property
    def auxiliary(self) -> dict[str, Tensor]:
        """By stage name; empty for most networks."""


class Outputs(NamedTuple):
    """TrainingOutputs made here: logits (N, K), and those of auxiliary classifiers by stage name."""

    logits: Tensor
    auxiliary: dict[str, Tensor]


class Trainable(Protocol):
    """What training needs of a network; every `models.network.Network` has it."""

    stages: nn.Sequential
    head: nn.Module
    l2: Mapping[str, float]

    def training_outputs(self, images: Tensor) -> TrainingOutputs:
        """Images (N, C, H, W) in 0..255 to everything the loss looks at."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All of them, learning or not."""

    def train(self, mode: bool = True) -> nn.Module:
        """Switch to training mode."""

    def eval(self) -> nn.Module:
        """Switch to inference mode."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in 0..255 to logits (N, K)."""


class MixedLabels(Protocol):
    """The labels of pictures that are mixtures of two: `shares` (N,) of the first, the rest of its partner."""

    @property
    def labels(self) -> Tensor:
        """int64 (N,)."""

    @property
    def partners(self) -> Tensor:
        """int64 (N,)."""

    @property
    def shares(self) -> Tensor:
        """float (N,) in 0..1."""
