"""The moving average of the weights, which is often better than any of the weights it is made of.

Polyak and Juditsky 1992, https://doi.org/10.1137/0330046; as it is done for pictures since Inception v3, Szegedy et al.
2015, https://arxiv.org/abs/1512.00567.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Exponential: after each update, decay × itself + (1 - decay) × the weights. BatchNorm's statistics too.

    The decay begins low and rises, min(decay, (1 + n) / (10 + n)) after n updates, so that a short training is not
    held back by the random weights it began with.

    Args:
        module: the network that is trained; its weights of now are the beginning. What is frozen is not averaged.
        decay: 0..1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        learning = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        buffers = {name: each for name, each in module.named_buffers() if each.is_floating_point()}
        self.live: dict[str, Tensor] = learning | buffers
        self.kept: dict[str, Tensor] = {name: each.detach().clone() for name, each in self.live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """An update of the weights was made."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        torch._foreach_lerp_(list(self.kept.values()), list(self.live.values()), 1 - decay)
        self.num_updates += 1

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The network has the averaged weights within, and those that learn again behind."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def take_over(self) -> None:
        """The network has the averaged weights from now on."""
        torch._foreach_copy_(list(self.live.values()), list(self.kept.values()))

    @torch.no_grad()
    def set_state(self, tensors: Mapping[str, Tensor], num_updates: int) -> None:
        """As it was; it begins anew where it was of other weights, or not kept."""
        self.num_updates = num_updates if tensors.keys() == self.kept.keys() else 0
        found = tensors if tensors.keys() == self.kept.keys() else self.live
        for name, kept in self.kept.items():
            kept.copy_(found[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for live, kept in zip(self.live.values(), self.kept.values(), strict=True):
            waiting = live.detach().clone()
            live.copy_(kept)
            kept.copy_(waiting)
