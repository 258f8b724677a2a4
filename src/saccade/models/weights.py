"""Parameters in and out of a network, as safetensors. Nothing here ever unpickles.

A file of saccade's own carries, in its metadata under `saccade`, all that is needed to build the network again
and to use it: docs/formats.md describes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saccade.errors import RecipeError, WeightsError
from saccade.models.catalogue import build_network, find_entry
from saccade.models.network import Network, NetworkSpec

WEIGHTS_FORMAT = 1


class LoadedWeights(NamedTuple):
    """A network built from a file, in inference mode on the CPU, and what else its writer put in."""

    network: Network
    extra: dict[str, Any]


class _Spec(BaseModel):
    """NetworkSpec as it may come out of a file: a stranger's file must not make us allocate without bound."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(max_length=200)
    num_classes: int = Field(ge=2, le=1_000_000)
    image_size: int = Field(ge=1, le=4096)
    in_channels: int = Field(ge=1, le=3)
    head: str | None = Field(max_length=200)


class _Card(BaseModel):
    """The metadata of a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: int
    written_by: str
    spec: _Spec
    extra: dict[str, Any]


def save_network(path: Path, network: Network, extra: Mapping[str, Any]) -> None:
    """Write a network's weights and the card that builds it again; the file appears only when it is whole.

    Args:
        path: ends in .safetensors.
        network: on any device.
        extra: plain JSON values that travel with the weights (class names, preparation).
    """
    card = {
        "format": WEIGHTS_FORMAT,
        "written_by": version("saccade"),
        "spec": asdict(network.spec),
        "extra": dict(extra),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"saccade": json.dumps(card, sort_keys=True, ensure_ascii=True)})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def load_network(path: Path) -> LoadedWeights:
    """Build the network that a file of saccade's own describes and give it the file's weights.

    Raises:
        WeightsError: the file is missing, damaged, no safetensors, not saccade's own, newer than this version,
            or its weights do not belong to the network it names.
    """
    card, tensors = _read(path)
    spec = NetworkSpec(**card.spec.model_dump())
    try:
        find_entry(spec.model)
        with torch.device("meta"):  # shapes only: nothing is allocated before they are known to fit
            network = build_network(spec)
    except RecipeError as error:
        raise WeightsError(error.what, where=str(path), remedy="a newer saccade may know this network") from None
    complain_about(differences(network.state_dict(), tensors), path)
    network.load_state_dict(tensors, assign=True)
    return LoadedWeights(network.eval(), card.extra)


class Differences(NamedTuple):
    """How a file's tensors differ from a network's: names missing in the file, left over, of another shape."""

    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    reshaped: tuple[str, ...]


def differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Differences:
    """Compare by name and shape."""
    both = wanted.keys() & found.keys()
    return Differences(
        missing=tuple(name for name in wanted if name not in found),
        left_over=tuple(name for name in found if name not in wanted),
        reshaped=tuple(
            f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in wanted
            if name in both and found[name].shape != wanted[name].shape
        ),
    )


def complain_about(found: Differences, path: Path) -> None:
    """Raise a WeightsError that lists the differences, when there are any."""
    parts = [
        f"{len(names)} {what} ({', '.join(names[:3])}{' …' if len(names) > 3 else ''})"
        for what, names in zip(("missing", "left over", "of another shape"), found, strict=True)
        if names
    ]
    if parts:
        raise WeightsError(
            f"the weights do not belong to the network the file names: {'; '.join(parts)}",
            where=str(path),
            remedy="use the file as it was written, or train again",
        )


def _read(path: Path) -> tuple[_Card, dict[str, Tensor]]:
    if not path.is_file():
        raise WeightsError("there is no such weights file", where=str(path))
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("saccade")
            if text is None:
                raise WeightsError(
                    "these weights were not written by saccade: they do not say which network they belong to",
                    where=str(path),
                )
            card = _Card.model_validate(json.loads(text))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"this is not a whole safetensors file: {error}",
            where=str(path),
            remedy="copy the file again; a pickle (.pt, .pth) is never loaded, because loading one runs its code",
        ) from None
    except (ValueError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise WeightsError(f"the card inside the weights file is invalid: {first}", where=str(path)) from None
    if card.format > WEIGHTS_FORMAT:
        raise WeightsError(
            f"the file has format {card.format} (saccade {card.written_by}), this saccade {version('saccade')} "
            f"reads up to {WEIGHTS_FORMAT}",
            where=str(path),
            remedy="pip install --upgrade saccade",
        )
    return card, tensors
