"""When memory runs out: how torch and Python say so, and what remains to be said to a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from saccade.engine import leave_onednn_if_stuck
from saccade.errors import ResourceError, ran_out

WITHOUT_ONEDNN = (
    "oneDNN makes no kernels any more since memory ran out, so torch goes on without it: slower, and other last digits"
)


def too_little(where: str, error: BaseException) -> ResourceError:
    """What is answered where even one picture at a time is too much; `error` is how torch said so."""
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return ResourceError(
        f"the memory does not suffice, not even for one picture at a time ({said})",
        where=where,
        remedy="choose a smaller network or --image-size, let fewer stages learn (--train head), end what else uses "
        "this memory, or take another --device",
    )


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Where memory runs out within, say so in words.

    Raises:
        ResourceError: it did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise too_little(doing, error) from None


class Looking(Protocol):
    """Who answers to pictures, each by itself: a network in inference mode, or what follows its frozen part."""

    def eval(self) -> object:
        """Switch to inference mode."""

    def __call__(self, images: Tensor) -> Tensor:
        """What the batches hold -> logits (N, K)."""


class WithinMemory:
    """The same answers from half as many pictures at once, again and again, where memory runs out.

    Args:
        learner: in inference mode; each picture's logits are its own, so pieces give what the whole would have given.
        warn: told what makes the answers others in their last digits.
    """

    def __init__(self, learner: Looking, warn: Callable[[str], None]) -> None:
        self._learner, self._warn = learner, warn
        self.at_once = 0  # pictures; 0: as many as come

    def eval(self) -> object:
        """Switch to inference mode."""
        return self._learner.eval()

    def __call__(self, images: Tensor) -> Tensor:
        """What the batches hold -> logits (N, K).

        Raises:
            ResourceError: there is not room for one picture.
        """
        while True:
            at_once = self.at_once or max(1, len(images))
            try:
                return torch.cat([self._learner(piece) for piece in torch.split(images, at_once)])
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                left_onednn = leave_onednn_if_stuck(error)
                if min(at_once, len(images)) == 1 and not left_onednn:
                    raise too_little("judging the finished network", error) from None
                if left_onednn:
                    self._warn(f"judging the finished network: {WITHOUT_ONEDNN}")
                self.at_once = -(-min(at_once, len(images)) // 2)
