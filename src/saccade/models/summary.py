"""The layer table: what comes out of every layer, how many parameters it has and what it costs.

Shapes and costs are worked out on torch's meta device: nothing is computed, so the largest network takes no longer
than it takes to build it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from saccade.models.catalogue import CATALOGUE, build_network
from saccade.models.network import Network, NetworkSpec, side_of


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


def layer_table(network: Network) -> LayerTable:
    """Walk one picture through a network, auxiliary classifiers left out, and note what comes out of every layer."""
    with FlopCounterMode(display=False) as counter:
        shapes = _output_shapes(network)
    flops = counter.get_flop_counts()
    modules = dict(network.named_modules())
    rows = tuple(
        LayerRow(name, type(modules[name]).__name__, shape, *_count(modules[name]), _flops(flops, name) // 2)
        for name, shape in shapes.items()
    )
    return LayerTable(network.spec, rows, *_count(network), counter.get_total_flops() // 2)


def catalogue_rows() -> list[CatalogueRow]:
    """A row per network of the catalogue, in its order."""
    rows = []
    for entry in CATALOGUE.values():
        spec = NetworkSpec(entry.name, entry.num_classes, entry.image_size, entry.in_channels)
        with torch.device("meta"):
            network = build_network(spec)
        multiply_adds = layer_table(network).multiply_adds
        facts = (entry.image_size, entry.in_channels, entry.year, entry.idea, entry.source)
        rows.append(CatalogueRow(entry.name, entry.parameters, multiply_adds, *facts))
    return rows


def _output_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, inputs, output: shapes.update({name: tuple(output.shape[1:])})

    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children()) and name]
    handles = [module.register_forward_hook(note(name)) for name, module in leaves]
    was_training = network.training
    network.eval()
    try:
        tensors = {name: tensor.detach().to("meta") for name, tensor in network.state_dict(keep_vars=True).items()}
        side = side_of(network.spec)
        image = torch.empty(1, network.spec.in_channels, side, side, device="meta")
        torch.func.functional_call(network, tensors, (image,))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return shapes


def _count(module: nn.Module) -> tuple[int, int]:
    sizes = [(math.prod(p.shape), p.requires_grad) for p in module.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)


def _flops(flops: dict[str, Any], name: str) -> int:
    return sum(flops.get(f"Network.{name}", {}).values())
