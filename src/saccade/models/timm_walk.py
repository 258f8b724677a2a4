"""Which submodules of a model hand the picture straight on to one another: the chain that stages are made of.

Two pictures without content (torch's meta device: shapes only) walk through a model's `forward_features`, and what
every submodule receives and returns is noted. Where one receives exactly the tensor that another returned, untouched
in between, the two are links of a chain; what they do then is what an nn.Sequential of them does. No family has to
be known for that, and nothing is guessed.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
# A plain row of more layers than this is a whole network (VGG's `features`), not one stem.
_LONGEST_STEM = 8


class Mark(NamedTuple):
    """A tensor as it was at a moment: in-place operations count its version up."""

    tensor: Tensor
    version: int

    def same(self, other: Mark) -> bool:
        """Whether it is the same tensor and nothing has changed it since."""
        return self.tensor is other.tensor and self.version == other.version


class Call(NamedTuple):
    """What a submodule received, what else it was called with, by name, and what it returned."""

    received: Mark
    others: dict[str, Any]
    returned: Mark


class Walk(NamedTuple):
    """What was noted.

    Attributes:
        calls: by submodule, those that can be links.
        used: every submodule that had a part in the features.
        image: what `forward_features` received.
        result: what it returned; its tensors when they are several.
    """

    calls: dict[nn.Module, Call]
    used: set[nn.Module]
    image: Mark
    result: Mark | tuple[Tensor, ...]


class Chain(NamedTuple):
    """Links in order, and whether the first one received what the whole received."""

    links: list[nn.Module]
    whole: bool


def walk_through(model: nn.Module, shape: tuple[int, ...]) -> Walk:
    """Walk two pictures of a shape (C, H, W) through `forward_features`, in training mode: dropout must show itself.

    Raises:
        RuntimeError, AssertionError, ValueError: torch's and timm's own, when the model cannot see such pictures.
    """
    notes = _Notes()
    features = _Features(model)
    handles = [module.register_forward_pre_hook(notes.before) for module in model.modules()]
    handles += [module.register_forward_hook(notes.after, with_kwargs=True) for module in model.modules()]
    was_training = model.training
    try:
        tensors = [*features.named_parameters(), *features.named_buffers()]
        # Times one: in-place layers may not change a tensor that somebody wants the gradient of.
        images = torch.empty(2, *shape, device="meta").requires_grad_() * 1
        image = _mark(images)
        features.train()
        result = torch.func.functional_call(features, {name: _shape_only(tensor) for name, tensor in tensors}, images)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    once = {module: call for module, call in notes.calls.items() if notes.times[module] == 1}
    return Walk(once, set(notes.times), image, _mark(result) if isinstance(result, Tensor) else tuple(result))


def chain(candidates: Iterable[nn.Module], first: Mark, last: Mark, walk: Walk) -> Chain:
    """The longest chain of candidates that ends in `last`."""
    makers = {}
    for module in candidates:
        call = walk.calls[module]
        if not call.received.same(call.returned):  # else it is an nn.Identity
            makers[id(call.returned.tensor), call.returned.version] = module
    links: list[nn.Module] = []
    while not last.same(first) and (id(last.tensor), last.version) in makers:
        links.insert(0, makers[id(last.tensor), last.version])
        last = walk.calls[links[0]].received
    return Chain(links, last.same(first))


def called(module: nn.Module, walk: Walk) -> Iterator[nn.Module]:
    """The submodules that a module calls itself, also out of lists that are no more than a place to keep them."""
    for child in module.children():
        if child in walk.calls:
            yield child
        elif isinstance(child, CONTAINERS) and child not in walk.used:
            yield from called(child, walk)


def opened(link: nn.Module, walk: Walk) -> list[nn.Module]:
    """The links inside a link when it holds blocks, else itself."""
    call = walk.calls[link]
    inside, whole = chain(called(link, walk), call.received, call.returned, walk)
    holds = isinstance(link, nn.Sequential) or any(isinstance(child, CONTAINERS) for child in link.children())
    blocks = any(not is_layer(each) for each in inside) or len(inside) > _LONGEST_STEM
    if not (whole and holds and blocks) or any(needs_constants(each, walk) for each in (link, *inside)):
        return [link]
    parts = [part for each in inside for part in opened(each, walk)]
    return parts if len(parts) > 1 else [link]


def is_layer(module: nn.Module) -> bool:
    """A single convolution or linear layer with what goes with it; or a norm, an activation, a pool."""
    return num_weights(module) <= 1


def num_weights(module: nn.Module) -> int:
    """How many of its parameters are matrices or kernels."""
    return sum(parameter.ndim > 1 for parameter in module.parameters())


def needs_constants(link: nn.Module, walk: Walk) -> bool:
    """Whether it is called with tensors beside the features."""
    return any(isinstance(value, Tensor) for value in walk.calls[link].others.values())


def others(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any] | None:
    """What a module was called with beside the features, by name; None unless that is the same for every picture.

    A tensor is when it has no gradient: then neither the picture nor any parameter had a part in it.
    """
    if len(args) == 1 and not named:
        return {}
    positional = zip(list(inspect.signature(module.forward).parameters)[1:], args[1:], strict=False)
    found = dict(positional) | named
    constant = (
        value is None or isinstance(value, bool) or (isinstance(value, Tensor) and not value.requires_grad)
        for value in found.values()
    )
    return found if all(constant) else None


class _Features(nn.Module):
    """torch's functional_call calls `forward`, and it is `forward_features` that is wanted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        return self.model.forward_features(images)  # type: ignore[operator]


class _Notes:
    """The hooks of a walk and what they write down. Tensors are kept, so that no two share an id."""

    def __init__(self) -> None:
        self.calls: dict[nn.Module, Call] = {}
        self.times: Counter[nn.Module] = Counter()
        self._received: dict[nn.Module, Mark] = {}

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.times[module] += 1
        if args and isinstance(args[0], Tensor):
            self._received[module] = _mark(args[0])

    def after(self, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], returned: Any) -> None:
        received, beside = self._received.get(module), others(module, args, named)
        if received is not None and beside is not None and isinstance(returned, Tensor):
            self.calls[module] = Call(received, beside, _mark(returned))


def _mark(tensor: Tensor) -> Mark:
    return Mark(tensor, tensor._version)


def _shape_only(tensor: Tensor) -> Tensor:
    return tensor.detach().to("meta").requires_grad_(tensor.is_floating_point())
