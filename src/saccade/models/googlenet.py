"""GoogLeNet (Szegedy et al. 2014, https://arxiv.org/abs/1409.4842): modules that look at several scales at once.

| name | what it is |
| --- | --- |
| googlenet | as published with torchvision: the paper's table 1, with BatchNorm and two auxiliary classifiers |
| googlenet_cifar | for pictures of 32×32, as in https://github.com/kuangliu/pytorch-cifar |

Stages: conv1, pool1, conv2, conv3, pool2, inception3a, inception3b, pool3, inception4a ... inception5b.
"""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saccade.models.heads import dropout_head, make_head
from saccade.models.layers import AdaptiveAveragePool, basic_conv, conv_bn_relu, normal_weights
from saccade.models.network import Network, NetworkSpec, feature_shape


class Widths(NamedTuple):
    """One row of the paper's table 1: `reduce` are the 1×1 convolutions before the larger ones."""

    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    pool: int

    @property
    def total(self) -> int:
        """Channels of the four branches side by side."""
        return self.conv1x1 + self.conv3x3 + self.conv5x5 + self.pool


MODULES = MappingProxyType(
    {
        "3a": Widths(64, 96, 128, 16, 32, 32),
        "3b": Widths(128, 128, 192, 32, 96, 64),
        "4a": Widths(192, 96, 208, 16, 48, 64),
        "4b": Widths(160, 112, 224, 24, 64, 64),
        "4c": Widths(128, 128, 256, 24, 64, 64),
        "4d": Widths(112, 144, 288, 32, 64, 64),
        "4e": Widths(256, 160, 320, 32, 128, 128),
        "5a": Widths(256, 160, 320, 32, 128, 128),
        "5b": Widths(384, 192, 384, 48, 128, 128),
    }
)
AUXILIARY_BEHIND = MappingProxyType({"inception4a": "aux1", "inception4d": "aux2"})


def googlenet(spec: NetworkSpec) -> Network:
    """torchvision's GoogLeNet: 13,004,888 parameters at K = 1000 with both auxiliary classifiers."""
    # ceil_mode: the paper's table has 112 -> 56 -> 28 -> 14 -> 7, where pools of 3 that round down would give 55.
    stages: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=basic_conv(spec.in_channels, 64, 7, stride=2, padding=3),  # (N, 64, 112, 112) of 224
        pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 64, 56, 56)
        conv2=basic_conv(64, 64, 1),  # (N, 64, 56, 56)
        conv3=basic_conv(64, 192, 3, padding=1),  # (N, 192, 56, 56)
        pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 192, 28, 28)
    )
    pools = {
        "3b": ("pool3", nn.MaxPool2d(3, stride=2, ceil_mode=True)),  # (N, 480, 14, 14)
        "4e": ("pool4", nn.MaxPool2d(2, stride=2, ceil_mode=True)),  # (N, 832, 7, 7)
    }
    in_channels = 192
    for name, widths in MODULES.items():
        stages[f"inception{name}"] = _module(in_channels, widths)  # (N, widths.total, ...)
        in_channels = widths.total
        stages.update([pools[name]] if name in pools else [])
    return _with_heads(nn.Sequential(stages), spec)


def googlenet_cifar(spec: NetworkSpec) -> Network:
    """The nine modules on 32×32: 6,156,000 parameters and a linear layer of 1024 to K."""
    conv = nn.Conv2d(spec.in_channels, 192, 3, padding=1)
    stages: OrderedDict[str, nn.Module] = OrderedDict(conv1=conv_bn_relu(conv))  # (N, 192, 32, 32)
    pools = {
        "3b": ("pool3", nn.MaxPool2d(3, stride=2, padding=1)),  # (N, 480, 16, 16)
        "4e": ("pool4", nn.MaxPool2d(3, stride=2, padding=1)),  # (N, 832, 8, 8)
    }
    in_channels = 192
    for name, widths in MODULES.items():
        stages[f"inception{name}"] = _module_cifar(in_channels, widths)  # (N, widths.total, ...)
        in_channels = widths.total
        stages.update([pools[name]] if name in pools else [])
    body = nn.Sequential(stages)
    return Network(spec, body, make_head(spec.head or "gap", feature_shape(body, spec), spec.num_classes))


class Inception(nn.Module):
    """Figure 2(b) of the paper: four branches over the same map, their channels side by side."""

    def __init__(
        self, branch1: nn.Sequential, branch2: nn.Sequential, branch3: nn.Sequential, branch4: nn.Sequential
    ) -> None:
        super().__init__()
        self.branch1 = branch1
        self.branch2 = branch2
        self.branch3 = branch3
        self.branch4 = branch4

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, widths.total, h, w)."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


def _module(in_channels: int, widths: Widths) -> Inception:
    return Inception(
        basic_conv(in_channels, widths.conv1x1, 1),
        nn.Sequential(
            basic_conv(in_channels, widths.reduce3x3, 1),
            basic_conv(widths.reduce3x3, widths.conv3x3, 3, padding=1),
        ),
        nn.Sequential(
            basic_conv(in_channels, widths.reduce5x5, 1),
            # The paper has 5×5. The weights published with torchvision were trained with 3×3 by mistake
            # (https://github.com/pytorch/vision/issues/906), and whoever loads them must repeat it.
            basic_conv(widths.reduce5x5, widths.conv5x5, 3, padding=1),
        ),
        nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), basic_conv(in_channels, widths.pool, 1)),
    )


def _module_cifar(in_channels: int, widths: Widths) -> Inception:
    def conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
        return conv_bn_relu(nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2))

    return Inception(
        conv(in_channels, widths.conv1x1, 1),
        nn.Sequential(conv(in_channels, widths.reduce3x3, 1), conv(widths.reduce3x3, widths.conv3x3, 3)),
        nn.Sequential(
            conv(in_channels, widths.reduce5x5, 1),
            # Two 3×3 see as far as one 5×5 and cost less (https://arxiv.org/abs/1512.00567, figure 5).
            conv(widths.reduce5x5, widths.conv5x5, 3),
            conv(widths.conv5x5, widths.conv5x5, 3),
        ),
        nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(in_channels, widths.pool, 1)),
    )


def _auxiliary(in_channels: int, num_classes: int) -> nn.Sequential:
    """A classifier halfway up that feeds gradients to the lower stages; it is not used in prediction."""
    return nn.Sequential(
        OrderedDict(
            # The paper pools 5×5 with stride 3, over the same 14×14 to the same 4×4; torchvision's windows decide.
            pool=AdaptiveAveragePool(4),  # (N, D, 4, 4)
            conv=basic_conv(in_channels, 128, 1),  # (N, 128, 4, 4)
            flatten=nn.Flatten(),  # (N, 2048)
            fc1=nn.Linear(2048, 1024),  # (N, 1024)
            relu=nn.ReLU(inplace=True),
            dropout=nn.Dropout(0.7),
            fc2=nn.Linear(1024, num_classes),  # (N, K)
        )
    )


def _with_heads(stages: nn.Sequential, spec: NetworkSpec) -> Network:
    # torchvision's. It cuts the normal distribution at ±2, which is 200 deviations out and never happens.
    normal_weights(stages, std=0.01)
    shape = feature_shape(stages, spec)
    auxiliary = {
        stage: _auxiliary(MODULES[stage.removeprefix("inception")].total, spec.num_classes)
        for stage in AUXILIARY_BEHIND
    }
    for classifier in auxiliary.values():
        normal_weights(classifier, std=0.01)
    if spec.head:
        return Network(spec, stages, make_head(spec.head, shape, spec.num_classes), auxiliary)
    head = dropout_head(shape[0], spec.num_classes, dropout=0.2)
    normal_weights(head, std=0.01)
    return Network(spec, stages, head, auxiliary)


def torchvision_name(model: str, name: str) -> str:
    """What torchvision calls our parameter; a name that it has no counterpart for comes back as it is."""
    for stage, theirs in AUXILIARY_BEHIND.items():
        name = name.replace(f"auxiliary.{stage}.", f"{theirs}.")
    return name.removeprefix("stages.").replace("head.logits.", "fc.")
