"""Tell from names and shapes alone which network of the catalogue a file belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch

from saccade.models.catalogue import CATALOGUE, Entry, build_network
from saccade.models.network import NetworkSpec
from saccade.models.tensor_files import StoredTensors

_COUNTER = ".num_batches_tracked"
_BESIDE_STAGES = ("normalise.", "head.", "auxiliary.", "fc.", "classifier.", "aux1.", "aux2.", "AuxLogits.")


def recognise(found: StoredTensors) -> str | None:
    """The name of a network, or None when no network of the catalogue has just these stages.

    It builds the networks without their numbers, which takes some two seconds in all.
    """
    told = _told(found)
    return told and told[0].name


def recognise_in_words(found: StoredTensors) -> str | None:
    """`resnet50, 10 classes`, or None likewise."""
    told = _told(found)
    return told and f"{told[0].name}, {_num_classes(found, told[1])}"


def _told(found: StoredTensors) -> tuple[Entry, Callable[[str], str]] | None:
    for entry in CATALOGUE.values():
        stages = _stages(entry)
        for their_name in _namings(entry):
            if _has_just({their_name(name): shape for name, shape in stages.items()}, found):
                return entry, their_name
    return None


def _stages(entry: Entry) -> dict[str, tuple[int, ...]]:
    """Name -> shape, without the counters that old files do not have."""
    spec = NetworkSpec(entry.name, entry.num_classes, in_channels=entry.in_channels)
    with torch.device("meta"):
        state = build_network(spec).stages.state_dict()
    return {f"stages.{name}": tuple(value.shape) for name, value in state.items() if not name.endswith(_COUNTER)}


def _namings(entry: Entry) -> list[Callable[[str], str]]:
    ours: list[Callable[[str], str]] = [str]
    return [*ours, partial(entry.torchvision_name, entry.name)] if entry.torchvision_name else ours


def _has_just(stages: Mapping[str, tuple[int, ...]], found: StoredTensors) -> bool:
    if any(name not in found.outline or found.outline[name].shape != shape for name, shape in stages.items()):
        return False
    rest = [name for name in found.outline if name not in stages and not name.endswith(_COUNTER)]
    return all(name.startswith(_BESIDE_STAGES) for name in rest)


def _num_classes(found: StoredTensors, their_name: Callable[[str], str]) -> str:
    logits = found.outline.get(their_name("head.logits.weight"))
    return f"{logits.shape[0]} classes" if logits else "no head of the usual kind"
