"""Which stages of a network can be looked at: those that give a map, a value per channel and place.

Everything works on `stages` alone, so no family has to be known. Maps (N, D, h, w) are maps already; maps (N, h, w, D),
as Swin's, are turned; tokens (N, T, D), as a vision transformer's, are laid out again as the square they came from,
without the extra ones before it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from saccade.errors import UsageError
from saccade.models.network import Network, side_of

Order = Literal["channels first", "channels last", "tokens", "unclear", "none"]

# Class, distillation and register tokens that may stand before those of the picture.
_MOST_EXTRA_TOKENS = 8
# Below, a map is so coarse that the heat says little more than left or right.
LEAST_SIDE = 5


class StageMap(NamedTuple):
    """What a stage gives for one picture: `channels` values at each of side × side places.

    Attributes:
        stage: its name.
        order: of the axes; `none` where the stage gives no map.
        channels: D.
        side: h = w.
        shape: as the stage gives it, without the batch axis.
    """

    stage: str
    order: Order
    channels: int
    side: int
    shape: tuple[int, ...]

    def laid_out(self, x: Tensor) -> Tensor:
        """What the stage gave for N pictures -> (N, D, h, w)."""
        if self.order == "channels last":
            return x.permute(0, 3, 1, 2)
        if self.order == "tokens":
            return x[:, -(self.side**2) :].transpose(1, 2).reshape(len(x), -1, self.side, self.side)
        return x


def stage_maps(network: Network) -> tuple[StageMap, ...]:
    """What every stage gives, in order; one empty picture is looked at."""
    shapes: dict[str, tuple[int, ...]] = {}
    device, side = next(network.parameters()).device, side_of(network.spec)
    with at_rest(network), torch.no_grad():
        x = network.normalise(torch.zeros(1, network.spec.in_channels, side, side, device=device))
        for name, stage in network.stages.named_children():
            x = stage(x)
            shapes[name] = tuple(x.shape[1:])
    orders = [_order(shape) for shape in shapes.values()]
    # Where channels happen to be as many as rows and columns, the other stages tell which axis is which.
    usual: Order = (
        "channels last" if orders.count("channels last") > orders.count("channels first") else "channels first"
    )
    known = (usual if order == "unclear" else order for order in orders)
    return tuple(_stage_map(name, order, shape) for (name, shape), order in zip(shapes.items(), known, strict=True))


def choose_stage(network: Network, asked: str | None) -> StageMap:
    """The stage to look at.

    Args:
        network: whatever its family.
        asked: a stage; `layer4` is the last of layer4_0, layer4_1 ..., a dot is an underscore. None for the deepest
            whose map has at least 5 × 5 places, or the finest where none has, and through which the logits are reached.

    Raises:
        UsageError: there is no such stage, or it gives no map; the stages that do are named.
    """
    maps = stage_maps(network)
    usable = [each for each in maps if each.order != "none"]
    if asked is not None:
        return _asked_for(asked, maps, usable)
    if not usable:
        raise _no_map("no stage of this network gives a map", usable)
    largest = max(each.side for each in usable)
    fine = [each for each in usable if each.side >= min(LEAST_SIDE, largest)]
    found = next((each for each in reversed(fine) if _reaches_logits(network, each)), None)
    if found is None:
        raise _no_map("no stage of this network gives a map that its answer depends on,", ())
    return found


@contextmanager
def at_rest(network: Network) -> Iterator[None]:
    """Inference mode of the layers, float32, and tensors that gradients may pass whatever surrounds the call."""
    was_training, kind = network.training, network.normalise.mean.device.type
    network.eval()
    try:
        with torch.inference_mode(mode=False), torch.autocast(kind, enabled=False):
            yield
    finally:
        network.train(was_training)


def number_of(network: Network, at: StageMap) -> int:
    """Where a stage stands among the others, from 0."""
    return [name for name, _ in network.stages.named_children()].index(at.stage)


def after(network: Network, x: Tensor, at: StageMap) -> Tensor:
    """The rest of the way behind a stage, without the auxiliary classifiers that `network.after` runs."""
    for stage in list(network.stages)[number_of(network, at) + 1 :]:
        x = stage(x)
    logits: Tensor = network.head(x)
    return logits


def _order(shape: tuple[int, ...]) -> Order:
    """Pictures are square, so the two axes of equal length are rows and columns."""
    if len(shape) == 3:
        first, second, third = shape
        if second == third:
            return "none" if second == 1 else "unclear" if first == second else "channels first"
        return "channels last" if first == second and first > 1 else "none"
    if len(shape) == 2:
        side = math.isqrt(shape[0])
        return "tokens" if side > 1 and shape[0] - side**2 <= _MOST_EXTRA_TOKENS else "none"
    return "none"


def _stage_map(name: str, order: Order, shape: tuple[int, ...]) -> StageMap:
    if order == "none":
        return StageMap(name, order, 0, 0, shape)
    channels = shape[0] if order == "channels first" else shape[-1]
    side = math.isqrt(shape[0]) if order == "tokens" else shape[1]
    return StageMap(name, order, channels, side, shape)


def _reaches_logits(network: Network, at: StageMap) -> bool:
    """Whether the head looks at these places: behind its last block a transformer may read the class token only."""
    if at.order != "tokens":
        return True
    device, side = next(network.parameters()).device, side_of(network.spec)
    noise = torch.rand(1, network.spec.in_channels, side, side, generator=torch.Generator().manual_seed(0)) * 255
    with at_rest(network):
        with torch.no_grad():
            x = network.before(noise.to(device), number_of(network, at) + 1)
        x = x.clone().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(after(network, x.clone(), at).square().sum(), x)
    return bool(at.laid_out(gradient).any())


def _asked_for(asked: str, maps: Sequence[StageMap], usable: Sequence[StageMap]) -> StageMap:
    flat = asked.replace(".", "_")
    found = [each for each in maps if each.stage == flat or (flat and each.stage.startswith(f"{flat}_"))]
    if not found:
        names = [each.stage for each in maps]
        near = difflib.get_close_matches(flat, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(
            f"no stage of this network is called {asked!r}",
            where="--stage",
            remedy=f"{hint}Its stages are {_listed(names)}",
        )
    exact = [each for each in found if each.stage == flat]
    chosen = (exact or found)[-1]
    if chosen.order == "none":
        raise _no_map(f"stage {chosen.stage} gives {'×'.join(map(str, chosen.shape))}, not a map", usable)
    return chosen


def _no_map(what: str, usable: Sequence[StageMap]) -> UsageError:
    names = _listed([each.stage for each in usable])
    stages = f"choose --stage among {names}, or " if usable else ""
    return UsageError(
        f"{what} with height and width that could be laid over the picture",
        where="--stage",
        remedy=f"{stages}use --method occlusion, which needs none",
    )


def _listed(names: Sequence[str]) -> str:
    """All of them where they are few, else both ends."""
    if len(names) > 24:
        return f"{', '.join(names[:10])} … {', '.join(names[-10:])}"
    return ", ".join(names)
