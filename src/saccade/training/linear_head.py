"""A head that is one linear layer: found, fed and solved, for every network whose head ends in one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.metrics import Tally
from saccade.training.sources import BatchSource


class Learner(Protocol):
    """What is needed of a network, or of the rest of one behind its prefix."""

    head: nn.Module

    def eval(self) -> nn.Module:
        """Switch to inference mode."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images or features to logits (N, K)."""


class HeadInputs(NamedTuple):
    """What the last linear layer is given for every picture, float32 (N, D), and the labels int64 (N,)."""

    features: Tensor
    labels: Tensor


class LinearHead(NamedTuple):
    """The linear layer that makes the logits, (K, D), or (1, D) where one sigmoid unit tells two classes apart."""

    layer: nn.Linear
    one_unit: bool

    @torch.no_grad()
    def set(self, weight: Tensor, bias: Tensor) -> None:
        """Give it weights (K, D) and biases (K,); a sigmoid unit takes the difference of its two classes."""
        if self.one_unit:
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        self.layer.weight.copy_(weight)
        self.layer.bias.copy_(bias)

    @torch.no_grad()
    def judge(self, inputs: HeadInputs) -> Tally:
        """Loss and accuracy on inputs that are at hand."""
        logits = self.layer(inputs.features)
        if self.one_unit:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        loss = F.cross_entropy(logits, inputs.labels, reduction="sum")
        return Tally(int((logits.argmax(dim=1) == inputs.labels).sum()), len(inputs.labels), float(loss))


@torch.no_grad()
def find_linear_head(learner: Learner, images: Tensor) -> LinearHead | None:
    """The linear layer that is all a head has to learn, or None where the head is more than that.

    Scales of normalisation in front of it keep the values they have.

    Args:
        learner: in any mode; it is left in inference mode.
        images: what the learner takes, one at least.
    """
    layers = [module for module in learner.head.modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1].bias is None:
        return None
    last = layers[-1]
    others = [p for p in learner.head.parameters() if p is not last.weight and p is not last.bias]
    if any(parameter.ndim > 1 for parameter in others):
        return None
    learner.eval()
    given: list[Tensor] = []
    with _listening(last, lambda _, result: given.append(result)):
        logits = learner(images)
    if len(given) != 1:
        return None
    if torch.equal(given[0], logits):
        return LinearHead(last, one_unit=False)
    one_unit = given[0].shape[1] == 1 and torch.equal(torch.cat([torch.zeros_like(given[0]), given[0]], 1), logits)
    return LinearHead(last, one_unit=True) if one_unit else None


@torch.no_grad()
def head_inputs(learner: Learner, head: LinearHead, batches: BatchSource, epochs: range) -> HeadInputs:
    """What the linear layer is given over some epochs of a part, in inference mode.

    Returns:
        A row per picture and epoch; on the device of the batches.
    """
    learner.eval()
    found: list[Tensor] = []
    labels: list[Tensor] = []
    with _listening(head.layer, lambda given, _: found.append(given.float())):
        for epoch in epochs:
            for batch in batches.epoch(epoch):
                learner(batch.images)
                labels.append(batch.labels)
    return HeadInputs(torch.cat(found), torch.cat(labels))


@contextmanager
def _listening(layer: nn.Linear, told: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    """Be told what a layer is given and gives."""
    handle = layer.register_forward_hook(lambda _, given, result: told(given[0], result))
    try:
        yield
    finally:
        handle.remove()
