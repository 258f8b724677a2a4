"""AlexNet (Krizhevsky, Sutskever, Hinton 2012, https://papers.nips.cc/paper/4824) and what became of it.

| name | what it is |
| --- | --- |
| alexnet | the one-column network of https://arxiv.org/abs/1404.5997 as published with torchvision |
| alexnet_lrn | the 2012 paper: local response normalisation, convolutions in two groups |
| alexnet_bn | the 2012 widths with BatchNorm behind each ReLU instead, no groups |
| alexnet_cifar | torchvision's widths for pictures of 32×32, one linear layer |

Stages: conv1, pool1, conv2, pool2, conv3, conv4, conv5, pool5; a conv stage ends with its ReLU and normalisation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.heads import dense_head, make_head
from saccade.models.layers import conv_relu, layers_with_weights, normal_weights, zero_biases
from saccade.models.network import NO_L2, Network, NetworkSpec, feature_shape

L2_BN = MappingProxyType({"conv2": 1e-4, "conv3": 1e-4, "conv4": 1e-4, "conv5": 1e-4})
TORCHVISION_PREFIXES = MappingProxyType(
    {
        "stages.conv1.conv": "features.0",
        "stages.conv2.conv": "features.3",
        "stages.conv3.conv": "features.6",
        "stages.conv4.conv": "features.8",
        "stages.conv5.conv": "features.10",
        "head.fc1": "classifier.1",
        "head.fc2": "classifier.4",
        "head.logits": "classifier.6",
    }
)


def alexnet(spec: NetworkSpec) -> Network:
    """torchvision's AlexNet: 61,100,840 parameters at K = 1000, whatever the size."""
    stages = nn.Sequential(
        OrderedDict(
            conv1=conv_relu(nn.Conv2d(spec.in_channels, 64, 11, stride=4, padding=2)),  # (N, 64, 55, 55) of 224
            pool1=nn.MaxPool2d(3, stride=2),  # (N, 64, 27, 27)
            conv2=conv_relu(nn.Conv2d(64, 192, 5, padding=2)),  # (N, 192, 27, 27)
            pool2=nn.MaxPool2d(3, stride=2),  # (N, 192, 13, 13)
            conv3=conv_relu(nn.Conv2d(192, 384, 3, padding=1)),  # (N, 384, 13, 13)
            conv4=conv_relu(nn.Conv2d(384, 256, 3, padding=1)),  # (N, 256, 13, 13)
            conv5=conv_relu(nn.Conv2d(256, 256, 3, padding=1)),  # (N, 256, 13, 13)
            pool5=nn.MaxPool2d(3, stride=2),  # (N, 256, 6, 6)
        )
    )
    shape = feature_shape(stages, spec)
    if spec.head:
        return Network(spec, stages, make_head(spec.head, shape, spec.num_classes))
    head = dense_head(shape, spec.num_classes, pool_side=6, dropout_first=True)
    return Network(spec, stages, head)


def alexnet_lrn(spec: NetworkSpec) -> Network:
    """The network of the 2012 paper: 60,965,224 parameters at 227 and K = 1000.

    The paper says 224, but its arithmetic (55×55 behind conv1) needs 227. Of the preprocessing it says that the
    mean was subtracted and nothing else done, so the deviation is 1; its initial weights are made for that scale.
    """
    stages = nn.Sequential(
        OrderedDict(
            conv1=_conv_relu_lrn(nn.Conv2d(spec.in_channels, 96, 11, stride=4)),  # (N, 96, 55, 55) of 227
            pool1=nn.MaxPool2d(3, stride=2),  # (N, 96, 27, 27)
            conv2=_conv_relu_lrn(nn.Conv2d(96, 256, 5, padding=2, groups=2)),  # (N, 256, 27, 27)
            pool2=nn.MaxPool2d(3, stride=2),  # (N, 256, 13, 13)
            conv3=conv_relu(nn.Conv2d(256, 384, 3, padding=1)),  # (N, 384, 13, 13)
            conv4=conv_relu(nn.Conv2d(384, 384, 3, padding=1, groups=2)),  # (N, 384, 13, 13)
            conv5=conv_relu(nn.Conv2d(384, 256, 3, padding=1, groups=2)),  # (N, 256, 13, 13)
            pool5=nn.MaxPool2d(3, stride=2),  # (N, 256, 6, 6)
        )
    )
    network = _with_head(stages, spec, _initialise_as_2012)
    network.normalise.fix_std(1.0)
    return network


def alexnet_bn(spec: NetworkSpec) -> Network:
    """The 2012 widths with BatchNorm: 58,325,066 parameters and 2,752 moving statistics at 227 and K = 10."""
    stages = nn.Sequential(
        OrderedDict(
            conv1=_conv_relu_bn(nn.Conv2d(spec.in_channels, 96, 11, stride=4)),  # (N, 96, 55, 55) of 227
            pool1=nn.MaxPool2d(3, stride=2),  # (N, 96, 27, 27)
            conv2=_conv_relu_bn(nn.Conv2d(96, 256, 5, padding=2)),  # (N, 256, 27, 27)
            pool2=nn.MaxPool2d(3, stride=2),  # (N, 256, 13, 13)
            conv3=_conv_relu_bn(nn.Conv2d(256, 384, 3, padding=1)),  # (N, 384, 13, 13)
            conv4=_conv_relu_bn(nn.Conv2d(384, 384, 3, padding=1)),  # (N, 384, 13, 13)
            conv5=_conv_relu_bn(nn.Conv2d(384, 256, 3, padding=1)),  # (N, 256, 13, 13)
            pool5=nn.MaxPool2d(3, stride=2),  # (N, 256, 6, 6)
        )
    )
    return _with_head(stages, spec, _initialise_as_glorot, L2_BN)


def alexnet_cifar(spec: NetworkSpec) -> Network:
    """AlexNet for CIFAR-10 as in https://github.com/bearpaw/pytorch-classification: 2,472,266 parameters at K = 10."""
    stages = nn.Sequential(
        OrderedDict(
            conv1=conv_relu(nn.Conv2d(spec.in_channels, 64, 11, stride=4, padding=5)),  # (N, 64, 8, 8) of 32
            pool1=nn.MaxPool2d(2),  # (N, 64, 4, 4)
            conv2=conv_relu(nn.Conv2d(64, 192, 5, padding=2)),  # (N, 192, 4, 4)
            pool2=nn.MaxPool2d(2),  # (N, 192, 2, 2)
            conv3=conv_relu(nn.Conv2d(192, 384, 3, padding=1)),  # (N, 384, 2, 2)
            conv4=conv_relu(nn.Conv2d(384, 256, 3, padding=1)),  # (N, 256, 2, 2)
            conv5=conv_relu(nn.Conv2d(256, 256, 3, padding=1)),  # (N, 256, 2, 2)
            pool5=nn.MaxPool2d(2),  # (N, 256, 1, 1)
        )
    )
    head = make_head(spec.head or "flatten", feature_shape(stages, spec), spec.num_classes)
    return Network(spec, stages, head)


def torchvision_name(model: str, name: str) -> str:
    """What torchvision calls our parameter; a name that it has no counterpart for comes back as it is."""
    layer, _, tensor = name.rpartition(".")
    return f"{TORCHVISION_PREFIXES.get(layer, layer)}.{tensor}"


def _conv_relu_bn(conv: nn.Conv2d) -> nn.Sequential:
    """ReLU before BatchNorm, the other way round than the BatchNorm paper: this variant is known that way."""
    bn = nn.BatchNorm2d(conv.out_channels)
    return nn.Sequential(OrderedDict(conv=conv, relu=nn.ReLU(inplace=True), bn=bn))


class LocalResponseNorm(nn.Module):
    """Section 3.3 of the paper: x / (2 + 1e-4 · sum of x² over 5 neighbouring channels)^0.75.

    Not nn.LocalResponseNorm: its pooling in three dimensions has no deterministic gradient on CUDA. (And its alpha
    is five times the paper's, for it takes the mean of the squares.)
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, D, h, w)."""
        # In float32, for the square of an activation above 255 does not fit into float16.
        squares = x.float().square().flatten(2).unsqueeze(1)  # (N, 1, D, h · w)
        sums = 5 * F.avg_pool2d(squares, kernel_size=(5, 1), stride=1, padding=(2, 0))
        scale = (2 + 1e-4 * sums) ** 0.75
        return (x / scale.reshape(x.shape)).to(x.dtype)


def _conv_relu_lrn(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=conv, relu=nn.ReLU(inplace=True), lrn=LocalResponseNorm()))


def _with_head(
    stages: nn.Sequential,
    spec: NetworkSpec,
    initialise: Callable[[nn.Module], None],
    l2: Mapping[str, float] = NO_L2,
) -> Network:
    """4096, 4096, K with dropout behind both, on the map as it comes: its size is part of these two networks."""
    initialise(stages)
    shape = feature_shape(stages, spec)
    if spec.head:
        return Network(spec, stages, make_head(spec.head, shape, spec.num_classes), l2=l2)
    head = dense_head(shape, spec.num_classes)
    initialise(head)
    return Network(spec, stages, head, l2=l2)


def _initialise_as_2012(module: nn.Module) -> None:
    """Weights N(0, 0.01²); biases 1 in conv 2, 4, 5 and the hidden dense layers, so that ReLUs start alive, else 0."""
    normal_weights(module, std=0.01)
    zero_biases(module)
    for name, bias in module.named_parameters():
        if name in {"conv2.conv.bias", "conv4.conv.bias", "conv5.conv.bias", "fc1.bias", "fc2.bias"}:
            nn.init.ones_(bias)


def _initialise_as_glorot(module: nn.Module) -> None:
    """Uniform weights of Glorot and Bengio (https://proceedings.mlr.press/v9/glorot10a.html), biases 0.

    This variant has no paper. It comes from Keras, where this is what a layer starts from.
    """
    for layer in layers_with_weights(module):
        nn.init.xavier_uniform_(layer.weight)
    zero_biases(module)
