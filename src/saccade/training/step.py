"""One update: images and labels in, weights a little better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AUXILIARY_WEIGHT = 0.3  # Szegedy et al. 2014, section 5, https://arxiv.org/abs/1409.4842


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


class StepResult(NamedTuple):
    """Of one batch, still on the device: loss (), predicted classes (N,) right ().

    `applied` is False where the loss is no finite number: the weights are then as before.
    """

    loss: Tensor
    num_correct: Tensor
    applied: bool = True


def loss_of(
    network: Trainable, outputs: TrainingOutputs, labels: Tensor | MixedLabels, label_smoothing: float
) -> Tensor:
    """Mean cross-entropy of the batch, plus auxiliary classifiers at 0.3, plus the L2 of single stages."""
    loss = _cross_entropy(outputs.logits, labels, label_smoothing)
    for logits in outputs.auxiliary.values():
        loss = loss + AUXILIARY_WEIGHT * _cross_entropy(logits, labels, label_smoothing)
    for stage, strength in network.l2.items():
        for parameter in network.stages.get_submodule(stage).parameters():
            if parameter.ndim > 1 and parameter.requires_grad:
                loss = loss + strength * parameter.square().sum()
    return loss


def _cross_entropy(logits: Tensor, labels: Tensor | MixedLabels, label_smoothing: float) -> Tensor:
    if isinstance(labels, Tensor):
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    first, second = (
        F.cross_entropy(logits, each, reduction="none", label_smoothing=label_smoothing)
        for each in (labels.labels, labels.partners)
    )
    return torch.lerp(second, first, labels.shares).mean()


def _dominant(labels: Tensor | MixedLabels) -> Tensor:
    """The label that a mixture has most of."""
    if isinstance(labels, Tensor):
        return labels
    return torch.where(labels.shares >= 0.5, labels.labels, labels.partners)


def update(
    network: Trainable,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor | MixedLabels,
    label_smoothing: float,
) -> StepResult:
    """Forward, backward, update."""
    outputs = network.training_outputs(images)
    loss = loss_of(network, outputs, labels, label_smoothing)
    with torch.no_grad():
        num_correct = (outputs.logits.argmax(dim=1) == _dominant(labels)).sum()
    # Asked here, a GPU is waited for after the forward pass alone: it goes backward while the next batch is made.
    if not bool(torch.isfinite(loss.detach())):
        return StepResult(loss.detach(), num_correct, applied=False)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return StepResult(loss.detach(), num_correct)
