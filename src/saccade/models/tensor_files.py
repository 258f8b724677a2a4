"""Named tensors out of a file, without running anything that the file says.

    .safetensors            a JSON header, then bytes; the header alone is read until somebody asks for a tensor
    .pth, .pt, .bin         torch.save's, read with weights_only=True: tensors and plain containers, never code

Which of the two it is, the first bytes decide and not the name.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saccade.errors import WeightsError

# The header of a ResNet-152 has 0.1 MB; that of a network with a million class names 30.
_LARGEST_HEADER = 64 * 2**20
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
# What people put around a state dict when they save a training, and what wrappers put before every name.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_COPY_AGAIN = "copy or download the file again"
_SAFE_WAY = (
    "where you trust its origin: load it there and save the bare numbers with "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'), then name that file"
)


class Outline(NamedTuple):
    """What is known of a tensor before it is read. `is_float`: of a type that a parameter can be copied from."""

    shape: tuple[int, ...]
    is_float: bool


@dataclass(frozen=True)
class StoredTensors:
    """The tensors of a file, by the names they have there.

    Attributes:
        where: the file, for messages.
        outline: name -> shape, in the file's order.
        read: name -> the tensor, on the CPU.
        metadata: the strings of a safetensors header.
        looks_like: which network and how many classes, in words, where the file says it.
    """

    where: str
    outline: Mapping[str, Outline]
    read: Callable[[str], Tensor]
    metadata: Mapping[str, str]
    looks_like: str | None = None


def first_bytes(path: Path) -> bytes:
    """The first 16 bytes of a file of weights.

    Raises:
        WeightsError: there is no such file, it is a folder, it is empty, or it may not be read.
    """
    if path.is_dir():
        raise WeightsError(
            "this is a folder, and weights are one file",
            where=str(path),
            remedy="name the file inside; in a run folder it is weights/best.safetensors",
        )
    if not path.is_file():
        raise WeightsError("there is no such weights file", where=str(path))
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise WeightsError(f"the weights file cannot be read: {error.strerror}", where=str(path)) from None
    if not start:
        raise WeightsError("the weights file is empty", where=str(path), remedy=_COPY_AGAIN)
    return start


def open_tensors(path: Path) -> StoredTensors:
    """Open a safetensors file or one of torch.save's.

    Raises:
        WeightsError: it is damaged, of another kind, or needs code to be run.
    """
    start = first_bytes(path)
    header_bytes = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and header_bytes < path.stat().st_size:
        return open_safetensors(path)
    if start.startswith(b"PK"):
        _check_torch_archive(path)
        return _open_torch(path)
    if start[0] == 0x80:
        return _open_torch(path)
    if path.suffix == ".safetensors":
        return open_safetensors(path)
    raise WeightsError(
        f"this is no file of weights that saccade knows: it begins with {start[:8]!r}",
        where=str(path),
        remedy="known are .safetensors, torch.save's .pth and the .h5 of Keras' VGG16 and VGG19",
    )


def open_safetensors(path: Path) -> StoredTensors:
    """Read the header of a safetensors file; tensors are read when they are asked for.

    Raises:
        WeightsError: it is no whole safetensors file.
    """
    header_bytes = int.from_bytes(first_bytes(path)[:8], "little")
    if _LARGEST_HEADER < header_bytes < path.stat().st_size:
        raise WeightsError(
            f"the header of the weights file has {header_bytes:,} bytes, allowed are {_LARGEST_HEADER:,}",
            where=str(path),
        )
    try:
        file: Any = safe_open(path, framework="pt")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        outline = {name: Outline(tuple(s.get_shape()), s.get_dtype() in _FLOATS) for name, s in slices.items()}
        metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"this is not a whole safetensors file: {error}",
            where=str(path),
            remedy=f"{_COPY_AGAIN}; a pickle (.pt, .pth) under this name is never loaded, for that would run its code",
        ) from None
    return _without_prefix(StoredTensors(str(path), outline, file.get_tensor, metadata))


def _check_torch_archive(path: Path) -> None:
    """torch.save stores uncompressed: whatever unpacks to more than the file holds is not from there."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(
            f"the weights file is cut off or damaged: {str(error).lower()}", where=str(path), remedy=_COPY_AGAIN
        ) from None
    names = {entry.filename.rpartition("/")[2] for entry in entries}
    if "constants.pkl" in names:
        raise WeightsError(
            "this is a TorchScript archive: a program, not bare weights", where=str(path), remedy=_SAFE_WAY
        )
    if "data.pkl" not in names:
        keras = "model.weights.h5" in names
        raise WeightsError(
            "this is an archive of Keras 3 (.keras)" if keras else "this zip file was not written by torch.save",
            where=str(path),
            remedy="save it from Keras with model.save('weights.h5')" if keras else _SAFE_WAY,
        )
    unpacked, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if unpacked > size:
        raise WeightsError(
            f"the weights file has {size:,} bytes but claims to unpack to {unpacked:,}: torch.save never compresses",
            where=str(path),
            remedy=_SAFE_WAY,
        )


def _open_torch(path: Path) -> StoredTensors:
    try:
        # An open file, for of a path torch would look at the name too.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what it cannot read it refuses anyway
            content = torch.load(file, map_location="cpu", weights_only=True)
    # A damaged or foreign file makes torch raise nearly anything; none of it is our bug.
    except Exception as error:
        raise _torch_error(path, error) from None
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    named = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value.detach() for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(
            f"the file holds no tensors by name: it holds a {type(content).__name__}",
            where=str(path),
            remedy="save model.state_dict()",
        )
    outline = {name: Outline(tuple(value.shape), _is_plain_float(value)) for name, value in tensors.items()}
    return _without_prefix(StoredTensors(str(path), outline, tensors.__getitem__, {}))


def _is_plain_float(value: Tensor) -> bool:
    return value.is_floating_point() and value.layout == torch.strided and value.device.type == "cpu"


def _torch_error(path: Path, error: Exception) -> WeightsError:
    code = re.search(r"GLOBAL `?([\w.]+)", str(error))
    # By name, for the module that defines it is one that nothing here may import.
    if code or type(error).__name__ == "UnpicklingError":
        wants = f", here {code[1]}" if code else ""
        return WeightsError(
            f"this file is a pickle of more than numbers: to read it, code it names would have to run{wants}",
            where=str(path),
            remedy=f"saccade never runs code out of a file and did not now; {_SAFE_WAY}",
        )
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return WeightsError(f"the weights file is cut off or damaged: {reason}", where=str(path), remedy=_COPY_AGAIN)


def _without_prefix(stored: StoredTensors) -> StoredTensors:
    """Drop what DataParallel, torch.compile or a surrounding module put before every name."""
    for prefix in _PREFIXES:
        if stored.outline and all(name.startswith(prefix) for name in stored.outline):
            return renamed(stored, {name: name.removeprefix(prefix) for name in stored.outline})
    return stored


def renamed(stored: StoredTensors, new_names: Mapping[str, str]) -> StoredTensors:
    """The same tensors under other names; `new_names` maps every name, and no two to one."""
    old_names = {new: old for old, new in new_names.items()}
    return StoredTensors(
        stored.where,
        {new_names[name]: outline for name, outline in stored.outline.items()},
        lambda name: stored.read(old_names[name]),
        stored.metadata,
        stored.looks_like,
    )
