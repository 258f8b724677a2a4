"""What processes that train together exchange: sums, gradients, statistics, predictions.

A batch is one batch, however many share it. Each process has the gradient of the mean over its own pictures; weighted
with its share of all pictures and summed, these are the gradient of the whole batch, uneven shares and empty ones
included. https://arxiv.org/abs/2006.15704 describes the same for even shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from saccade.metrics import Tally
from saccade.training.distributed import talking, together
from saccade.training.sources import BatchSource, Parts

_BUCKET_VALUES = 25 * 2**18  # 25 MiB of float32, as torch's DistributedDataParallel has it
_STREAM = 2_000  # apart from those that data/ and progress.py draw from with the same seed


class BatchSums(NamedTuple):
    """Of a batch over all processes, as plain numbers: the mean loss, and how much of the batch this process had."""

    loss: float
    num_correct: int
    num_pictures: int
    share: float
    is_finite: bool


def sum_batch(loss: Tensor, num_correct: Tensor, num_pictures: int, *, is_finite: bool) -> BatchSums:
    """Put together what each process found in its share of a batch.

    Args:
        loss: (), mean over the share; anything where the share is empty.
        num_correct: ().
        num_pictures: in the share.
        is_finite: whether loss and gradients here are finite numbers.
    """
    weighted = loss.double() * num_pictures if num_pictures else loss.new_zeros((), dtype=torch.float64)
    about = torch.tensor([num_pictures, float(not is_finite)], dtype=torch.float64, device=loss.device)
    found = torch.cat([torch.stack([weighted, num_correct.double()]), about])
    with talking():
        dist.all_reduce(found)
    loss_sum, correct, total, num_bad = found.tolist()
    return BatchSums(loss_sum / total, int(correct), int(total), num_pictures / total, num_bad == 0)


@torch.no_grad()
def sum_gradients(weights: Iterable[nn.Parameter], share: float) -> None:
    """The gradient of the whole batch in place of that of a share, in every process to the same bits.

    Weights that no process has a gradient for keep none.

    Args:
        weights: the same in every process, in the same order.
        share: of the batch that this process had, 0..1.
    """
    learning = list(weights)
    has = torch.tensor([float(weight.grad is not None) for weight in learning], device=learning[0].device)
    pending = []
    with talking():
        pending.append((dist.all_reduce(has, async_op=True), has))
        for bucket in _buckets(learning):
            flat = torch.cat([_flat_gradient(weight) for weight in bucket]).mul_(share)
            pending.append((dist.all_reduce(flat, async_op=True), flat))
        for work, _ in pending:
            work.wait()
    wanted = iter((has > 0).tolist())
    for bucket, (_, flat) in zip(_buckets(learning), pending[1:], strict=True):
        parts = torch.split(flat, [weight.numel() for weight in bucket])
        for weight, part in zip(bucket, parts, strict=True):
            if next(wanted):
                weight.grad = torch.empty_like(weight) if weight.grad is None else weight.grad
                weight.grad.copy_(part.view(weight.shape))


def _flat_gradient(weight: nn.Parameter) -> Tensor:
    return weight.new_zeros(weight.numel()) if weight.grad is None else weight.grad.reshape(-1)


def _buckets(weights: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """In order, each of about 25 MiB: one message for many small weights, none of the size of the network."""
    found: list[list[nn.Parameter]] = []
    room = 0
    for weight in weights:
        if room < weight.numel():
            found.append([])
            room = _BUCKET_VALUES
        found[-1].append(weight)
        room -= weight.numel()
    return found


@torch.no_grad()
def average(tensors: Sequence[Tensor], share: float) -> None:
    """The mean over all processes, each with its share of the batch, in place: statistics of BatchNorm."""
    moving = [tensor for tensor in tensors if tensor.is_floating_point()]
    if not moving or not together():
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in moving]).mul_(share)
    with talking():
        dist.all_reduce(flat)
    for tensor, part in zip(moving, torch.split(flat, [tensor.numel() for tensor in moving]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def sum_tally(tally: Tally) -> Tally:
    """Over all processes."""
    if not together():
        return tally
    sums = torch.tensor([tally.num_correct, tally.num_pictures, tally.loss_sum], dtype=torch.float64)
    with talking():
        dist.all_reduce(sums)
    correct, total, loss = sums.tolist()
    return Tally(int(correct), int(total), loss)


def share_of(source: BatchSource) -> BatchSource:
    """Of every batch the part that this process works on; where it is alone all of it."""
    return source.shared(dist.get_rank(), dist.get_world_size()) if together() else source


def share_parts(parts: Parts) -> Parts:
    """The same of both parts."""
    return Parts(share_of(parts.train), share_of(parts.val))


class Classifying(Protocol):
    """A network, or what follows the frozen part of one."""

    def eval(self) -> object:
        """Switch to inference mode."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images to logits (N, K)."""


class Gathered:
    """A network whose answers about a share of a batch become those about all of it, in order, in every process."""

    def __init__(self, learner: Classifying) -> None:
        self.learner = learner

    def eval(self) -> object:
        """Switch to inference mode."""
        return self.learner.eval()

    def __call__(self, images: Tensor) -> Tensor:
        """The own share, which may be empty, to the logits of the whole batch, on the CPU."""
        own = self.learner(images).cpu() if len(images) else None
        found: list[Tensor | None] = [None] * dist.get_world_size()
        with talking():
            dist.all_gather_object(found, own)
        return torch.cat([logits for logits in found if logits is not None])


def gathered(learner: Classifying) -> Classifying:
    """Who looks at shares and answers for the whole, where there are several processes."""
    return Gathered(learner) if together() else learner


def seed_step(seed: int, epoch: int, batch: int) -> None:
    """Dropout becomes a function of (seed, epoch, batch, rank); a process alone goes on with its generator."""
    if together():
        entropy = (seed, _STREAM, epoch, batch, dist.get_rank())
        state = np.random.SeedSequence(entropy).generate_state(1, dtype=np.uint64)[0]
        torch.manual_seed(int(state >> np.uint64(1)))
