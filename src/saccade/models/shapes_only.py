"""Networks looked at for their shapes: on the meta device, without what changes no shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_INITIALISES = frozenset({torch.Tensor.normal_, torch.Tensor.uniform_})
_CHANGES_NO_SHAPE = (F.batch_norm, F.relu, F.gelu, F.silu, F.dropout)


def _like(input: Tensor, *others: object, **how: object) -> Tensor:  # noqa: A002 - torch's name of it
    return input.new_empty(input.shape)  # not itself: timm's networks are taken apart by which tensor goes where


def _joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return tensors[0].new_empty(shape)


# What has the same shape, and is known to torch's own part in C++.
_INSTEAD: Mapping[object, Callable[..., Any]] = MappingProxyType(
    {torch.Tensor.mean: torch.Tensor.sum, torch.cat: _joined, **dict.fromkeys(_CHANGES_NO_SHAPE, _like)}
)


class ShapesOnly(TorchFunctionMode):
    """Leaves out initialisations, and asks of some layers nothing but the shape.

    For tensors on the meta device, which have no numbers. There torch computes these by its compiler, and loads that
    first, which takes most of a second.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _INITIALISES or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else next(iter(kwargs.values()))
        return _INSTEAD.get(func, func)(*args, **kwargs)
