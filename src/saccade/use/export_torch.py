"""The modules of export_graph.py as one .pt2 file of torch.export."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from saccade.errors import ExportError
from saccade.use.export_graph import Whole
from saccade.use.export_onnx import quiet
from saccade.use.export_parity import Runs
from saccade.use.export_pictures import Pixels

# The metadata is this file inside the .pt2.
METADATA = "saccade.json"
_EXAMPLE = (2, 37, 53, 3)


def as_pt2(whole: Whole, metadata: Mapping[str, str]) -> bytes:
    """The bytes of the file; pictures of any number and size go in.

    Raises:
        ExportError: torch.export cannot follow the network.
    """
    sizes = {place: torch.export.Dim(name, min=1) for place, name in enumerate(("pictures", "height", "width"))}
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(whole, (torch.zeros(_EXAMPLE, dtype=torch.uint8),), dynamic_shapes=(sizes,))
    except Exception as error:  # of the tracer: no common parent
        first = str(error).strip().splitlines()[0][:300]
        raise ExportError(f"torch.export cannot follow this network: {first}", remedy="--format onnx may do") from None
    for node in program.graph.nodes:  # where in whose files it came from: nobody's business
        node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(program, buffer, extra_files={METADATA: json.dumps(dict(metadata), ensure_ascii=True)})
    return buffer.getvalue()


def open_pt2(data: bytes) -> Runs:
    """The file, loaded again and ready to run."""
    with quiet():
        module = torch.export.load(io.BytesIO(data)).module()

    def whole(pictures: Pixels) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            found: npt.NDArray[np.float32] = module(torch.from_numpy(pictures))["probabilities"].numpy()
        return found

    def of_squares(squares: Pixels) -> npt.NDArray[np.float32]:
        return whole(np.repeat(squares, 3, axis=3) if squares.shape[3] == 1 else squares)

    return Runs(of_squares, whole)
