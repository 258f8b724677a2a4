"""The layer table: what comes out of every layer, how many parameters it has and what it costs.

Shapes and costs are worked out on torch's meta device: nothing is computed, so the largest network takes no longer
than it takes to build it.
"""

from __future__ import annotations

import glob
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from saccade.models.catalogue import CATALOGUE, build_network
from saccade.models.costs import MULTIPLY_ADDS
from saccade.models.network import Network, NetworkSpec, side_of
from saccade.models.published import published_sets
from saccade.models.shapes_only import ShapesOnly
from saccade.models.timm import TimmFacts, timm_facts, timm_names


class LayerRow(NamedTuple):
    """A layer: its full name, kind, output shape without the batch axis, and counts for one picture."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable: int
    multiply_adds: int


@dataclass(frozen=True)
class LayerTable:
    """All layers in the order in which a picture passes them, and the totals."""

    spec: NetworkSpec
    rows: tuple[LayerRow, ...]
    parameters: int
    trainable: int
    multiply_adds: int

    @property
    def frozen(self) -> int:
        """Parameters that do not learn."""
        return self.parameters - self.trainable

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "frozen": self.frozen, "rows": [row._asdict() for row in self.rows]}


class Published(NamedTuple):
    """The set of weights that `--weights default` takes: top-1 accuracy in percent at a side in pixels, and terms."""

    name: str
    top1: float | None
    image_size: int
    megabytes: float
    licence: str


class CatalogueRow(NamedTuple):
    """A network of the catalogue at its published size and number of classes; multiply-adds for one picture."""

    name: str
    parameters: int
    multiply_adds: int
    image_size: int
    in_channels: int
    year: int
    idea: str
    source: str
    weights: Published | None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**self._asdict(), "weights": self.weights._asdict() if self.weights else None}


def outline(spec: NetworkSpec) -> Network:
    """A network without its numbers, to look at: it takes no memory and no time to initialise."""
    with torch.device("meta"), ShapesOnly():
        return build_network(spec)


def layer_table(network: Network) -> LayerTable:
    """Walk one picture through a network, auxiliary classifiers left out, and note what comes out of every layer.

    A module that holds layers has a row where it has parameters beside theirs, such as a class token.
    """
    with FlopCounterMode(display=False) as counter:
        shapes = _output_shapes(network)
    flops = counter.get_flop_counts()
    modules = dict(network.named_modules())
    counts = _counts(network, shapes)
    rows = tuple(
        LayerRow(name, type(modules[name]).__name__, shape, *counts[name], _flops(flops, modules, name) // 2)
        for name, shape in shapes.items()
        if counts[name][0] or not (list(modules[name].children()) or isinstance(modules[name], nn.Identity))
    )
    sizes = [(math.prod(p.shape), p.requires_grad) for p in network.parameters()]
    learning = sum(size for size, learns in sizes if learns)
    return LayerTable(network.spec, rows, sum(size for size, _ in sizes), learning, counter.get_total_flops() // 2)


def catalogue_rows(pattern: str = "*") -> list[CatalogueRow]:
    """A row per network of the catalogue whose name matches, in its order.

    Args:
        pattern: a glob, or part of a name.
    """
    rows = []
    for name, entry in CATALOGUE.items():
        if matches(name, pattern):
            about = (entry.image_size, entry.in_channels, entry.year, entry.idea, entry.source)
            rows.append(CatalogueRow(name, entry.parameters, MULTIPLY_ADDS[name], *about, _published(name)))
    return rows


def timm_rows(pattern: str = "*") -> list[TimmFacts]:
    """What timm says about each of its networks whose name matches; none of them is built."""
    return [timm_facts(name) for name in timm_names() if matches(name, pattern)]


def matches(name: str, pattern: str) -> bool:
    """Whether a name fits a glob, or contains the pattern where it is none."""
    return fnmatch(name, pattern if glob.has_magic(pattern) else f"*{pattern}*")


def _published(model: str) -> Published | None:
    for found in published_sets(model):
        if found.is_default:
            return Published(found.name, found.top1, found.image_size, found.file_megabytes, found.licence)
    return None


def _output_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """By name, of every module that was called and returned one tensor."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[[nn.Module, Any, object], None]:
        def hook(module: nn.Module, inputs: Any, output: object) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape[1:])

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    was_training = network.training
    network.eval()
    try:
        tensors = {name: tensor.detach().to("meta") for name, tensor in network.state_dict(keep_vars=True).items()}
        side = side_of(network.spec)
        image = torch.empty(1, network.spec.in_channels, side, side, device="meta")
        with ShapesOnly():
            torch.func.functional_call(network, tensors, (image,))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return shapes


def _counts(network: Network, shapes: Mapping[str, object]) -> dict[str, tuple[int, int]]:
    """Parameters and how many of them learn; those of a module that was never called go to the one around it."""
    counts = dict.fromkeys(shapes, (0, 0))
    for name, parameter in network.named_parameters():
        owner = name
        while owner and owner not in shapes:
            owner = owner.rpartition(".")[0]
        if owner:
            size = math.prod(parameter.shape)
            before, learning = counts[owner]
            counts[owner] = (before + size, learning + size * parameter.requires_grad)
    return counts


def _flops(flops: dict[str, Any], modules: dict[str, nn.Module], name: str) -> int:
    """Of a layer; what a module with layers inside does beside them stands in the total alone."""
    if list(modules[name].children()):
        return 0
    return sum(flops.get(f"{type(modules['']).__name__}.{name}", {}).values())
