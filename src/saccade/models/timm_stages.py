"""A timm model taken apart into stages and a head that together are the same function.

Stages are the links of the chain that `timm_walk` finds. `Parts.grouping` says how far it reached:

- `stages`: to the picture (convolutional networks, Swin, mixers);
- `stem+stages`: something happens outside submodules first, such as class tokens and positions (vision
  transformers). The stage `stem` is timm's own model whose links pass their input on; the chain follows;
- `body`: there are no blocks in the chain, or the result is several tensors. One stage, `body`, timm's
  `forward_features`, and what norm may follow.

Links that hold blocks are opened, so that a stage is what one freezes: layer1_0, blocks_11, stages_2_blocks_5 (timm's
names with _ for the dot). Convolutions, norms and pools before the first block are the stage `stem`; later ones join
the convolution before them.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from saccade.models.timm_walk import (
    Chain,
    Mark,
    Walk,
    called,
    chain,
    is_layer,
    is_plain,
    needs_constants,
    num_weights,
    opened,
    others,
    walk_through,
)


class Parts(NamedTuple):
    """What a timm model becomes.

    Attributes:
        stages: normalised images -> features.
        head_model: the model with what `forward_head` needs and no more.
        grouping: stages, stem+stages or body.
        packed: shapes without the batch axis of the tensors that `Body` flattened into one; empty for most models.
    """

    stages: nn.Sequential
    head_model: nn.Module
    grouping: str
    packed: tuple[tuple[int, ...], ...]


class Passed(nn.Identity):
    """Stands where a link of the chain was: hands its input on, whatever else it is called with."""

    def forward(self, input: Tensor, *others: object, **named: object) -> Tensor:  # noqa: A002 (nn.Identity's name)
        """Any tensor to itself."""
        return input


class Body(nn.Module):
    """timm's `forward_features`; a result of several tensors is flattened into one, which `unpack` undoes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) -> features."""
        result = self.model.forward_features(images)  # type: ignore[operator]
        return result if isinstance(result, Tensor) else torch.cat([each.flatten(1) for each in result], dim=1)


class With(nn.Module):
    """A block that timm calls with constants beside the features, such as rotary positions."""

    def __init__(self, block: nn.Module, beside: Mapping[str, Any]) -> None:
        super().__init__()
        self.block = block
        self._plain = {name: value for name, value in beside.items() if not isinstance(value, Tensor)}
        self._tensors = tuple(name for name in beside if name not in self._plain)
        for name in self._tensors:
            self.register_buffer(f"constant_{name}", beside[name].detach().clone())

    def forward(self, features: Tensor) -> Tensor:
        """Features to features."""
        tensors = {name: getattr(self, f"constant_{name}") for name in self._tensors}
        result: Tensor = self.block(features, **self._plain, **tensors)
        return result


def unpack(packed: Tensor, shapes: tuple[tuple[int, ...], ...]) -> list[Tensor]:
    """(N, F) -> the tensors that `Body` flattened into it, each (N, *shape)."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    return [part.reshape(-1, *shape) for part, shape in zip(packed.split_with_sizes(sizes, dim=1), shapes, strict=True)]


def take_apart(model: nn.Module, image: Tensor) -> Parts:
    """Split a model; it is changed and must not be used on its own afterwards.

    Args:
        model: any of timm's that has forward_features and forward_head.
        image: zeros (1, C, H, W) on the model's device, of a size that the model can see.

    Raises:
        RuntimeError, AssertionError, ValueError: torch's and timm's own, when the model cannot see such pictures.
    """
    walk = walk_through(model, tuple(image.shape[1:]))
    links, whole = Chain([], False)
    packed: tuple[tuple[int, ...], ...] = ()
    if isinstance(walk.result, Mark):
        links, whole = chain(called(model, walk), walk.image, walk.result, walk)
    else:
        packed = tuple(tuple(each.shape[1:]) for each in walk.result)
    blocks = _with_constants(model, image, links, walk)
    names = {module: name.replace(".", "_") for name, module in model.named_modules()}
    stages = _as_stages([part for link in links for part in opened(link, walk)], names, blocks, whole=whole)
    of_head = {child for child in model.children() if _is_of_head(child, walk, whole=whole)}
    head_model = _only(model, lambda child: child in of_head)
    if whole:
        return Parts(nn.Sequential(stages), head_model, "stages", packed)
    blocks_follow = not all(is_layer(link) for link in links)
    body = _body(model, links, of_head)
    # The model's own parameters (class token, positions) belong to the features, unless the head uses them.
    for part, wanted in ((head_model, True), (body.model, False)):
        part._parameters = {
            name: each for name, each in model._parameters.items() if (name in walk.parameters_of_head) == wanted
        }
    head_model._buffers = {}
    stages = OrderedDict([("stem" if blocks_follow else "body", body), *stages.items()])
    return Parts(nn.Sequential(stages), head_model, "stem+stages" if blocks_follow else "body", packed)


def _as_stages(
    links: Sequence[nn.Module], names: Mapping[nn.Module, str], blocks: Mapping[nn.Module, nn.Module], *, whole: bool
) -> OrderedDict[str, nn.Module]:
    """Links as stages: layers before the first block together, later norms and activations with their convolution."""
    stem = list(takewhile(is_plain, links)) if whole else []
    if len(stem) == len(links):
        stem = []
    groups: list[list[nn.Module]] = []
    for link in links[len(stem) :]:
        weightless = not num_weights(link)
        if groups and weightless and (is_layer(groups[-1][0]) or not list(link.parameters())):
            groups[-1].append(link)
        else:
            groups.append([link])
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for name, group in [("stem", stem), *((names[group[0]], group) for group in groups)]:
        parts = OrderedDict((names[each], blocks.get(each, each)) for each in group)
        if parts:
            stages[name] = nn.Sequential(parts) if len(parts) > 1 else parts[names[group[0]]]
    return stages


def _with_constants(
    model: nn.Module, image: Tensor, links: Sequence[nn.Module], walk: Walk
) -> dict[nn.Module, nn.Module]:
    """The links that need constants, each with its own; the model sees one picture to find their values."""
    needy = [link for link in links if needs_constants(link, walk)]
    found: dict[nn.Module, nn.Module] = {}

    def note(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        found[module] = With(module, others(module, args, named) or {})

    handles = [link.register_forward_pre_hook(note, with_kwargs=True) for link in needy]
    was_training = model.training
    try:
        if needy:
            with torch.no_grad():
                model.eval().forward_features(image)  # type: ignore[operator]
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return found


def _body(model: nn.Module, links: Sequence[nn.Module], of_head: set[nn.Module]) -> Body:
    """`forward_features` up to the chain: the links pass on what they get, and what only the head needs is gone."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if child in links:
                module.add_module(name, Passed())
    return Body(_only(model, lambda child: child not in of_head))


def _is_of_head(child: nn.Module, walk: Walk, *, whole: bool) -> bool:
    """What neither half calls, such as a table of positions, stays with the body where there is one."""
    in_features = not walk.used.isdisjoint(child.modules())
    in_head = not walk.used_by_head.isdisjoint(child.modules())
    return not in_features and (in_head or whole)


def _only(model: nn.Module, wanted: Callable[[nn.Module], bool]) -> nn.Module:
    """The model with some of its children: a copy that shares them, and its own parameters, with the original."""
    part = copy.copy(model)
    part._modules = {name: child for name, child in model._modules.items() if child is None or wanted(child)}
    part._parameters, part._buffers = dict(model._parameters), dict(model._buffers)
    return part
