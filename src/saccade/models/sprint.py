"""sprint: a small network made for time to accuracy on pictures of 32×32.

What the speed records on CIFAR-10 have found, put together anew: David Page's three wide blocks (How to Train Your
ResNet, 2018), the whitening first layer of tysam-code's hlb-CIFAR10 (2023), and from Keller Jordan's airbench
(2024, https://arxiv.org/abs/2404.00498) the 2×2 patches, the identity initialisation and the widths. docs/sprint.md
says what each costs and brings here.

Stages: block1 (the whitening first), block2, block3.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.heads import make_head
from saccade.models.network import Network, NetworkSpec, feature_shape

WIDTHS = (64, 256, 256)
PATCH = 2  # side of the patches that are whitened
# Added to the variances, in units of the normalised pixels, so that directions without signal are not blown up.
_LEAST_VARIANCE = 5e-4
_PICTURES = 2000  # their patches, two million, tell a covariance of 12 numbers to three digits
_FORGETS = 0.4  # how much of BatchNorm's running statistics is new in every step: a sprint has few of them


class Whiten(nn.Module):
    """Patches of 2×2 pixels in the directions in which they vary, each scaled to variance 1, with both signs; GELU.

    Its weights come from the training pictures (`learn_from`) and are no parameters: nothing trains them. Before that
    they are random directions.

    Args:
        in_channels: C; it gives 8 C channels.
    """

    weight: Tensor

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        num_values = in_channels * PATCH**2
        self.register_buffer("weight", self._filters(nn.init.orthogonal_(torch.empty(num_values, num_values))))

    @torch.no_grad()
    def learn_from(self, images: Tensor) -> None:
        """Take the directions from normalised pictures (N, C, H, W): eigenvectors of their patches' covariance."""
        patches = F.unfold(images.float(), PATCH).transpose(1, 2).flatten(0, 1)  # (N · positions, 4 C)
        covariance = patches.T.double() @ patches.double() / len(patches)
        variances, directions = torch.linalg.eigh(covariance)
        self.weight.copy_(self._filters((directions / (variances + _LEAST_VARIANCE).sqrt()).T))

    def _filters(self, directions: Tensor) -> Tensor:
        """Rows of (4 C, 4 C) and their opposites as filters (8 C, C, 2, 2)."""
        return torch.cat([directions, -directions]).view(-1, self.in_channels, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 8 C, h - 1, w - 1)."""
        whitened: Tensor = F.gelu(F.conv2d(x, self.weight))
        return whitened


class OffsetNorm(nn.BatchNorm2d):
    """BatchNorm that learns offsets only: its scales stay 1, for the next convolution can scale as well."""

    def __init__(self, width: int) -> None:
        super().__init__(width, momentum=_FORGETS)
        del self.weight
        self.register_buffer("weight", torch.ones(width))


class Block(nn.Module):
    """Two 3×3 convolutions, the first followed by pooling; BatchNorm with a learned offset and no scale, GELU."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, width)
        self.pool = nn.MaxPool2d(2)
        self.bn1 = OffsetNorm(width)
        self.conv2 = _conv(width, width)
        self.bn2 = OffsetNorm(width)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, width, h / 2, w / 2)."""
        x = self.act(self.bn1(self.pool(self.conv1(x))))
        block: Tensor = self.act(self.bn2(self.conv2(x)))
        return block


class SprintNetwork(Network):
    """A network whose first layer is set by the training pictures before anything is learned."""

    def prepare_from(self, sample: Callable[[int], Tensor]) -> None:
        """The whitening; `normalise` must be set already."""
        for layer in self.stages.modules():
            if isinstance(layer, Whiten):
                layer.learn_from(self.normalise(sample(_PICTURES)))


class GlobalMaxPool(nn.Module):
    """The largest value of every channel: (N, D, h, w) -> (N, D)."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, D)."""
        return features.amax(dim=(2, 3))


def sprint(spec: NetworkSpec) -> Network:
    """Whitening, three blocks of 64, 256 and 256 channels, the largest value of each channel, one linear layer."""
    first, second, third = WIDTHS
    whiten = Whiten(spec.in_channels)  # (N, 24, 31, 31) of 32
    stages = nn.Sequential(
        OrderedDict(
            # One stage: by itself the whitening would be a frozen one, and no run should keep what it gives.
            block1=nn.Sequential(OrderedDict(whiten=whiten, block=Block(len(whiten.weight), first))),  # (N, 64, 15, 15)
            block2=Block(first, second),  # (N, 256, 7, 7)
            block3=Block(second, third),  # (N, 256, 3, 3)
        )
    )
    shape = feature_shape(stages, spec)
    head = make_head(spec.head, shape, spec.num_classes) if spec.head else _own_head(shape[0], spec.num_classes)
    return SprintNetwork(spec, stages, head)


def _own_head(width: int, num_classes: int) -> nn.Sequential:
    """Small first weights: the first logits are near zero, and the blocks learn before the head is sure of itself."""
    logits = nn.Linear(width, num_classes, bias=False)
    nn.init.normal_(logits.weight, std=1 / width)
    return nn.Sequential(OrderedDict(pool=GlobalMaxPool(), logits=logits))


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3×3 convolution whose first filters hand their input on as it is (airbench, section 3)."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:in_channels])
    return conv
