"""Layers and initialisations that two or more families use, and only those."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

# TensorFlow's BatchNorm added this to the variance, and the published GoogLeNet and Inception v3 come from there.
TENSORFLOW_EPS = 0.001


def conv_relu(conv: nn.Conv2d) -> nn.Sequential:
    """A convolution and its ReLU: one stage of the networks before BatchNorm."""
    return nn.Sequential(OrderedDict(conv=conv, relu=nn.ReLU(inplace=True)))


def conv_bn_relu(conv: nn.Conv2d, eps: float = 1e-5) -> nn.Sequential:
    """A convolution, BatchNorm (https://arxiv.org/abs/1502.03167), ReLU."""
    bn = nn.BatchNorm2d(conv.out_channels, eps=eps)
    return nn.Sequential(OrderedDict(conv=conv, bn=bn, relu=nn.ReLU(inplace=True)))


def basic_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
) -> nn.Sequential:
    """The convolution of GoogLeNet and Inception v3: no bias, for BatchNorm would take it away again."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
    return conv_bn_relu(conv, eps=TENSORFLOW_EPS)


class Flatten(nn.Flatten):
    """nn.Flatten, whose gradient comes back laid out as the map was.

    Where channels lie side by side, flattening turns them round, and the gradient would arrive that way at the pooling
    and the ReLU in front, which go through memory in steps then: a whole training step of cnn1 took 1.2 to 1.3 times as
    long at batch 10, 1.4 to 1.5 times at 64 (one thread of a Zen 4, beside other work); networks with small last maps
    hardly notice.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, D · h · w)."""
        if x.requires_grad and not torch.compiler.is_compiling() and _channels_are_neighbours(x):
            x.register_hook(_with_neighbouring_channels)  # type: ignore[no-untyped-call]
        flat: Tensor = super().forward(x)
        return flat


def _channels_are_neighbours(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _with_neighbouring_channels(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


class AdaptiveAveragePool(nn.Module):
    """Averages a map of any size to side×side, over the windows of nn.AdaptiveAvgPool2d.

    Two small matrix products instead of torch's own layer: its gradient on CUDA is not deterministic, and ONNX
    knows it only where the size is a multiple of the side.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, D, side, side)."""
        height, width = x.shape[2:]
        if height == width == self.side:
            return x
        return self._windows(height, x) @ x @ self._windows(width, x).T

    def _windows(self, size: int, like: Tensor) -> Tensor:
        """(side, size): row i averages over window i, from floor(i · size / side) to ceil((i + 1) · size / side)."""
        number = torch.arange(self.side, device=like.device).unsqueeze(1)
        first, end = number * size // self.side, -(-(number + 1) * size // self.side)
        position = torch.arange(size, device=like.device)
        inside = (position >= first) & (position < end)
        return inside.to(like.dtype) / (end - first)


def he_normal(module: nn.Module, mode: Literal["fan_in", "fan_out"]) -> None:
    """Give all convolutions the normal weights of He et al. (https://arxiv.org/abs/1502.01852), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def normal_weights(module: nn.Module, std: float) -> None:
    """Give all convolutions and linear layers weights from a normal distribution; biases stay as they are."""
    for layer in layers_with_weights(module):
        nn.init.normal_(layer.weight, std=std)


def zero_biases(module: nn.Module) -> None:
    """Set the biases of all convolutions and linear layers to 0."""
    for layer in layers_with_weights(module):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def layers_with_weights(module: nn.Module) -> Iterator[nn.Conv2d | nn.Linear]:
    """All convolutions and linear layers inside a module."""
    return (layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
