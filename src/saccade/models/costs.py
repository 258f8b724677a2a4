"""What a network costs: the multiply-adds of its convolutions and linear layers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from saccade.models.network import Network, side_of
from saccade.models.shapes_only import ShapesOnly


class Costs(ShapesOnly):
    """Counts multiply-adds while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear:  # as the class above has it, for shapes
            result = args[0].new_empty((*args[0].shape[:-1], args[1].shape[0]))
        else:
            result = super().__torch_function__(func, types, args, kwargs)
        if func in (torch.conv2d, F.linear):
            self.multiply_adds += int(result.numel() * args[1][0].numel())
        return result


def cost_of(network: Network) -> int:
    """What one picture costs a network in inference mode; nothing is computed.

    summary.layer_table says the same, and for transformers adds what attention costs; but torch's counter, which it
    asks, loads torch's compiler, which takes a second.
    """
    side, costs = side_of(network.spec), Costs()
    x = torch.empty(1, network.spec.in_channels, side, side, device="meta")
    for part in (network.stages, network.head):  # to normalise pixels costs nothing here, and loads the compiler too
        tensors = {name: tensor.detach().to("meta") for name, tensor in part.state_dict(keep_vars=True).items()}
        with costs:
            x = torch.func.functional_call(part, tensors, (x,))
    return costs.multiply_adds
