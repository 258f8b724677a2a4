"""Means and deviations of BatchNorm, which a forward pass changes even where its step is not applied after all."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from saccade.training.exchange import average


class Statistics:
    """Those of the layers that move.

    Args:
        module: in training mode.
    """

    def __init__(self, module: nn.Module) -> None:
        norms = [each for each in module.modules() if isinstance(each, _BatchNorm) and each.training]
        self.live = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
        self.kept = [buffer.clone() for buffer in self.live]

    @torch.no_grad()
    def keep(self) -> None:
        """Remember them as they are."""
        if self.live:
            torch._foreach_copy_(self.kept, self.live)

    def average(self, share: float) -> None:
        """The mean over all processes, where there are several; `share` is that of this one in the batch."""
        average(self.live, share)

    @torch.no_grad()
    def bring_back(self) -> None:
        """As they were."""
        if self.live:
            torch._foreach_copy_(self.live, self.kept)
