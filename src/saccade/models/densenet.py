"""DenseNet (Huang, Liu, van der Maaten, Weinberger 2016, https://arxiv.org/abs/1608.06993).

Inside a block each layer sees the maps of all layers before it.

| name | what it is |
| --- | --- |
| densenet121 ... densenet201 | table 1 of the paper, as published with torchvision |
| densenet_cifar | DenseNet-BC with L = 100, k = 12, for pictures of 32×32: table 2 of the paper |

Stages: stem, stem_pool, block1_layer1 ... block1_layer6, transition1, block2_layer1 ... block4_layer16, final (the last
BatchNorm and ReLU).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saccade.models.heads import make_head
from saccade.models.layers import he_normal
from saccade.models.network import Network, NetworkSpec, feature_shape

BOTTLENECK = 4  # the 1×1 convolution of a layer has this many times the growth rate


class Variant(NamedTuple):
    """A column of table 1: `growth` is the paper's k, the channels that every layer adds."""

    stem_channels: int
    growth: int
    blocks: tuple[int, ...]


VARIANTS = MappingProxyType(
    {
        "densenet121": Variant(64, 32, (6, 12, 24, 16)),
        "densenet161": Variant(96, 48, (6, 12, 36, 24)),
        "densenet169": Variant(64, 32, (6, 12, 32, 32)),
        "densenet201": Variant(64, 32, (6, 12, 48, 32)),
        "densenet_cifar": Variant(24, 12, (16, 16, 16)),
    }
)


def densenet(spec: NetworkSpec) -> Network:
    """densenet121, 161, 169, 201 or densenet_cifar."""
    variant = VARIANTS[spec.model]
    stem = _stem_cifar if spec.model == "densenet_cifar" else _stem
    stages = nn.Sequential(stem(spec, variant.stem_channels))
    channels = variant.stem_channels
    for block, num_layers in enumerate(variant.blocks, start=1):
        if block > 1:
            stages.add_module(f"transition{block - 1}", _transition(channels, channels // 2))
            channels //= 2  # (N, D / 2, h / 2, w / 2)
        for number in range(1, num_layers + 1):
            stages.add_module(f"block{block}_layer{number}", DenseLayer(channels, variant.growth))
            channels += variant.growth  # (N, D + growth, h, w)
    final = OrderedDict[str, nn.Module](norm=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True))
    stages.add_module("final", nn.Sequential(final))
    he_normal(stages, "fan_in")
    head = make_head(spec.head or "gap", feature_shape(stages, spec), spec.num_classes)
    if not spec.head:
        nn.init.zeros_(head.get_parameter("logits.bias"))
    return Network(spec, stages, head)


class DenseLayer(nn.Module):
    """BatchNorm, ReLU, 1×1, BatchNorm, ReLU, 3×3, and what comes out is put beside what went in."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, D + growth, h, w)."""
        new = self.conv1(self.relu(self.norm1(x)))  # (N, 4 · growth, h, w)
        new = self.conv2(self.relu(self.norm2(new)))  # (N, growth, h, w)
        return torch.cat([x, new], dim=1)


def _stem(spec: NetworkSpec, channels: int) -> OrderedDict[str, nn.Module]:
    conv = nn.Conv2d(spec.in_channels, channels, 7, stride=2, padding=3, bias=False)
    norm, relu = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
    return OrderedDict(
        stem=nn.Sequential(OrderedDict(conv=conv, norm=norm, relu=relu)),  # (N, channels, 112, 112) of 224
        stem_pool=nn.MaxPool2d(3, stride=2, padding=1),  # (N, channels, 56, 56)
    )


def _stem_cifar(spec: NetworkSpec, channels: int) -> OrderedDict[str, nn.Module]:
    # No BatchNorm and ReLU here: the first dense layer begins with them.
    conv = nn.Conv2d(spec.in_channels, channels, 3, padding=1, bias=False)
    return OrderedDict(stem=nn.Sequential(OrderedDict(conv=conv)))  # (N, channels, 32, 32) of 32


def _transition(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),  # (N, out_channels, h, w)
            pool=nn.AvgPool2d(2),  # (N, out_channels, h / 2, w / 2)
        )
    )


def torchvision_name(model: str, name: str) -> str:
    """What torchvision calls our parameter; a name that it has no counterpart for comes back as it is.

    The published files write norm.1 where torchvision's own code, and so this, has norm1.
    """
    name = re.sub(r"^stages\.block(\d)_layer(\d+)\.", r"features.denseblock\1.denselayer\2.", name)
    name = re.sub(r"^stages\.transition(\d)\.", r"features.transition\1.", name)
    name = re.sub(r"^stages\.stem\.(conv|norm)\.", r"features.\g<1>0.", name)
    name = re.sub(r"^stages\.final\.norm\.", "features.norm5.", name)
    return re.sub(r"^head\.logits\.", "classifier.", name)
