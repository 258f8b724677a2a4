"""VGG (Simonyan, Zisserman 2014, https://arxiv.org/abs/1409.1556): 3×3 convolutions only, and many of them.

The paper's columns A, B, D and E, each also with BatchNorm as torchvision publishes them. Stages: block1_conv1 ...
block5_conv3, block5_pool; a conv stage ends with its ReLU.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from types import MappingProxyType

from torch import nn

from saccade.models.heads import dense_head, make_head
from saccade.models.layers import conv_bn_relu, conv_relu, he_normal, normal_weights, zero_biases
from saccade.models.network import Network, NetworkSpec, feature_shape

FILTERS = (64, 128, 256, 512, 512)
# Convolutions in each of the five blocks: table 1 of the paper.
BLOCKS = MappingProxyType(
    {
        "vgg11": (1, 1, 2, 2, 2),
        "vgg13": (2, 2, 2, 2, 2),
        "vgg16": (2, 2, 3, 3, 3),
        "vgg19": (2, 2, 4, 4, 4),
    }
)


def vgg(spec: NetworkSpec) -> Network:
    """vgg11, 13, 16 or 19, with `_bn` behind the name with BatchNorm."""
    stages = _stages(spec)
    he_normal(stages, "fan_out")
    shape = feature_shape(stages, spec)
    if spec.head:
        return Network(spec, stages, make_head(spec.head, shape, spec.num_classes))
    head = dense_head(shape, spec.num_classes, pool_side=7)
    # torchvision's. The paper trained column A first and began the deeper ones with its weights.
    normal_weights(head, std=0.01)
    zero_biases(head)
    return Network(spec, stages, head)


def _stages(spec: NetworkSpec) -> nn.Sequential:
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    layer = conv_bn_relu if spec.model.endswith("_bn") else conv_relu
    in_channels = spec.in_channels
    for block, (num_convs, filters) in enumerate(zip(_blocks(spec.model), FILTERS, strict=True), start=1):
        for number in range(1, num_convs + 1):
            stages[f"block{block}_conv{number}"] = layer(nn.Conv2d(in_channels, filters, 3, padding=1))
            in_channels = filters
        stages[f"block{block}_pool"] = nn.MaxPool2d(2)  # (N, filters, side / 2^block, side / 2^block)
    return nn.Sequential(stages)


def torchvision_name(model: str, name: str) -> str:
    """What torchvision calls our parameter; a name that it has no counterpart for comes back as it is.

    torchvision numbers all layers in one row, ReLUs and pools included: in vgg16 block2_conv1.conv is features.5.
    """
    layer, _, tensor = name.rpartition(".")
    dense = {"head.fc1": "classifier.0", "head.fc2": "classifier.3", "head.logits": "classifier.6"}
    conv = re.fullmatch(r"stages\.block(\d)_conv(\d)\.(conv|bn)", layer)
    if conv is None:
        return f"{dense.get(layer, layer)}.{tensor}"
    block, number, kind = int(conv[1]), int(conv[2]), conv[3]
    num_convs_before = sum(_blocks(model)[: block - 1]) + number - 1
    layers_per_conv = 3 if model.endswith("_bn") else 2
    index = num_convs_before * layers_per_conv + (block - 1) + (kind == "bn")
    return f"features.{index}.{tensor}"


def _blocks(model: str) -> tuple[int, ...]:
    return BLOCKS[model.removesuffix("_bn")]
