"""Everybody stands where the leader stands: the state of a training, sent instead of written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.training.checkpoint import Checkpoint
from saccade.training.distributed import CPU, broadcast, decided, leads, together
from saccade.training.progress import Training
from saccade.training.resume import gather, restore


@dataclass(frozen=True)
class _Received(Checkpoint):
    """The leader's state, as if it had been read from a disk."""

    held: Mapping[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """All of them."""
        return dict(self.held)

    def tensors_of(self, part: str) -> dict[str, Tensor]:
        """Those whose names begin with `part/`, by the rest of their names."""
        prefix = f"{part}/"
        return {name.removeprefix(prefix): value for name, value in self.held.items() if name.startswith(prefix)}


def share_training(training: Training) -> None:
    """Everybody stands where the leader stands: weights, optimizer, schedule, callbacks, position."""
    if not together():
        return
    snapshot = gather(training) if leads() else None
    about: dict[str, Any] = decided(
        lambda: {
            "values": {} if snapshot is None else dict(snapshot.values),
            "tensors": {}
            if snapshot is None
            else {name: (tuple(each.shape), each.dtype, each.device.type) for name, each in snapshot.tensors.items()},
        }
    )
    if snapshot is not None:
        broadcast(list(snapshot.tensors.values()))
        return
    held = {
        name: torch.empty(shape, dtype=dtype, device=CPU if kind == "cpu" else training.device)
        for name, (shape, dtype, kind) in about["tensors"].items()
    }
    broadcast(list(held.values()))
    restore(training, _Received(Path("the leader"), about["values"], held))
