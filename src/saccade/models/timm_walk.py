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
from contextlib import contextmanager
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
        used_by_head: every submodule that had a part in `forward_head`.
        parameters_of_head: names of the model's own parameters that had a part there.
        image: what `forward_features` received.
        result: what it returned; its tensors when they are several.
    """

    calls: dict[nn.Module, Call]
    used: set[nn.Module]
    used_by_head: set[nn.Module]
    parameters_of_head: frozenset[str]
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
    notes, notes_of_head = _Notes(), _Notes()
    walker = _Walker(model, notes, notes_of_head)
    was_training = model.training
    try:
        tensors = [*walker.named_parameters(), *walker.named_buffers()]
        # Times one: in-place layers may not change a tensor that somebody wants the gradient of.
        images = torch.empty(2, *shape, device="meta").requires_grad_() * 1
        image = _mark(images)
        walker.train()
        result, of_head = torch.func.functional_call(
            walker, {name: _shape_only(tensor) for name, tensor in tensors}, images
        )
    finally:
        model.train(was_training)
    once = {module: call for module, call in notes.calls.items() if notes.times[module] == 1}
    return Walk(once, set(notes.times), set(notes_of_head.times), of_head, image, result)


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


def is_plain(module: nn.Module) -> bool:
    """A layer, or a short row of them: what stems are."""
    row = isinstance(module, nn.Sequential) and len(module) <= _LONGEST_STEM and all(map(is_layer, module))
    return row or is_layer(module)


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


class _Walker(nn.Module):
    """torch's functional_call calls `forward`; what is wanted are timm's two halves, each with its own notes."""

    def __init__(self, model: nn.Module, notes: _Notes, notes_of_head: _Notes) -> None:
        super().__init__()
        self.model = model
        self.notes = notes
        self.notes_of_head = notes_of_head

    def forward(self, images: Tensor) -> tuple[Mark | tuple[Tensor, ...], frozenset[str]]:
        with self.notes.of(self.model):
            features = self.model.forward_features(images)  # type: ignore[operator]
        result = _mark(features) if isinstance(features, Tensor) else tuple(features)
        with self.notes_of_head.of(self.model):
            logits = self.model.forward_head(_cut_off(features))  # type: ignore[operator]
        own = {
            name: value for name, value in self.model._parameters.items() if value is not None and value.requires_grad
        }
        first = logits if isinstance(logits, Tensor) else logits[0]
        gradients = torch.autograd.grad(first.sum(), list(own.values()), allow_unused=True) if own else ()
        return result, frozenset(name for name, each in zip(own, gradients, strict=True) if each is not None)


class _Notes:
    """What the hooks of a walk write down. Tensors are kept, so that no two share an id."""

    def __init__(self) -> None:
        self.calls: dict[nn.Module, Call] = {}
        self.times: Counter[nn.Module] = Counter()
        self._received: dict[nn.Module, Mark] = {}

    @contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """Write down every call of a submodule within."""
        handles = [module.register_forward_pre_hook(self._before) for module in model.modules()]
        handles += [module.register_forward_hook(self._after, with_kwargs=True) for module in model.modules()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.times[module] += 1
        if args and isinstance(args[0], Tensor):
            self._received[module] = _mark(args[0])

    def _after(self, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], returned: Any) -> None:
        received, beside = self._received.get(module), others(module, args, named)
        if received is not None and beside is not None and isinstance(returned, Tensor):
            self.calls[module] = Call(received, beside, _mark(returned))


def _mark(tensor: Tensor) -> Mark:
    return Mark(tensor, tensor._version)


def _cut_off(features: Tensor | Iterable[Tensor]) -> Tensor | list[Tensor]:
    """The same values without their history."""
    if isinstance(features, Tensor):
        return features.detach().requires_grad_()
    return [each.detach().requires_grad_() for each in features]


def _shape_only(tensor: Tensor) -> Tensor:
    # Parameters need their gradient, for `others` to see where they had a part.
    return tensor.detach().to("meta").requires_grad_(tensor.requires_grad)
