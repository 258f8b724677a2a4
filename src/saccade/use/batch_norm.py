"""Whether the means and deviations that BatchNorm kept are those that training pictures have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saccade.models.network import Network
from saccade.trained import TrainedNetwork
from saccade.use.heatmaps import as_batch

_BATCH = 32  # fewer pictures have statistics of their own
_PIXELS = 64 * 224 * 224  # looked at in all: some seconds with a large network
MOST_PICTURES = 256


class Drift(NamedTuple):
    """Training pictures judged in two ways: by the statistics that were kept, and by those of their own batches.

    Attributes:
        kept_accuracy: 0..1, as the network answers.
        fresh_accuracy: 0..1, with each batch's own statistics.
        kept_loss: mean cross-entropy, in nats.
        fresh_loss: likewise.
        num_pictures: that were looked at.
    """

    kept_accuracy: float
    fresh_accuracy: float
    kept_loss: float
    fresh_loss: float
    num_pictures: int


def num_needed(side: int) -> int:
    """How many training pictures of that side are looked at: whole batches."""
    return max(1, min(MOST_PICTURES, _PIXELS // side**2) // _BATCH) * _BATCH


def measure_drift(
    trained: TrainedNetwork, squares: Sequence[npt.NDArray[np.uint8]], labels: Sequence[int]
) -> Drift | None:
    """Judge training pictures in both ways; None where the network has no BatchNorm or there are too few pictures.

    The network's statistics are left as they are.

    Args:
        trained: on whatever device.
        squares: uint8 (side, side, C), classes mixed as in training.
        labels: of each, as the network counts its classes.
    """
    network = trained.network
    norms = [each for each in network.modules() if isinstance(each, _BatchNorm)]
    whole = len(squares) // _BATCH * _BATCH
    if not norms or not whole:
        return None
    truth = torch.tensor(list(labels[:whole]))
    kept = _logits(network, squares[:whole])
    modes = [norm.training for norm in norms]
    states = [{name: value.clone() for name, value in norm.named_buffers(recurse=False)} for norm in norms]
    try:
        for norm in norms:
            norm.train()
        fresh = _logits(network, squares[:whole])
    finally:
        for norm, mode, state in zip(norms, modes, states, strict=True):
            norm.train(mode)
            _put_back(norm, state)
    return Drift(_accuracy(kept, truth), _accuracy(fresh, truth), _loss(kept, truth), _loss(fresh, truth), whole)


@torch.no_grad()
def _logits(network: Network, squares: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    """(N, K); layers are in whatever mode they are."""
    found = [network(as_batch(network, squares[at : at + _BATCH])) for at in range(0, len(squares), _BATCH)]
    return torch.cat(found).float().cpu()


def _put_back(norm: nn.Module, state: dict[str, Tensor]) -> None:
    for name, value in norm.named_buffers(recurse=False):
        value.copy_(state[name])


def _accuracy(logits: Tensor, truth: Tensor) -> float:
    return float((logits.argmax(dim=1) == truth).float().mean())


def _loss(logits: Tensor, truth: Tensor) -> float:
    return float(F.cross_entropy(logits, truth))
