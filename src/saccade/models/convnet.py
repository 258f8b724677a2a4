"""Hand-made CNNs: the first networks people write, one with a single convolution and one with four.

`cnn1` is the network of the usual MNIST exercise, `cnn4` the one for photographs of a few classes.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from saccade.models.heads import make_head
from saccade.models.layers import conv_relu
from saccade.models.network import Network, NetworkSpec, feature_shape

CNN4_FILTERS = (128, 256, 128, 64)


def cnn1(spec: NetworkSpec) -> Network:
    """conv 3×3 with 32 filters, ReLU, max-pool 2, flatten, dense K: 54,410 parameters at 28×28×1 and K = 10."""
    stages = nn.Sequential(
        OrderedDict(
            block1_conv1=conv_relu(nn.Conv2d(spec.in_channels, 32, 3)),  # (N, 32, 26, 26) of 28
            block1_pool=nn.MaxPool2d(2),  # (N, 32, 13, 13)
        )
    )
    head = make_head(spec.head or "flatten", feature_shape(stages, spec), spec.num_classes)
    return Network(spec, stages, head)


def cnn4(spec: NetworkSpec) -> Network:
    """Four times conv 3×3 same, ReLU, max-pool 2; dense 128, 64, 32: 2,283,779 parameters at 224 and K = 3."""
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    in_channels = spec.in_channels
    for number, filters in enumerate(CNN4_FILTERS, start=1):
        blocks[f"block{number}_conv1"] = conv_relu(nn.Conv2d(in_channels, filters, 3, padding=1))
        blocks[f"block{number}_pool"] = nn.MaxPool2d(2)  # (N, filters, side / 2^number, ...)
        in_channels = filters
    stages = nn.Sequential(blocks)
    head = make_head(spec.head or "128,64,32", feature_shape(stages, spec), spec.num_classes)
    return Network(spec, stages, head)
