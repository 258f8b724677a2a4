"""Training in the mode that was chosen: forward under autocast or compiled; what the loss sees stays float32."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from saccade.modes import Mode, computing_in
from saccade.training.trainable import Outputs, Trainable, TrainingOutputs


class InMode:
    """A learner whose layers compute in a mode. Weights, gradients and what the loss sees stay float32.

    Args:
        learner: a network, or what follows its frozen prefix; its weights are laid out as the mode says.
        device: where it is.
        mode: how layers compute.
        batch_size: of the batches that are computed compiled; an epoch's smaller last one is not worth compiling for.
    """

    def __init__(self, learner: Trainable, device: torch.device, mode: Mode, batch_size: int) -> None:
        self.learner = learner
        self.mode = mode
        self.stages: nn.Sequential = learner.stages
        self.head: nn.Module = learner.head
        self.l2: Mapping[str, float] = learner.l2
        self._device, self._batch_size = device, batch_size
        for part in (learner.stages, learner.head):
            part.to(memory_format=mode.memory_format)
        self._compiled = _compiled(learner, device) if mode.compiled else learner.training_outputs

    def training_outputs(self, images: Tensor) -> TrainingOutputs:
        """What the learner takes, to everything the loss looks at."""
        usual = len(images) == self._batch_size
        with computing_in(self.mode, self._device):
            found = (self._compiled if usual else self.learner.training_outputs)(self._laid_out(images))
        return Outputs(found.logits.float(), {name: logits.float() for name, logits in found.auxiliary.items()})

    def __call__(self, images: Tensor) -> Tensor:
        """What the learner takes, to logits (N, K)."""
        with computing_in(self.mode, self._device):
            return self.learner(self._laid_out(images)).float()

    def parameters(self) -> Iterator[nn.Parameter]:
        """All of them."""
        return self.learner.parameters()

    def train(self, mode: bool = True) -> nn.Module:
        """Switch to training mode."""
        return self.learner.train(mode)

    def eval(self) -> nn.Module:
        """Switch to inference mode."""
        return self.learner.eval()

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self.mode.memory_format) if images.ndim == 4 else images


def _compiled(learner: Trainable, device: torch.device) -> Callable[[Tensor], TrainingOutputs]:
    # On a GPU, reduce-overhead records CUDA graphs: the steps of small networks are then not held up by Python.
    how = "reduce-overhead" if device.type == "cuda" else "default"
    return torch.compile(learner.training_outputs, dynamic=False, mode=how)


def trial_step(learner: Trainable, images: Tensor, mode: Mode) -> Callable[[], Tensor]:
    """Forward and backward on a copy, to be timed; returns the logits. The learner is as before."""
    trial = InMode(copy.deepcopy(learner), images.device, mode, len(images))
    trial.train()

    def work() -> Tensor:
        # The same dropout every time, so that what differs is rounding; the run's own random numbers stay untouched.
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            torch.manual_seed(0)
            logits = trial.training_outputs(images).logits
        for parameter in trial.parameters():
            parameter.grad = None
        logits.logsumexp(dim=1).sum().backward()  # type: ignore[no-untyped-call]
        return logits.detach()

    return work
