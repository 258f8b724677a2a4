"""A network whose weights are laid out once, as the kernels of oneDNN like them, for prediction on a CPU.

torch's own layers lay their weights out again in every call; with one thread they compute 1×1 convolutions, and with
any number linear layers, by another library that is half as fast on some processors. Here a convolution also adds a
shortcut and applies its ReLU while its result is still at hand. Measured figures stand in docs/predict.md.

The operators are those that torch.compile calls where weights are frozen (torch/_inductor/mkldnn_lowerings.py).
They are no public interface: whatever they refuse, and whatever comes out different, is computed by plain layers.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from saccade.models.network import Network

# By how much packed layers may differ from plain ones, of the size of the logits: other kernels add in another order.
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 3e-2}
_REFUSALS = (RuntimeError, AttributeError, TypeError, ValueError, NotImplementedError)


class PackedConv(nn.Module):
    """A convolution for inputs of one shape.

    Args:
        conv: padded with zeros.
        shape: of its input.
        dtype: that it computes in; inputs are converted.
    """

    def __init__(self, conv: nn.Conv2d, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        super().__init__()
        if not all(isinstance(each, int) for each in conv.padding):
            raise ValueError(f"padding in words: {conv.padding}")
        self._how = ([int(each) for each in conv.padding], list(conv.stride), list(conv.dilation), conv.groups)
        self._dtype = dtype
        self._bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        weight = conv.weight.detach().to(dtype).contiguous().to_mkldnn()
        lay_out: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # its stub knows no shape
        self._weight = lay_out(weight, *self._how, list(shape))

    def forward(self, x: Tensor, beside: Tensor | None = None, relu: bool = False) -> Tensor:
        """The convolution of x, plus what stands beside it, and the ReLU of that where it is asked for."""
        x, last = x.to(self._dtype), "relu" if relu else None
        if beside is None:
            packed: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, self._weight, self._bias, *self._how, last or "none", [], ""
            )
            return packed
        added: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
            x, beside.to(self._dtype), self._weight, self._bias, *self._how, "add", None, last, [], ""
        )
        return added


class PackedLinear(nn.Module):
    """A linear layer, best for inputs of one shape (..., in_features); `dtype` as for PackedConv."""

    def __init__(self, linear: nn.Linear, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        num_rows = torch.Size(shape[:-1]).numel()
        weight = linear.weight.detach().to(dtype).contiguous()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, num_rows)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self._dtype), self._weight, self._bias, "none", [], ""
        )
        return product


def can_pack(device: torch.device) -> bool:
    """Whether this torch can, on this device."""
    known = hasattr(torch.ops.mkldnn, "_convolution_pointwise") and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return device.type == "cpu" and known and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


@torch.no_grad()
def packed(network: Network, images: Tensor, dtype: torch.dtype) -> Network | None:
    """The network with packed layers, if that computes the same; None where it does not.

    Args:
        network: in inference mode; its layers are replaced, their parameters are not touched.
        images: (N, C, H, W) like those that it will see, of the same N: weights are laid out for their shape.
        dtype: float32, or bfloat16 under autocast, as this function must be too.
    """
    shapes, expected = _walk(network, images)
    try:
        _replace(network, shapes, dtype)
        for stage in network.stages.children():
            if isinstance(stage, fx.GraphModule):
                _join(stage)
        found = network(images).float()
    except _REFUSALS:
        return None
    return network if (found - expected).norm() <= _ROUNDING[dtype] * expected.norm() else None


def _walk(network: Network, images: Tensor) -> tuple[dict[nn.Module, tuple[int, ...]], Tensor]:
    """The shape of what each layer is given, and the logits."""
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[layer] = tuple(inputs[0].shape)

    layers = [module for module in network.modules() if _can_be_packed(module)]
    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        return shapes, network(images).float()
    finally:
        for handle in handles:
            handle.remove()


def _can_be_packed(module: nn.Module) -> bool:
    # Not their children classes, which may compute something else.
    return type(module) is nn.Linear or (type(module) is nn.Conv2d and module.padding_mode == "zeros")


def _replace(network: Network, shapes: Mapping[nn.Module, tuple[int, ...]], dtype: torch.dtype) -> None:
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if layer in shapes and isinstance(layer, nn.Conv2d):
                setattr(parent, name, PackedConv(layer, shapes[layer], dtype))
            elif layer in shapes and isinstance(layer, nn.Linear):
                setattr(parent, name, PackedLinear(layer, shapes[layer], dtype))


def _join(stage: fx.GraphModule) -> None:
    """Let convolutions do the additions and the ReLUs that follow them, where nothing else wants their result."""
    layers = dict(stage.named_modules())
    for node in list(stage.graph.nodes):
        if _calls(node, layers, nn.ReLU):
            _join_before(node, layers)
    stage.recompile()


def _join_before(relu: fx.Node, layers: Mapping[str, nn.Module]) -> None:
    before = relu.args[0]
    if not isinstance(before, fx.Node) or len(before.users) > 1:
        return
    if _calls(before, layers, PackedConv):
        before.kwargs = {"relu": True}
        relu.replace_all_uses_with(before)
        relu.graph.erase_node(relu)
    elif before.op == "call_function" and before.target in (operator.add, operator.iadd):
        conv, beside = before.args
        if _calls(conv, layers, PackedConv) and isinstance(conv, fx.Node) and len(conv.users) == 1:
            with relu.graph.inserting_before(relu):
                together = relu.graph.call_module(str(conv.target), (conv.args[0], beside, True))
            relu.replace_all_uses_with(together)
            for node in (relu, before, conv):
                node.graph.erase_node(node)


def _calls(node: object, layers: Mapping[str, nn.Module], kind: type[nn.Module]) -> bool:
    return isinstance(node, fx.Node) and node.op == "call_module" and isinstance(layers[str(node.target)], kind)
