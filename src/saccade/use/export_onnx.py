"""The two modules of export_graph.py as ONNX: written by torch, made int8 where asked, joined to one model."""

from __future__ import annotations

import importlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from saccade.errors import ExportError, MissingExtraError
from saccade.use.export_graph import OUTPUTS, Whole

# The newest that all of onnxruntime's builds of the last years run, the one for browsers included.
OPSET = 18
# What becomes int8; softmax and temperature stay floats, or probabilities would be steps of 1/256.
_INT8_OPERATORS = ("Conv", "MatMul", "Gemm", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean")
_INT8_BATCH = 16
# An example with sides that no network has, so that no size in it is taken for a constant.
_EXAMPLE = (2, 37, 53, 3)


class OnnxParts(NamedTuple):
    """ModelProtos: pictures uint8 (N, H, W, 3) -> `square`; `square` uint8 (N, C, S, S) -> OUTPUTS."""

    square: Any
    answer: Any


def onnx_parts(whole: Whole, square_shape: tuple[int, int, int]) -> OnnxParts:
    """Both modules, written by torch.onnx with its exporter.

    Args:
        whole: in inference mode, on the CPU.
        square_shape: (C, S, S).

    Raises:
        ExportError: an operation of the network has no ONNX form.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    dynamic = torch.export.Dim.DYNAMIC
    pictures = torch.zeros(_EXAMPLE, dtype=torch.uint8)
    squares = torch.zeros((2, *square_shape), dtype=torch.uint8)
    square = _written(whole.square, pictures, {0: dynamic, 1: dynamic, 2: dynamic}, ("pictures", ["square"]))
    answer = _written(whole.answering, squares, {0: dynamic}, ("square", list(OUTPUTS)))
    return OnnxParts(square, answer)


def joined(parts: OnnxParts, metadata: Mapping[str, str]) -> Any:
    """One model, from pictures to answers, with metadata.

    Raises:
        ExportError: the two do not fit, or the model is larger than one file may be.
    """
    onnx = library("onnx")
    compose = importlib.import_module("onnx.compose")
    whole = compose.merge_models(_prefixed(compose, parts.square), parts.answer, [("square", "square")])
    whole.producer_name, whole.doc_string = "saccade", ""
    for value, names in ((whole.graph.input[0], ("N", "H", "W")), *((each, ("N",)) for each in whole.graph.output)):
        for place, name in enumerate(names):
            value.type.tensor_type.shape.dim[place].dim_param = name
    onnx.helper.set_model_props(whole, dict(metadata))
    try:
        onnx.checker.check_model(whole)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ExportError(f"the ONNX model is not valid: {str(error).splitlines()[0]}") from None
    return whole


def as_int8(answer: Any, squares: npt.NDArray[np.uint8]) -> Any:
    """Static quantisation (QDQ): weights int8 per channel, activations uint8 in the ranges that the squares show.

    The last layer stays float32: its share of the work is small and its steps would be seen in the probabilities.

    Args:
        answer: the second part.
        squares: uint8 (N, C, S, S), of training pictures.

    Raises:
        ExportError: onnxruntime cannot do it for this network.
    """
    quantization = importlib.import_module("onnxruntime.quantization")
    last = [node.name for node in answer.graph.node if node.op_type in ("Gemm", "MatMul")][-1:]
    options = {
        "op_types_to_quantize": list(_INT8_OPERATORS),
        "nodes_to_exclude": last,
        "per_channel": True,
        # Without VNNI instructions products of 8 × 8 bits saturate, and the file may run anywhere.
        "reduce_range": True,
        "quant_format": quantization.QuantFormat.QDQ,
    }
    onnx = library("onnx")
    with tempfile.TemporaryDirectory() as folder, quiet():
        before, between, after = (Path(folder) / f"{name}.onnx" for name in ("before", "between", "after"))
        onnx.save(answer, before)
        try:
            prepare = importlib.import_module("onnxruntime.quantization.shape_inference").quant_pre_process
            prepare(str(before), str(between), skip_symbolic_shape=True)
            quantization.quantize_static(between, after, _Squares(squares), **options)
        except Exception as error:  # whatever its passes raise, the file cannot be made
            raise ExportError(f"this network cannot be made int8: {_first_line(error)}", remedy="--half") from None
        model = onnx.load(after)
    model.graph.doc_string = ""
    return model


class _Squares:
    """What onnxruntime calls a calibration reader: batch by batch, then None."""

    def __init__(self, squares: npt.NDArray[np.uint8]) -> None:
        starts = range(0, len(squares), _INT8_BATCH)
        self._batches = iter([squares[start : start + _INT8_BATCH] for start in starts])

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next batch by the name of the input."""
        batch = next(self._batches, None)
        return None if batch is None else {"square": batch}


def _written(module: nn.Module, example: Tensor, dynamic: Mapping[int, Any], names: tuple[str, list[str]]) -> Any:
    library("onnx")
    library("onnxscript")
    given, wanted = names
    try:
        with quiet():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes=(dict(dynamic),),
                opset_version=OPSET,
                input_names=[given],
                output_names=wanted,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # of torch's tracer, its decompositions or onnxscript: no common parent
        what = f"an operation of this network has no ONNX form: {_first_line(error)}"
        raise ExportError(what, remedy="--format pt2 may do") from None
    if program is None:
        raise ExportError("torch.onnx wrote nothing for this network", remedy="--format pt2 may do")
    model = program.model_proto
    for node in model.graph.node:  # where in whose files it came from: nobody's business
        del node.metadata_props[:]
    for value in model.graph.value_info:
        del value.metadata_props[:]
    return model


def _prefixed(compose: Any, square: Any) -> Any:
    """Its inner names must not be those of the network."""
    kept = {"rename_inputs": False, "rename_outputs": False}
    return compose.add_prefix(square, "prepare/", **kept)


def library(name: str) -> Any:
    """onnx or onnxscript, on demand.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        what = f"{name} is not installed, and ONNX files are written with it"
        raise MissingExtraError(what, remedy="pip install 'saccade[export]'") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks of exporters, which are about code of their own."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _first_line(error: Exception) -> str:
    lines = str(error.__cause__ or error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
