"""Parameters in and out of a network. Nothing here ever runs what a file says.

- `save_network` and `load_network`: a file of saccade's own carries, in its metadata under `saccade`, all that is
  needed to build the network again and to use it: docs/formats.md describes it.
- `initialise`: first weights for a network that exists, from there or from elsewhere. tensor_files.py and keras.py
  read the forms, published.py knows torchvision's, fitting.py puts them in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from saccade.errors import RecipeError, ResourceError, WeightsError
from saccade.models.catalogue import build_network, find_entry
from saccade.models.fitting import OWN_NAMING, LoadReport, Origin, PixelScale, fit_tensors, shorten
from saccade.models.keras import CAFFE_PIXELS, HDF5_SIGNATURE, open_keras
from saccade.models.network import IMAGENET_MEAN, IMAGENET_STD, Network, NetworkSpec
from saccade.models.published import (
    PublishedWeights,
    fetch,
    has_checksum,
    old_densenet_names,
    published_sets,
    torchvision_naming,
)
from saccade.models.recognise import recognise
from saccade.models.shapes_only import ShapesOnly
from saccade.models.tensor_files import StoredTensors, first_bytes, open_safetensors, open_tensors
from saccade.models.timm import TimmNetwork
from saccade.models.timm_weights import load_timm_weights
from saccade.whole import whole_file

WEIGHTS_FORMAT = 1

_ASSUMED_PIXELS = PixelScale(IMAGENET_MEAN, IMAGENET_STD, "ImageNet's")
_ASSUMED = "the file does not say which pixels it expects: ImageNet's mean and deviation are assumed"


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
    with whole_file(path) as partial:
        try:
            save_file(tensors, partial, metadata={"saccade": json.dumps(card, sort_keys=True, ensure_ascii=True)})
        except SafetensorError as error:
            what = f"the weights cannot be written: {error}"
            raise ResourceError(what, where=str(path), remedy="free some space there") from None


def load_network(path: Path) -> LoadedWeights:
    """Build the network that a file of saccade's own describes and give it the file's weights.

    Raises:
        WeightsError: the file is missing, damaged, no safetensors, not saccade's own, newer than this version,
            or its weights do not belong to the network it names.
    """
    found = open_safetensors(path)
    card = _read_card(found)
    spec = NetworkSpec(**card.spec.model_dump())
    try:
        find_entry(spec.model)
        with torch.device("meta"), ShapesOnly():  # nothing is allocated before they are known to fit
            network = build_network(spec)
    except RecipeError as error:
        raise WeightsError(error.what, where=str(path), remedy="a newer saccade may know this network") from None
    _complain(network.state_dict(), found)
    network.load_state_dict({name: found.read(name) for name in found.outline}, assign=True)
    return LoadedWeights(network.eval(), card.extra)


def _complain(wanted: Mapping[str, Tensor], found: StoredTensors) -> None:
    """Raise a WeightsError that lists how the file's tensors differ from the network's, when they do."""
    shapes = {name: tuple(value.shape) for name, value in wanted.items()}
    stored = {name: outline.shape for name, outline in found.outline.items()}
    differences = {
        "missing": [name for name in shapes if name not in stored],
        "left over": [name for name in stored if name not in shapes],
        "of another shape": [
            f"{name} {stored[name]} instead of {shape}"
            for name, shape in shapes.items()
            if name in stored and stored[name] != shape
        ],
    }
    parts = [f"{len(names)} {what} ({shorten(names)})" for what, names in differences.items() if names]
    if parts:
        raise WeightsError(
            f"the weights do not belong to the network the file names: {'; '.join(parts)}",
            where=found.where,
            remedy="use the file as it was written, or train again",
        )


def _read_card(found: StoredTensors) -> _Card:
    if "saccade" not in found.metadata:
        raise WeightsError(
            "these weights were not written by saccade: they do not say which network they belong to",
            where=found.where,
        )
    try:
        card = _Card.model_validate(json.loads(found.metadata["saccade"]))
    except (ValueError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise WeightsError(f"the card inside the weights file is invalid: {first}", where=found.where) from None
    if card.format > WEIGHTS_FORMAT:
        raise WeightsError(
            f"the file has format {card.format} (saccade {card.written_by}), this saccade {version('saccade')} "
            f"reads up to {WEIGHTS_FORMAT}",
            where=found.where,
            remedy="pip install --upgrade saccade",
        )
    return card


def initialise(network: Network, weights: str) -> LoadReport:
    """Give a network its first weights and the normalisation they expect.

    Args:
        network: freshly built, on any device; its head keeps its random weights where the file's does not fit.
        weights: `none`; `default` or the name of a set that torchvision publishes for this network; or a file:
            .safetensors (saccade's own or a bare state dict), .pth, .pt or .bin (torch.save), .h5 (Keras' VGG).

    Raises:
        RecipeError: there is no such set of weights.
        WeightsError: the file is damaged, unsafe, or of another network.
        ResourceError: the published weights cannot be downloaded.
        MissingExtraError: the file needs a library that is not installed.
    """
    if weights == "none":
        return LoadReport(source="random weights", num_loaded=0, new_head=True)
    if isinstance(network, TimmNetwork) and not _is_own_file(weights):
        return load_timm_weights(network, weights)
    published = _find_published(network.spec.model, weights)
    if published is not None:
        return _load_published(network, fetch(published), published)
    path = Path(weights)
    if first_bytes(path).startswith(HDF5_SIGNATURE):
        keras = open_keras(path)
        origin = Origin(f"Keras' file {path.name} ({keras.stored.looks_like or 'of no VGG'})", CAFFE_PIXELS)
        return fit_tensors(network, keras.stored, keras.naming, origin)
    # Fetched by hand, a published file is still what it was: its pixels and its terms are known.
    for known in published_sets(network.spec.model):
        if path.name == known.file_name and has_checksum(path, known.checksum):
            return _load_published(network, path, known)
    return _load_stored(network, open_tensors(path))


def network_of(path: Path) -> str | None:
    """The network of the catalogue that a file of weights belongs to; None where that cannot be told.

    Raises:
        WeightsError: the file cannot be read.
    """
    if first_bytes(path).startswith(HDF5_SIGNATURE):
        return None
    found = open_tensors(path)
    return _read_card(found).spec.model if "saccade" in found.metadata else recognise(found)


def _is_own_file(weights: str) -> bool:
    path = Path(weights)
    return weights.endswith(".safetensors") and path.is_file() and "saccade" in open_safetensors(path).metadata


def _find_published(model: str, weights: str) -> PublishedWeights | None:
    """The set of that name; None when it must be the path of a file."""
    sets = published_sets(model)
    for published in sets:
        if weights == published.name or (weights == "default" and published.is_default):
            return published
    if weights != "default" and (Path(weights).suffix or Path(weights).name != weights or Path(weights).exists()):
        return None
    known = " or ".join(["none", *(["default"] if sets else []), *(published.name for published in sets)])
    raise RecipeError(
        f"there are no published weights called {weights!r} for {model}"
        if sets
        else f"no weights of {model} are published",
        where="weights",
        remedy=f"use {known}, or the path of a file",
    )


def _load_published(network: Network, path: Path, published: PublishedWeights) -> LoadReport:
    found = old_densenet_names(open_tensors(path))
    notes = (f"licence: {published.licence}",)
    return fit_tensors(
        network, found, torchvision_naming(network.spec.model), Origin(published.in_words(), published.pixels, notes)
    )


def _load_stored(network: Network, found: StoredTensors) -> LoadReport:
    """A file that is not published: saccade's own, or a state dict with our names or torchvision's."""
    name = Path(found.where).name
    if "saccade" in found.metadata:
        spec = _read_card(found).spec
        identity = f"{spec.model}, {spec.num_classes} classes"
        if spec.model != network.spec.model:
            raise WeightsError(
                f"these weights belong to another network: file: {identity}; "
                f"now: {network.spec.model}, {network.spec.num_classes} classes",
                where=found.where,
                remedy=f"use --model {spec.model}",
            )
        return fit_tensors(network, found, OWN_NAMING, Origin(f"{name} ({identity})", None))
    carries_pixels = {"normalise.mean", "normalise.std"} <= found.outline.keys()
    origin = Origin(name, None) if carries_pixels else Origin(name, _ASSUMED_PIXELS, (_ASSUMED,))
    is_ours = any(name.startswith("stages.") for name in found.outline)
    naming = OWN_NAMING if is_ours else torchvision_naming(network.spec.model)
    return fit_tensors(network, old_densenet_names(found), naming, origin)
