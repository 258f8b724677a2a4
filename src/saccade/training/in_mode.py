"""Training in bfloat16 where it is faster: forward under autocast, loss and BatchNorm's statistics in float32."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from saccade.training.step import Outputs, Trainable, TrainingOutputs


class Learner(Trainable, Protocol):
    """A network, or what follows its frozen prefix."""

    head: nn.Module


class Rounded:
    """A learner whose layers compute under autocast. Weights, gradients and what the loss sees stay float32.

    Args:
        learner: a network, or what follows its frozen prefix.
        device: where it is.
        dtype: bfloat16.
    """

    def __init__(self, learner: Learner, device: torch.device, dtype: torch.dtype) -> None:
        self.learner = learner
        self.stages: nn.Sequential = learner.stages
        self.head: nn.Module = learner.head
        self.l2: Mapping[str, float] = learner.l2
        self._device, self._dtype = device, dtype

    def training_outputs(self, images: Tensor) -> TrainingOutputs:
        """What the learner takes, to everything the loss looks at."""
        with torch.autocast(self._device.type, self._dtype):
            found = self.learner.training_outputs(images)
        return Outputs(found.logits.float(), {name: logits.float() for name, logits in found.auxiliary.items()})

    def __call__(self, images: Tensor) -> Tensor:
        """What the learner takes, to logits (N, K)."""
        with torch.autocast(self._device.type, self._dtype):
            return self.learner(images).float()

    def parameters(self) -> Iterator[nn.Parameter]:
        """All of them."""
        return self.learner.parameters()

    def train(self, mode: bool = True) -> nn.Module:
        """Switch to training mode."""
        return self.learner.train(mode)

    def eval(self) -> nn.Module:
        """Switch to inference mode."""
        return self.learner.eval()


def trial_step(learner: Learner, images: Tensor, dtype: torch.dtype) -> Tensor:
    """Forward and backward on a copy, to be timed; returns the logits. The learner is as before."""
    copied = copy.deepcopy(learner)
    copied.train()
    trial = copied if dtype == torch.float32 else Rounded(copied, images.device, dtype)
    # The same dropout every time, so that what differs is rounding; and the run's own random numbers stay untouched.
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(0)
        logits = trial.training_outputs(images).logits
    logits.logsumexp(dim=1).sum().backward()  # type: ignore[no-untyped-call]
    return logits.detach()
