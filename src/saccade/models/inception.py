"""Inception v3 (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567): large convolutions taken apart into small ones.

Stages carry the names of the published network: Conv2d_1a_3x3 ... Mixed_5b ... Mixed_7c, and pool1, pool2. Every
module is a set of branches over the same map, their channels side by side; only the branches differ.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.heads import dropout_head, make_head
from saccade.models.layers import AdaptiveAveragePool, basic_conv, normal_weights
from saccade.models.network import Network, NetworkSpec, feature_shape

AUXILIARY_BEHIND = "Mixed_6e"


def inception_v3(spec: NetworkSpec) -> Network:
    """torchvision's Inception v3: 27,161,264 parameters at K = 1000 with the auxiliary classifier."""
    stages = nn.Sequential(
        OrderedDict(
            Conv2d_1a_3x3=basic_conv(spec.in_channels, 32, 3, stride=2),  # (N, 32, 149, 149) of 299
            Conv2d_2a_3x3=basic_conv(32, 32, 3),  # (N, 32, 147, 147)
            Conv2d_2b_3x3=basic_conv(32, 64, 3, padding=1),  # (N, 64, 147, 147)
            pool1=nn.MaxPool2d(3, stride=2),  # (N, 64, 73, 73)
            Conv2d_3b_1x1=basic_conv(64, 80, 1),  # (N, 80, 73, 73)
            Conv2d_4a_3x3=basic_conv(80, 192, 3),  # (N, 192, 71, 71)
            pool2=nn.MaxPool2d(3, stride=2),  # (N, 192, 35, 35)
            Mixed_5b=InceptionA(192, pool_channels=32),  # (N, 256, 35, 35)
            Mixed_5c=InceptionA(256, pool_channels=64),  # (N, 288, 35, 35)
            Mixed_5d=InceptionA(288, pool_channels=64),  # (N, 288, 35, 35)
            Mixed_6a=InceptionB(288),  # (N, 768, 17, 17)
            Mixed_6b=InceptionC(768, channels_7x7=128),  # (N, 768, 17, 17)
            Mixed_6c=InceptionC(768, channels_7x7=160),  # (N, 768, 17, 17)
            Mixed_6d=InceptionC(768, channels_7x7=160),  # (N, 768, 17, 17)
            Mixed_6e=InceptionC(768, channels_7x7=192),  # (N, 768, 17, 17)
            Mixed_7a=InceptionD(768),  # (N, 1280, 8, 8)
            Mixed_7b=InceptionE(1280),  # (N, 2048, 8, 8)
            Mixed_7c=InceptionE(2048),  # (N, 2048, 8, 8)
        )
    )
    # torchvision's 0.1. It cuts the normal distribution at ±2, which is 20 deviations out and never happens.
    normal_weights(stages, std=0.1)
    shape = feature_shape(stages, spec)
    auxiliary = {AUXILIARY_BEHIND: _auxiliary(768, spec.num_classes)}
    if spec.head:
        return Network(spec, stages, make_head(spec.head, shape, spec.num_classes), auxiliary)
    head = dropout_head(shape[0], spec.num_classes, dropout=0.5)
    normal_weights(head, std=0.1)
    return Network(spec, stages, head, auxiliary)


class InceptionA(nn.Module):
    """Figure 5: a 5×5 becomes two 3×3 in one branch. 35×35 stays 35×35."""

    def __init__(self, in_channels: int, pool_channels: int) -> None:
        super().__init__()
        self.branch1x1 = basic_conv(in_channels, 64, 1)
        # The published network keeps one true 5×5 beside the two 3×3.
        self.branch5x5_1 = basic_conv(in_channels, 48, 1)
        self.branch5x5_2 = basic_conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = basic_conv(in_channels, 64, 1)
        self.branch3x3dbl_2 = basic_conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = basic_conv(96, 96, 3, padding=1)
        self.branch_pool = basic_conv(in_channels, pool_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, 224 + pool_channels, h, w)."""
        branch1x1 = self.branch1x1(x)
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        branch_pool = self.branch_pool(_pool_same(x))
        return torch.cat([branch1x1, branch5x5, branch3x3dbl, branch_pool], dim=1)


class InceptionB(nn.Module):
    """Figure 10: halves the map with convolution and pooling side by side. 35×35 becomes 17×17."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = basic_conv(in_channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = basic_conv(in_channels, 64, 1)
        self.branch3x3dbl_2 = basic_conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = basic_conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, 480 + D, (h - 1) / 2, (w - 1) / 2)."""
        branch3x3 = self.branch3x3(x)
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        branch_pool = F.max_pool2d(x, kernel_size=3, stride=2)
        return torch.cat([branch3x3, branch3x3dbl, branch_pool], dim=1)


class InceptionC(nn.Module):
    """Figure 6: a 7×7 becomes 1×7 and 7×1. 17×17 stays 17×17."""

    def __init__(self, in_channels: int, channels_7x7: int) -> None:
        super().__init__()
        c7 = channels_7x7
        self.branch1x1 = basic_conv(in_channels, 192, 1)
        self.branch7x7_1 = basic_conv(in_channels, c7, 1)
        self.branch7x7_2 = basic_conv(c7, c7, (1, 7), padding=(0, 3))
        self.branch7x7_3 = basic_conv(c7, 192, (7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = basic_conv(in_channels, c7, 1)
        self.branch7x7dbl_2 = basic_conv(c7, c7, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = basic_conv(c7, c7, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = basic_conv(c7, c7, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = basic_conv(c7, 192, (1, 7), padding=(0, 3))
        self.branch_pool = basic_conv(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, 768, h, w)."""
        branch1x1 = self.branch1x1(x)
        branch7x7 = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        branch7x7dbl = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        branch7x7dbl = self.branch7x7dbl_5(self.branch7x7dbl_4(branch7x7dbl))
        branch_pool = self.branch_pool(_pool_same(x))
        return torch.cat([branch1x1, branch7x7, branch7x7dbl, branch_pool], dim=1)


class InceptionD(nn.Module):
    """As InceptionB, with a 7×7 taken apart in front. 17×17 becomes 8×8."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = basic_conv(in_channels, 192, 1)
        self.branch3x3_2 = basic_conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = basic_conv(in_channels, 192, 1)
        self.branch7x7x3_2 = basic_conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = basic_conv(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = basic_conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, 512 + D, (h - 1) / 2, (w - 1) / 2)."""
        branch3x3 = self.branch3x3_2(self.branch3x3_1(x))
        branch7x7x3 = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        branch7x7x3 = self.branch7x7x3_4(branch7x7x3)
        branch_pool = F.max_pool2d(x, kernel_size=3, stride=2)
        return torch.cat([branch3x3, branch7x7x3, branch_pool], dim=1)


class InceptionE(nn.Module):
    """Figure 7: 1×3 and 3×1 side by side instead of one behind the other. 8×8 stays 8×8."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1x1 = basic_conv(in_channels, 320, 1)
        self.branch3x3_1 = basic_conv(in_channels, 384, 1)
        self.branch3x3_2a = basic_conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = basic_conv(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = basic_conv(in_channels, 448, 1)
        self.branch3x3dbl_2 = basic_conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = basic_conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = basic_conv(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = basic_conv(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, 2048, h, w)."""
        branch1x1 = self.branch1x1(x)
        branch3x3 = self.branch3x3_1(x)
        branch3x3 = torch.cat([self.branch3x3_2a(branch3x3), self.branch3x3_2b(branch3x3)], dim=1)
        branch3x3dbl = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branch3x3dbl = torch.cat([self.branch3x3dbl_3a(branch3x3dbl), self.branch3x3dbl_3b(branch3x3dbl)], dim=1)
        branch_pool = self.branch_pool(_pool_same(x))
        return torch.cat([branch1x1, branch3x3, branch3x3dbl, branch_pool], dim=1)


def _pool_same(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)


class AuxiliaryPool(nn.Module):
    """Average pooling 5×5 with stride 3: the 17×17 of a 299 picture becomes 5×5.

    Smaller maps are averaged to 5×5 adaptively, for the 5×5 convolution behind needs that much: torchvision's network
    cannot train on pictures under 299 with its auxiliary classifier, this one can.
    """

    def __init__(self) -> None:
        super().__init__()
        self.average = nn.AvgPool2d(5, stride=3)
        self.adaptive = AdaptiveAveragePool(5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, D, 5, 5) or larger."""
        pooled: Tensor = self.average(x) if min(x.shape[2:]) >= 17 else self.adaptive(x)
        return pooled


def _auxiliary(in_channels: int, num_classes: int) -> nn.Sequential:
    """A classifier beside the last 17×17 map; the paper finds that it acts as a regulariser."""
    classifier = nn.Sequential(
        OrderedDict(
            pool=AuxiliaryPool(),  # (N, 768, 5, 5) of 299
            conv0=basic_conv(in_channels, 128, 1),  # (N, 128, 5, 5)
            conv1=basic_conv(128, 768, 5),  # (N, 768, 1, 1)
            average=AdaptiveAveragePool(1),  # (N, 768, 1, 1)
            flatten=nn.Flatten(),  # (N, 768)
            fc=nn.Linear(768, num_classes),  # (N, K)
        )
    )
    for name, std in {"conv0": 0.1, "conv1": 0.01, "fc": 0.001}.items():
        normal_weights(classifier.get_submodule(name), std)
    return classifier


def torchvision_name(model: str, name: str) -> str:
    """What torchvision calls our parameter; a name that it has no counterpart for comes back as it is."""
    name = name.replace(f"auxiliary.{AUXILIARY_BEHIND}.", "AuxLogits.")
    return name.removeprefix("stages.").replace("head.logits.", "fc.")
