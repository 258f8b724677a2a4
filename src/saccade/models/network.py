"""Network: normalise -> stages -> head, the one surface that every architecture shares.

Whoever needs to know a network's inside (freezing, the cached prefix, heat maps, the layer table) works on
`stages` alone, so nothing outside a family's own file knows what family it is looking at.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saccade.errors import ModelError
from saccade.models.shapes_only import ShapesOnly

# RGB means and deviations of ImageNet in 0..255, as torchvision's published weights expect them.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# Where the search for the smallest side that works gives up, in pixels.
LARGEST_SIDE = 1024

NO_L2: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class NetworkSpec:
    """All that is needed to build a network again, besides its weights.

    Attributes:
        model: a name in the catalogue, or `timm/NAME`.
        num_classes: K, at least 2.
        image_size: side of the square the network sees, in pixels; None for the catalogue's own.
        in_channels: 1 for grey, 3 for RGB.
        head: None for the family's own head, or one in the grammar of `heads.parse_head`.
    """

    model: str
    num_classes: int
    image_size: int | None = None
    in_channels: int = 3
    head: str | None = None


class Outputs(NamedTuple):
    """What a training step sees: logits (N, K) and, by stage name, the logits of auxiliary classifiers."""

    logits: Tensor
    auxiliary: dict[str, Tensor]


class Normalise(nn.Module):
    """Takes pixels 0..255 to what the first layer expects: (pixels - mean) / std, channel by channel.

    It lives inside the network so that weights never travel without their preprocessing.

    Args:
        mean: per channel, in 0..255.
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self._std_is_fixed = False
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), uint8 or float, 0..255, to the same shape in the network's dtype."""
        if torch.compiler.is_compiling() or not images.is_contiguous(memory_format=torch.channels_last):
            return (images.to(self.mean.dtype) - self.mean) / self.std
        # Where channels lie side by side, whole rows are one operand: a third of the time or less.
        num_images, channels, height, width = images.shape
        rows = images.permute(0, 2, 3, 1).reshape(num_images, height, width * channels)
        return self._rows(rows, width).view(num_images, height, width, channels).permute(0, 3, 1, 2)

    def _rows(self, rows: Tensor, width: int) -> Tensor:
        mean, std, pixels = self.mean.flatten(), self.std.flatten(), rows.to(self.mean.dtype)
        if pixels.dtype != torch.float32:  # bfloat16 has no digits to spare for a sum of products
            return (pixels - mean.repeat(width)) / std.repeat(width)
        # One pass instead of two, in the memory that the conversion took, where there was one.
        shift, scale = (-mean / std).repeat(width), (1 / std).repeat(width)
        return torch.addcmul(shift, pixels, scale, out=None if pixels is rows else pixels)

    @torch.no_grad()
    def fix_std(self, std: float) -> None:
        """Make the deviation part of the architecture: `set` then changes the mean alone."""
        self.std.fill_(std)
        self._std_is_fixed = True

    @torch.no_grad()
    def set(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Replace the statistics, in units of 0..255; a deviation of zero (a constant channel) becomes 1."""
        self.mean.copy_(torch.tensor(mean).view(-1, 1, 1))
        if self._std_is_fixed:
            return
        self.std.copy_(torch.tensor([value if value > 0 else 1.0 for value in std]).view(-1, 1, 1))


def imagenet_normalise(in_channels: int) -> Normalise:
    """ImageNet's statistics; for grey pictures their average over the three colours."""
    if in_channels == 3:
        return Normalise(IMAGENET_MEAN, IMAGENET_STD)
    return Normalise([sum(IMAGENET_MEAN) / 3] * in_channels, [sum(IMAGENET_STD) / 3] * in_channels)


class Network(nn.Module):
    """A classifier of pictures.

    Args:
        spec: what to build it from again.
        stages: named blocks in order; their output is what the head sees.
        head: features -> logits (N, K).
        auxiliary: classifiers hung behind a stage, by that stage's name; they run in training only.
        l2: strength of the L2 penalty on the weights of single stages, by stage name, where the paper has one.

    Attributes:
        frozen_stages: names of stages that stay in inference mode whatever `train` is called with, and whose
            auxiliary classifiers do not run; training/freeze.py sets them.
        keep_statistics: BatchNorm of the stages stays in inference mode too, wherever it stands.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        stages: nn.Sequential,
        head: nn.Module,
        auxiliary: Mapping[str, nn.Module] = MappingProxyType({}),
        l2: Mapping[str, float] = NO_L2,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.l2: Mapping[str, float] = dict(l2)  # a plain one: networks are copied to try things on
        self.frozen_stages: Collection[str] = frozenset()
        self.keep_statistics = False
        self.normalise = imagenet_normalise(spec.in_channels)
        self.stages = stages
        self.auxiliary = nn.ModuleDict(auxiliary)
        self.head = head

    def train(self, mode: bool = True) -> Self:
        """Switch all but the frozen stages to training mode, or everything to inference mode."""
        super().train(mode)
        for name in self.frozen_stages:
            self.stages.get_submodule(name).eval()
        for module in self.stages.modules() if self.keep_statistics else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def prepare_from(self, sample: Callable[[int], Tensor]) -> None:
        """Set what the training pictures decide before anything is learned: nothing, in most families.

        Args:
            sample: how many -> at most so many of them, evenly spaced, uint8 (N, C, H, W) of the network's size.
        """

    def features(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in 0..255 -> what the head sees, usually (N, D, h, w)."""
        return self.before(images, len(self.stages))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), uint8 or float, RGB or grey, in 0..255 -> logits (N, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def training_outputs(self, images: Tensor) -> Outputs:
        """As `forward`, with the logits of the auxiliary classifiers beside it."""
        return self.after(self.normalise(images), 0)

    def before(self, images: Tensor, num_stages: int) -> Tensor:
        """Images in 0..255 -> what stage number `num_stages` is given: normalised, and through the stages before it."""
        x: Tensor = self.normalise(images)
        for stage in list(self.stages)[:num_stages]:
            x = stage(x)
        return x

    def after(self, x: Tensor, num_stages: int) -> Outputs:
        """The rest of the way: what `before` gave -> logits, and those of the auxiliary classifiers that learn."""
        auxiliary = {}
        for name, stage in list(self.stages.named_children())[num_stages:]:
            x = stage(x)
            if name in self.auxiliary and name not in self.frozen_stages:
                auxiliary[name] = self.auxiliary[name](x)
        return Outputs(self.head(x), auxiliary)


def feature_shape(stages: nn.Sequential, spec: NetworkSpec) -> tuple[int, ...]:
    """The shape of what the stages give for one picture, without the batch axis; nothing is computed.

    The smallest side is one that predicts. Where it leaves a map of 1×1, BatchNorm can only train on batches of two
    pictures or more.

    Raises:
        ModelError: the picture is too small for the arithmetic; the message names the smallest side that works.
    """
    side = side_of(spec)
    shape = _try_shape(stages, spec.in_channels, side)
    if shape is None:
        smallest = _smallest_side(stages, spec.in_channels, side)
        raise ModelError(
            f"{spec.model} cannot see pictures of {side}×{side} pixels: a layer would have nothing left to look at",
            remedy=f"use --image-size {smallest} or more" if smallest else "choose another network",
        )
    return shape


def _smallest_side(stages: nn.Sequential, in_channels: int, too_small: int) -> int | None:
    # A layer's output never shrinks when its input grows, so the sides that work are all above those that do not.
    def works(side: int) -> bool:
        return _try_shape(stages, in_channels, side) is not None

    too_small = max(too_small, 0)
    side = max(2 * too_small, 1)
    while not works(side):
        if side > LARGEST_SIDE:
            return None
        too_small, side = side, 2 * side
    return too_small + 1 + bisect.bisect_left(range(too_small + 1, side), True, key=works)


def side_of(spec: NetworkSpec) -> int:
    """The side of the pictures in pixels, once the catalogue has filled it in."""
    if spec.image_size is None:
        raise ValueError("image_size must be filled in before a network is built; see catalogue.build_network")
    return spec.image_size


def _try_shape(stages: nn.Sequential, in_channels: int, side: int) -> tuple[int, ...] | None:
    # The meta device does shape arithmetic only, so this costs microseconds at any size.
    tensors = {name: tensor.detach().to("meta") for name, tensor in stages.state_dict(keep_vars=True).items()}
    was_training = stages.training
    stages.eval()
    try:
        image = torch.empty(1, in_channels, side, side, device="meta")
        with ShapesOnly():
            result = torch.func.functional_call(stages, tensors, (image,))
    except RuntimeError:
        return None
    finally:
        stages.train(was_training)
    return tuple(result.shape[1:]) if result.numel() else None
