"""VGG16 and VGG19 out of Keras' .h5 files, with and without top: https://keras.io/api/applications/vgg.

The published layout (Keras 2, and Keras 3 under the name .h5): the root, or the group `model_weights` where a whole
model was saved, has an attribute `layer_names`; each layer is a group with an attribute `weight_names`, kernel first.

| there | here |
| --- | --- |
| convolution (height, width, in, out) | (out, in, height, width) |
| first convolution over blue, green, red | over red, green, blue |
| dense (in, out) | (out, in) |
| the first dense layer sees (height, width, channels) flattened | (channels, height, width) |
| pixels in 0..255 less 103.939, 116.779, 123.68 in blue, green, red | `normalise`, with a deviation of 1 |
"""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saccade.errors import MissingExtraError, WeightsError
from saccade.models.fitting import Naming, PixelScale
from saccade.models.tensor_files import Outline, StoredTensors
from saccade.models.vgg import BLOCKS

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
CAFFE_PIXELS = PixelScale((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), "the caffe way, as Keras' VGG expects")
_MOST_LAYERS = 1000
# Numbers of a trained network hardly compress: a file that claims much more than it holds is not one.
_MOST_EXPANSION = 4


class KerasWeights(NamedTuple):
    """The tensors of a Keras file in our layout, under their names there (`block1_conv1.kernel`)."""

    stored: StoredTensors
    naming: Naming


class _Array(NamedTuple):
    """Where an array lies in the file, its shape there, and what it is for."""

    place: str
    shape: tuple[int, ...]
    flattened: int | None = None  # channels, for the kernel that sees a flattened map
    is_first: bool = False


def open_keras(path: Path) -> KerasWeights:
    """Read the layout of a Keras .h5; arrays are read when they are asked for.

    Raises:
        MissingExtraError: h5py is not installed.
        WeightsError: it is damaged, in the layout of Keras 3's .weights.h5, or has layers that no VGG has.
    """
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            arrays = _arrays(h5py, file, path)
    except WeightsError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"this .h5 file is damaged or was not written by Keras: {error}",
            where=str(path),
            remedy="copy or download the file again",
        ) from None

    def read(name: str) -> Tensor:
        with h5py.File(path, "r") as file:
            return _in_our_layout(np.asarray(file[arrays[name].place], dtype=np.float32), arrays[name])

    dense = [name.removesuffix(".kernel") for name, array in arrays.items() if _is_dense(name, array)]
    outline = {name: Outline(_our_shape(array.shape), is_float=True) for name, array in arrays.items()}
    num_classes = arrays[f"{dense[-1]}.kernel"].shape[1] if dense else None
    stored = StoredTensors(str(path), outline, read, {}, _looks_like(arrays, num_classes))
    return KerasWeights(stored, _naming(dense))


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise MissingExtraError(
            "h5py is not installed, and it reads Keras' .h5 files",
            remedy="pip install 'saccade[keras-weights]'",
        ) from None


def _arrays(h5py: Any, file: Any, path: Path) -> dict[str, _Array]:
    """`block1_conv1.kernel` and so on -> where it is; every array is checked before one is read."""
    root = file.get("model_weights", file)
    if "layer_names" not in root.attrs:
        raise WeightsError(
            "this .h5 file has no attribute layer_names: Keras 3 writes .weights.h5 files in another layout",
            where=str(path),
            remedy="in Keras, load it into its model and save that with model.save('vgg.h5')",
        )
    arrays: dict[str, _Array] = {}
    claimed = 0
    for layer in _texts(root.attrs["layer_names"]):
        places = [f"{root[layer].name}/{name}" for name in _texts(root[layer].attrs["weight_names"])]
        for kernel, bias in _pairs(layer, places, path):
            name = layer if len(places) == 2 else kernel.split("/")[-2]
            datasets = [_checked(h5py, file, place, path) for place in (kernel, bias)]
            claimed += sum(dataset.nbytes for dataset in datasets)
            arrays |= _layer(name, datasets, arrays, path)
    if claimed > _MOST_EXPANSION * path.stat().st_size or len(arrays) > 2 * _MOST_LAYERS:
        raise WeightsError(f"the file has {path.stat().st_size:,} bytes but claims {claimed:,}", where=str(path))
    return arrays


def _texts(names: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names[:_MOST_LAYERS]]


def _pairs(layer: str, places: list[str], path: Path) -> list[tuple[str, str]]:
    if len(places) % 2:
        raise WeightsError(
            f"layer {layer} has {len(places)} weights: layers of VGG have a kernel and a bias", where=str(path)
        )
    return list(zip(places[::2], places[1::2], strict=True))


def _checked(h5py: Any, file: Any, place: str, path: Path) -> Any:
    dataset = file[place]
    elsewhere = isinstance(dataset, h5py.Dataset) and (dataset.is_virtual or dataset.external)
    # A link to another file gives a dataset of that file.
    if elsewhere or dataset.file.filename != file.filename:
        raise WeightsError(f"{place} lies in another file, and links out of it are not followed", where=str(path))
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != "f":
        raise WeightsError(f"{place} is not an array of floating-point numbers", where=str(path))
    return dataset


def _layer(name: str, datasets: list[Any], before: dict[str, _Array], path: Path) -> dict[str, _Array]:
    """A kernel and its bias; `before` are the layers before it, for the first of a kind is special."""
    kernel, bias = (_Array(dataset.name, tuple(dataset.shape)) for dataset in datasets)
    if len(kernel.shape) not in (2, 4) or bias.shape != kernel.shape[-1:] or f"{name}.kernel" in before:
        raise WeightsError(
            f"layer {name} is no layer of VGG: shapes {kernel.shape} and {bias.shape}",
            where=str(path),
            remedy="only VGG16 and VGG19, and dense layers on top of them, are read from Keras",
        )
    kernels = [array for array in before.values() if len(array.shape) > 1]
    if len(kernel.shape) == 4:
        kernel = kernel._replace(is_first=not kernels)
    elif kernels and len(kernels[-1].shape) == 4:
        kernel = kernel._replace(flattened=kernels[-1].shape[-1])
    return {f"{name}.kernel": kernel, f"{name}.bias": bias}


def _our_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 4:
        height, width, in_channels, out_channels = shape
        return (out_channels, in_channels, height, width)
    return shape[::-1]


def _in_our_layout(values: npt.NDArray[np.float32], array: _Array) -> Tensor:
    tensor = torch.from_numpy(values)
    if tensor.ndim == 4:
        tensor = tensor.permute(3, 2, 0, 1)
        return tensor.flip(1) if array.is_first else tensor
    if array.flattened:
        in_features, out_features = array.shape
        side = math.isqrt(in_features // array.flattened)
        if side * side * array.flattened == in_features:
            tensor = tensor.view(side, side, array.flattened, out_features).permute(2, 0, 1, 3)
            tensor = tensor.reshape(in_features, out_features)
    return tensor.t() if tensor.ndim == 2 else tensor


def _is_dense(name: str, array: _Array) -> bool:
    return name.endswith(".kernel") and len(array.shape) == 2


def _naming(dense: list[str]) -> Naming:
    """Our names -> Keras': the last dense layer is our logits, those before it our hidden layers in order."""
    layers = {f"head.fc{number}": name for number, name in enumerate(dense[:-1], start=1)}
    layers |= {"head.logits": dense[-1]} if dense else {}
    tensors = {"weight": "kernel", "bias": "bias"}

    def their_name(ours: str) -> str:
        layer, _, tensor = ours.rpartition(".")
        conv = re.fullmatch(r"stages\.(block\d_conv\d)\.conv", layer)
        theirs = conv[1] if conv else layers.get(layer)
        return f"{theirs}.{tensors[tensor]}" if theirs and tensor in tensors else ours

    return Naming(their_name, tuple(f"{name}." for name in dense))


def _looks_like(arrays: dict[str, _Array], num_classes: int | None) -> str | None:
    convs = {name.removesuffix(".kernel") for name, array in arrays.items() if len(array.shape) == 4}
    for model, blocks in BLOCKS.items():
        if convs == {f"block{b}_conv{n}" for b, num in enumerate(blocks, start=1) for n in range(1, num + 1)}:
            return f"{model}, {f'{num_classes} classes' if num_classes else 'without top'}"
    return None
