"""ResNet (He, Zhang, Ren, Sun 2015, https://arxiv.org/abs/1512.03385): blocks that learn what to add to their input.

| name | what it is |
| --- | --- |
| resnet18 ... resnet152 | table 1 of the paper, as published with torchvision |
| resnet20_cifar ... resnet110_cifar | section 4.2 of the paper: 6n + 2 narrow layers, made for CIFAR-10 |
| resnet18_cifar ... resnet152_cifar | the widths and depths of table 1 for 32×32: 3×3 stem of stride 1, no first pool |

The second kind is the paper's own for pictures of 32×32. What most work on CIFAR calls ResNet-18 and so on is the
third, with many times the weights; appendix B.9 of SimCLR describes it (https://arxiv.org/abs/2002.05709).

Stages: stem, stem_pool, layer1_0, layer1_1 ... layer4_2. The field writes layer1.0, but the name of a torch module
must not have a dot in it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.heads import make_head
from saccade.models.layers import conv_bn_relu, he_normal
from saccade.models.network import Network, NetworkSpec, feature_shape

WIDTHS = (64, 128, 256, 512)
NARROW_WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Figure 5, left: two 3×3 convolutions and a shortcut around them."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _around(in_channels, width, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, width, h / stride, w / stride)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        residual += self.downsample(x)
        block: Tensor = self.relu(residual)
        return block


class Bottleneck(nn.Module):
    """Figure 5, right: 1×1 to fewer channels, 3×3 there, 1×1 back to four times as many."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        # The paper has the stride in the first 1×1; behind the published weights it is here ("ResNet v1.5").
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _around(in_channels, width * self.expansion, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, 4 · width, h / stride, w / stride)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        residual += self.downsample(x)
        block: Tensor = self.relu(residual)
        return block


class PaddedShortcut(nn.Module):
    """Every second place of the input, and zeros for the channels that are new: option A of the paper, no weights."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, D + new channels, h / stride, w / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A 1×1 convolution: option B of the paper."""
    conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


Shortcut = Callable[[int, int, int], nn.Module]


def _around(in_channels: int, out_channels: int, stride: int, shortcut: Shortcut) -> nn.Module:
    """The input itself, or what the shortcut makes of it where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return shortcut(in_channels, out_channels, stride)


Block = type[BasicBlock] | type[Bottleneck]
# Kind of block and how many in each of the four layers: table 1 of the paper.
DEPTHS: Mapping[str, tuple[Block, tuple[int, int, int, int]]] = MappingProxyType(
    {
        "resnet18": (BasicBlock, (2, 2, 2, 2)),
        "resnet34": (BasicBlock, (3, 4, 6, 3)),
        "resnet50": (Bottleneck, (3, 4, 6, 3)),
        "resnet101": (Bottleneck, (3, 4, 23, 3)),
        "resnet152": (Bottleneck, (3, 8, 36, 3)),
    }
)


def resnet(spec: NetworkSpec) -> Network:
    """resnet18, 34, 50, 101 or 152, with `_cifar` behind the name for small pictures."""
    stages = nn.Sequential(_stem_cifar(spec, WIDTHS[0]) if spec.model.endswith("_cifar") else _stem(spec))
    block, depths = DEPTHS[spec.model.removesuffix("_cifar")]
    for name, each in _blocks(block, WIDTHS, depths, _projection):
        stages.add_module(name, each)  # layer1 (N, 64, 56, 56), layer2 (N, 128, 28, 28) ... times block.expansion
    return _finish(spec, stages)


def resnet_narrow(spec: NetworkSpec) -> Network:
    """resnet20_cifar, 32, 44, 56 or 110: 6n + 2 layers with weights, two of them in each of 3n blocks."""
    depth = (int(spec.model.removeprefix("resnet").removesuffix("_cifar")) - 2) // 6
    stages = nn.Sequential(_stem_cifar(spec, NARROW_WIDTHS[0]))
    for name, block in _blocks(BasicBlock, NARROW_WIDTHS, (depth,) * 3, PaddedShortcut):
        stages.add_module(name, block)  # layer1 (N, 16, 32, 32), layer2 (N, 32, 16, 16), layer3 (N, 64, 8, 8)
    return _finish(spec, stages)


def _finish(spec: NetworkSpec, stages: nn.Sequential) -> Network:
    """First weights, and the head."""
    he_normal(stages, "fan_out")
    head = make_head(spec.head or "gap", feature_shape(stages, spec), spec.num_classes)
    return Network(spec, stages, head)


def _stem(spec: NetworkSpec) -> OrderedDict[str, nn.Module]:
    conv = nn.Conv2d(spec.in_channels, 64, 7, stride=2, padding=3, bias=False)
    return OrderedDict(
        stem=conv_bn_relu(conv),  # (N, 64, 112, 112) of 224
        stem_pool=nn.MaxPool2d(3, stride=2, padding=1),  # (N, 64, 56, 56)
    )


def _stem_cifar(spec: NetworkSpec, width: int) -> OrderedDict[str, nn.Module]:
    conv = nn.Conv2d(spec.in_channels, width, 3, padding=1, bias=False)
    return OrderedDict(stem=conv_bn_relu(conv))  # (N, width, 32, 32) of 32


def _blocks(
    block: Block, widths: tuple[int, ...], depths: tuple[int, ...], shortcut: Shortcut
) -> list[tuple[str, nn.Module]]:
    blocks: list[tuple[str, nn.Module]] = []
    in_channels = widths[0]
    for layer, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for number in range(depth):
            stride = 2 if layer > 1 and number == 0 else 1
            blocks.append((f"layer{layer}_{number}", block(in_channels, width, stride, shortcut)))
            in_channels = width * block.expansion
    return blocks


def torchvision_name(model: str, name: str) -> str:
    """What torchvision calls our parameter; a name that it has no counterpart for comes back as it is."""
    name = re.sub(r"^stages\.layer(\d)_(\d+)\.", r"layer\1.\2.", name)
    name = re.sub(r"^stages\.stem\.(conv|bn)\.", r"\g<1>1.", name)
    return re.sub(r"^head\.logits\.", "fc.", name)
