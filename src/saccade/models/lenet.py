"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf).

As it is taught today: ReLU instead of tanh, max-pooling instead of trained subsampling, every map of C3
connected to every map of S2, a softmax instead of radial basis functions.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from saccade.models.heads import make_head
from saccade.models.layers import conv_relu
from saccade.models.network import Network, NetworkSpec, feature_shape


def lenet5(spec: NetworkSpec) -> Network:
    """Two times conv 5×5, ReLU, max-pool 2; then 120, 84, K: 62,006 parameters at 32×32×3 and K = 10."""
    stages = nn.Sequential(
        OrderedDict(
            block1_conv1=conv_relu(nn.Conv2d(spec.in_channels, 6, 5)),  # C1 (N, 6, 28, 28) of 32
            block1_pool=nn.MaxPool2d(2),  # S2 (N, 6, 14, 14)
            block2_conv1=conv_relu(nn.Conv2d(6, 16, 5)),  # C3 (N, 16, 10, 10)
            block2_pool=nn.MaxPool2d(2),  # S4 (N, 16, 5, 5)
        )
    )
    head = make_head(spec.head or "120,84", feature_shape(stages, spec), spec.num_classes)
    return Network(spec, stages, head)
