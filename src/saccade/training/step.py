"""One update: images and labels in, weights a little better."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saccade.training.distributed import together
from saccade.training.exchange import BatchSums, sum_batch, sum_gradients
from saccade.training.loss import Objective, loss_of
from saccade.training.memory import explained
from saccade.training.trainable import MixedLabels, Trainable


class StepResult(NamedTuple):
    """Of one batch, still on the device: loss (), predicted classes (N,) right ().

    `applied` is False where the loss is no finite number: the weights are then as before. Where several processes share
    a batch, loss and num_correct are of the whole batch, and `whole` says more about it.
    """

    loss: Tensor
    num_correct: Tensor
    applied: bool = True
    whole: BatchSums | None = None


class Manner(NamedTuple):
    """How an update is made.

    Attributes:
        objective: how labels count.
        piece_size: pictures that go through the network at once, at most; 0: the whole batch.
        clip_norm: the gradient of all weights together is shortened to this length; 0: it is taken as it is.
    """

    objective: Objective = Objective()
    piece_size: int = 0
    clip_norm: float = 0.0


class _PartialLabels(NamedTuple):
    """MixedLabels of a piece."""

    labels: Tensor
    partners: Tensor
    shares: Tensor


def update(
    network: Trainable,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor | MixedLabels,
    manner: Manner,
) -> StepResult:
    """Forward, backward, update.

    In pieces, each counts by its share of the pictures, so the gradient is that of the whole batch; only BatchNorm,
    which looks at the pictures beside each other, sees a piece at a time.

    Raises:
        RuntimeError, MemoryError: memory ran out before any weight was changed; see memory.py.
        ResourceError: it ran out while they were changed.
    """
    optimizer.zero_grad(set_to_none=True)
    total, num_correct = images.new_zeros((), dtype=torch.float32), images.new_zeros((), dtype=torch.int64)
    is_finite = True
    for part, wanted in _pieces(images, labels, manner.piece_size):
        outputs = network.training_outputs(part)
        loss = loss_of(network, outputs, wanted, manner.objective)
        with torch.no_grad():
            num_correct = num_correct + (outputs.logits.argmax(dim=1) == _dominant(wanted)).sum()
        if len(part) < len(images):
            loss = loss * (len(part) / len(images))
        total = total + loss.detach()
        # Asked here, a GPU is waited for after the forward pass alone: it goes backward while the next batch is made.
        if not bool(torch.isfinite(loss.detach())):
            is_finite = False
            break
        loss.backward()  # type: ignore[no-untyped-call]
    if len(images) == 0:
        _pass_nothing(network, images)
    result = _of_all(StepResult(total, num_correct, is_finite), optimizer, len(images))
    if not result.applied or (manner.clip_norm and not _clip(optimizer, manner.clip_norm)):
        optimizer.zero_grad(set_to_none=True)
        return result._replace(applied=False)
    with explained("changing the weights"):
        optimizer.step()
    return result


def _of_all(result: StepResult, optimizer: torch.optim.Optimizer, num_pictures: int) -> StepResult:
    """Where several processes share a batch: the result and the gradient of all of it."""
    if not together():
        return result
    sums = sum_batch(result.loss, result.num_correct, num_pictures, is_finite=result.applied)
    if sums.is_finite:
        sum_gradients(_weights(optimizer), sums.share)
    loss, num_correct = result.loss.new_tensor(sums.loss), result.num_correct.new_tensor(sums.num_correct)
    return StepResult(loss, num_correct, sums.is_finite, sums)


def _pass_nothing(network: Trainable, images: Tensor) -> None:
    """An empty share goes through the network where others wait for it there: in BatchNorm over all processes."""
    if any(isinstance(layer, nn.SyncBatchNorm) for layer in network.stages.modules()):
        network.training_outputs(images).logits.sum().backward()  # type: ignore[no-untyped-call]


def _pieces(
    images: Tensor, labels: Tensor | MixedLabels, piece_size: int
) -> Iterator[tuple[Tensor, Tensor | MixedLabels]]:
    """A batch in as few parts as that size allows, all of one length but for one picture."""
    num_pieces = -(-len(images) // piece_size) if piece_size else min(1, len(images))
    if num_pieces == 0:
        return
    if num_pieces == 1:
        yield images, labels
        return
    start = 0
    for part in images.tensor_split(num_pieces):
        span = slice(start, start + len(part))
        start += len(part)
        if isinstance(labels, Tensor):
            yield part, labels[span]
        else:
            yield part, _PartialLabels(labels.labels[span], labels.partners[span], labels.shares[span])


def _clip(optimizer: torch.optim.Optimizer, clip_norm: float) -> bool:
    """Shorten the gradient; False where its length is no finite number."""
    return bool(torch.nn.utils.clip_grad_norm_(_weights(optimizer), clip_norm).isfinite())


def _weights(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _dominant(labels: Tensor | MixedLabels) -> Tensor:
    """The label that a mixture has most of."""
    if isinstance(labels, Tensor):
        return labels
    return torch.where(labels.shares >= 0.5, labels.labels, labels.partners)
