"""What TensorBoard shows of a training: losses and accuracies per epoch, the learning rate per update."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from saccade.errors import MissingExtraError
from saccade.metrics import Tally
from saccade.training.callbacks import Callback, EpochResult, StepPosition


class TensorBoard(Callback):
    """Writes event files.

    Args:
        folder: of these alone; it is made.

    Raises:
        MissingExtraError: the library is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._library = tensorboard_library()
        self._writer: Any = None
        self._step = 0

    def begin(self, network: nn.Module, step: int) -> None:
        """Open a file. What an interrupted training wrote of later updates is not shown any more."""
        self._step = step
        self._writer = self._library.SummaryWriter(self.folder, purge_step=step + 1 if step else None)

    def after_step(self, position: StepPosition, read: Callable[[], Tally]) -> None:
        """The rate of the update."""
        self._step = position.step
        self._writer.add_scalar("learning_rate", position.learning_rate, position.step)

    def after_epoch(self, result: EpochResult) -> bool:
        """The numbers of the epoch, beside the updates made so far."""
        if self._writer is None:  # a head that was solved before the first update
            return False
        for quantity in ("loss", "accuracy"):
            for part in ("train", "val"):
                value = getattr(result, f"{part}_{quantity}")
                self._writer.add_scalar(f"{quantity}/{part}", value, self._step)
        self._writer.add_scalar("pictures_per_second", result.pictures_per_second, self._step)
        self._writer.add_scalar("epoch", result.epoch, self._step)
        self._writer.flush()
        return False

    def end(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def tensorboard_library() -> ModuleType:
    """torch's writer of event files.

    Raises:
        MissingExtraError: the library is not installed.
    """
    try:
        return importlib.import_module("torch.utils.tensorboard")
    except ImportError:
        raise MissingExtraError(
            "TensorBoard's library is not installed",
            where="tensorboard",
            remedy='pip install "saccade[tensorboard]", or leave out --tensorboard',
        ) from None
