"""The weights that torchvision publishes: what is known of each set, and the way from a name to a checked file.

Every fact is read from torchvision itself. It says nothing about licences, nor that two of its networks change the
pixels once more before the first layer: these two are written here.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError

import torch

from saccade.errors import ResourceError
from saccade.models.catalogue import CATALOGUE
from saccade.models.fitting import OWN_NAMING, Naming, PixelScale
from saccade.models.tensor_files import StoredTensors, renamed

if TYPE_CHECKING:
    from torchvision.models._api import WeightsEnum

LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose terms allow non-commercial research only"
# torchvision builds these two with transform_input=True when it loads weights: their authors trained with
# (x - 0.5) / 0.5, so what was normalised with ImageNet's statistics is taken back and normalised again.
_TRANSFORM_INPUT = frozenset({"googlenet", "inception_v3"})
# Seconds without a byte after which the network counts as absent; torch.hub would wait for ever.
_PATIENCE = 30.0


@dataclass(frozen=True)
class PublishedWeights:
    """One set of published weights.

    Attributes:
        model: the network's name, here and in torchvision.
        name: the set's, for example IMAGENET1K_V2.
        is_default: what `--weights default` takes.
        url: where it is published.
        top1: accuracy on ImageNet's validation pictures as published, in percent; None where it has no classifier.
        top5: likewise, for the five most likely classes.
        image_size: side in pixels at which that was measured, cut out of the middle of `resize_size`.
        file_megabytes: size of the file.
        num_parameters: as torchvision counts them, without auxiliary classifiers.
        class_names: of its outputs; empty where it has no classifier.
        recipe: how it was trained, by link.
        licence: in words, with a warning where the terms are for non-commercial use.
        pixels: the normalisation it expects.
    """

    model: str
    name: str
    is_default: bool
    url: str
    top1: float | None
    top5: float | None
    image_size: int
    resize_size: int
    file_megabytes: float
    num_parameters: int
    class_names: tuple[str, ...]
    recipe: str
    licence: str
    pixels: PixelScale

    @property
    def file_name(self) -> str:
        """The name of the file, which carries the beginning of its checksum."""
        return self.url.rpartition("/")[2]

    @property
    def checksum(self) -> str:
        """The first digits of the file's SHA-256."""
        found = re.search(r"-([0-9a-f]{8,})\.", self.file_name)
        if found is None:
            raise ValueError(f"{self.file_name} does not carry a checksum")
        return found[1]

    def in_words(self) -> str:
        """`torchvision's resnet50 IMAGENET1K_V2 (80.858 % top-1, 95.434 % top-5 at 224 pixels, 98 MB)`."""
        accuracy = f"{self.top1} % top-1, {self.top5} % top-5 at {self.image_size} pixels, " if self.top1 else ""
        return f"torchvision's {self.model} {self.name} ({accuracy}{self.file_megabytes:.0f} MB)"


def published_sets(model: str) -> tuple[PublishedWeights, ...]:
    """All that torchvision publishes for a network of the catalogue; empty where it has none."""
    entry = CATALOGUE.get(model)
    if entry is None or entry.torchvision_name is None:
        return ()
    # Imported where it is asked: it loads torch's compiler, which takes as long as torch itself.
    enum = importlib.import_module("torchvision.models").get_model_weights(model)
    return tuple(_facts(model, member, is_default=member is enum.DEFAULT) for member in enum)


def default_set(model: str) -> PublishedWeights:
    """What `--weights default` takes; StopIteration where nothing is published."""
    return next(published for published in published_sets(model) if published.is_default)


def imagenet_class_names() -> tuple[str, ...]:
    """The 1000 classes in the order of a published network's outputs."""
    return next(published.class_names for published in published_sets("resnet18"))


def _facts(model: str, member: WeightsEnum, *, is_default: bool) -> PublishedWeights:
    meta, transforms = member.meta, member.transforms()
    metrics = meta["_metrics"]["ImageNet-1K"]
    return PublishedWeights(
        model=model,
        name=member.name,
        is_default=is_default,
        url=member.url,
        top1=_number(metrics["acc@1"]),
        top5=_number(metrics["acc@5"]),
        image_size=transforms.crop_size[0],
        resize_size=transforms.resize_size[0],
        file_megabytes=meta["_file_size"],
        num_parameters=meta["num_params"],
        class_names=tuple(meta["categories"] or ()),
        recipe=meta["recipe"],
        licence=LICENCE,
        pixels=_pixels(model, tuple(transforms.mean), tuple(transforms.std)),
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _pixels(model: str, mean: tuple[float, ...], std: tuple[float, ...]) -> PixelScale:
    if model in _TRANSFORM_INPUT:
        mean, std = (0.5,) * 3, (0.5,) * 3
    words = f"as torchvision's {model} expects"
    return PixelScale(tuple(255 * value for value in mean), tuple(255 * value for value in std), words)


def torchvision_naming(model: str) -> Naming:
    """How torchvision's state dicts name the parameters of a network; our own names where it does not have it."""
    entry = CATALOGUE.get(model)
    if entry is None or entry.torchvision_name is None:
        return OWN_NAMING
    their_name = partial(entry.torchvision_name, model)
    return Naming(their_name, (their_name("head.logits.weight").split(".")[0] + ".",))


def old_densenet_names(found: StoredTensors) -> StoredTensors:
    """torchvision's files of DenseNet say norm.1 and conv.1 where its code, and so ours, says norm1 and conv1."""
    names = {name: re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name) for name in found.outline}
    return renamed(found, names)


def fetch(published: PublishedWeights) -> Path:
    """The file of a published set, out of torch's cache or downloaded into it; its checksum is verified either way.

    Raises:
        ResourceError: it is not there and cannot be had; the message says which file to put where.
    """
    path = _place_of(published)
    damaged = path.is_file() and not has_checksum(path, published.checksum)
    if path.is_file() and not damaged:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _impatient():
            # Into a file of another name, which gets this one when its checksum is right.
            torch.hub.download_url_to_file(published.url, str(path), published.checksum, progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        raise _unreachable(published, path, why_failed(error), damaged=damaged) from None
    return path


def why_failed(error: Exception) -> str:
    """What kept a file from being fetched, without the words around it: `Name or service not known`."""
    reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    return (isinstance(reason, OSError) and reason.strerror) or str(reason)


def fetching(model: str, weights: str) -> str | None:
    """What is about to be downloaded for this choice of weights, in words; None where nothing is."""
    for published in published_sets(model):
        if weights == published.name or (weights == "default" and published.is_default):
            path = _place_of(published)
            return None if path.is_file() else f"fetching {published.in_words()} into {path.parent}"
    return None


def _place_of(published: PublishedWeights) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / published.file_name


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file's SHA-256 begins with these digits; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest().startswith(checksum)
    except OSError:
        return False


@contextmanager
def _impatient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unreachable(published: PublishedWeights, path: Path, why: str, *, damaged: bool) -> ResourceError:
    in_cache = "; the file in the cache is damaged (its checksum is wrong) and was not used" if damaged else ""
    return ResourceError(
        f"{published.in_words()} could not be downloaded: {why}{in_cache}",
        where=published.url,
        remedy=f"with a network elsewhere, put the file {path.name} into the folder {path.parent}; "
        "or start without it: --weights none, or --weights FILE",
    )
