"""What people name when they mean a trained network: a run folder, a published network, an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from saccade.engine import choose_device
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork
from saccade.use.onnx_file import OnnxNetwork, names_an_onnx_file, open_onnx
from saccade.use.pretrained import names_a_network, pretrained


def open_trained(
    run: str | Path, weights: Literal["best", "last"] = "best", say: Callable[[str], None] | None = None
) -> TrainedNetwork:
    """The network, on the CPU and in inference mode.

    Args:
        run: a run folder; where there is no such folder a network of the catalogue, or `timm/NAME`; or an .onnx file.
        weights: of a run.
        say: told where published weights come from, and their terms.

    Raises:
        RunError: there is no run there.
        ModelError: the .onnx file is not there, damaged, or not saccade's.
        WeightsError: its weights are damaged or from a newer version.
        ResourceError: published weights are not here and cannot be downloaded.
    """
    if names_an_onnx_file(run):
        return open_onnx(Path(run)).trained
    return pretrained(str(run), say=say) if names_a_network(run) else RunFolder.open(run).load(weights)


def device_for(trained: TrainedNetwork, wanted: str) -> torch.device:
    """Where it computes: what is wanted, or the CPU where it is an ONNX file.

    Raises:
        ResourceError: a device was asked for by name and is not there.
    """
    return choose_device("cpu" if isinstance(trained.network, OnnxNetwork) else wanted)
