"""ResNet (He, Zhang, Ren, Sun 2015, https://arxiv.org/abs/1512.03385): blocks that learn what to add to their input.

| name | what it is |
| --- | --- |
| resnet18 ... resnet152 | table 1 of the paper, as published with torchvision |
| resnet18_cifar ... resnet152_cifar | the same widths and depths for 32×32: a 3×3 stem of stride 1 and no first pool |

The _cifar sisters are not the narrow 6n + 2 networks of the paper's section 4.2 but what most work on CIFAR calls
ResNet-18 and so on; appendix B.9 of SimCLR describes them (https://arxiv.org/abs/2002.05709).

Stages: stem, stem_pool, layer1_0, layer1_1 ... layer4_2. The field writes layer1.0, but the name of a torch module
must not have a dot in it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from saccade.models.heads import make_head
from saccade.models.layers import conv_bn_relu, he_normal
from saccade.models.network import Network, NetworkSpec, feature_shape

WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Figure 5, left: two 3×3 convolutions and a shortcut around them."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, width, stride)

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

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        # The paper has the stride in the first 1×1; behind the published weights it is here ("ResNet v1.5").
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, 4 · width, h / stride, w / stride)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        residual += self.downsample(x)
        block: Tensor = self.relu(residual)
        return block


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The shortcut: the input itself, or a 1×1 convolution where the shape changes (option B of the paper)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


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
    stages = nn.Sequential(_stem_cifar(spec) if spec.model.endswith("_cifar") else _stem(spec))
    for name, block in _blocks(*DEPTHS[spec.model.removesuffix("_cifar")]):
        stages.add_module(name, block)  # layer1 (N, 64, 56, 56), layer2 (N, 128, 28, 28) ... times block.expansion
    he_normal(stages, "fan_out")
    head = make_head(spec.head or "gap", feature_shape(stages, spec), spec.num_classes)
    return Network(spec, stages, head)


def _stem(spec: NetworkSpec) -> OrderedDict[str, nn.Module]:
    conv = nn.Conv2d(spec.in_channels, 64, 7, stride=2, padding=3, bias=False)
    return OrderedDict(
        stem=conv_bn_relu(conv),  # (N, 64, 112, 112) of 224
        stem_pool=nn.MaxPool2d(3, stride=2, padding=1),  # (N, 64, 56, 56)
    )


def _stem_cifar(spec: NetworkSpec) -> OrderedDict[str, nn.Module]:
    conv = nn.Conv2d(spec.in_channels, 64, 3, padding=1, bias=False)
    return OrderedDict(stem=conv_bn_relu(conv))  # (N, 64, 32, 32) of 32


def _blocks(block: Block, depths: tuple[int, ...]) -> list[tuple[str, nn.Module]]:
    blocks: list[tuple[str, nn.Module]] = []
    in_channels = 64
    for layer, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True), start=1):
        for number in range(depth):
            stride = 2 if layer > 1 and number == 0 else 1
            blocks.append((f"layer{layer}_{number}", block(in_channels, width, stride)))
            in_channels = width * block.expansion
    return blocks


def torchvision_name(model: str, name: str) -> str:
    """What torchvision calls our parameter; a name that it has no counterpart for comes back as it is."""
    name = re.sub(r"^stages\.layer(\d)_(\d+)\.", r"layer\1.\2.", name)
    name = re.sub(r"^stages\.stem\.(conv|bn)\.", r"\g<1>1.", name)
    return re.sub(r"^head\.logits\.", "fc.", name)
