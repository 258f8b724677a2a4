"""Loss and accuracy on pictures that nothing is learnt from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from saccade.metrics import Tally
from saccade.training.progress import Sums
from saccade.training.sources import BatchSource, LabelledBatch
from saccade.training.step import StepResult
from saccade.training.trainable import Trainable


@torch.no_grad()
def validate(network: Trainable, batches: BatchSource) -> Tally:
    """Loss and accuracy over a part, in inference mode; each picture counts once, whatever its class weighs."""
    return validate_batches(network, batches.epoch(0))


def validate_batches(network: Trainable, batches: Iterable[LabelledBatch], piece_size: int = 0) -> Tally:
    """The same for batches that are at hand.

    Args:
        network: left in inference mode.
        batches: all of a part.
        piece_size: pictures that go through the network at once, at most; 0: a whole batch.
    """
    network.eval()
    sums = Sums()
    for batch in batches:
        if len(batch.labels) == 0:  # the share of a process where there are fewer pictures than processes
            continue
        pieces = torch.split(batch.images, piece_size) if piece_size else (batch.images,)
        logits = torch.cat([network(piece) for piece in pieces]) if len(pieces) > 1 else network(batch.images)
        loss = F.cross_entropy(logits, batch.labels)
        sums.add(StepResult(loss, (logits.argmax(dim=1) == batch.labels).sum()), len(batch.labels))
    return sums.read()
