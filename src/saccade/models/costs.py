"""What a network costs: the multiply-adds of its convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F

from saccade.models.network import Network, side_of
from saccade.models.shapes_only import ShapesOnly

# Of one picture at the size, channels and classes of the catalogue, as summary.layer_table counts them, which a test
# repeats for every network: counting them all anew for `saccade models` took 3.6 s of an Ice Lake core, torch's
# compiler included, which it loads.
MULTIPLY_ADDS: Mapping[str, int] = MappingProxyType(
    {
        "cnn1": 248_768,
        "cnn4": 4_857_047_136,
        "lenet5": 651_720,
        "alexnet": 714_188_480,
        "alexnet_lrn": 724_406_816,
        "alexnet_bn": 1_131_201_056,
        "alexnet_cifar": 14_957_056,
        "vgg11": 7_609_090_048,
        "vgg13": 11_308_466_176,
        "vgg16": 15_470_264_320,
        "vgg19": 19_632_062_464,
        "vgg11_bn": 7_609_090_048,
        "vgg13_bn": 11_308_466_176,
        "vgg16_bn": 15_470_264_320,
        "vgg19_bn": 19_632_062_464,
        "googlenet": 1_498_376_192,
        "googlenet_cifar": 1_521_756_160,
        "inception_v3": 5_713_216_096,
        "resnet18": 1_814_073_344,
        "resnet34": 3_663_761_408,
        "resnet50": 4_089_184_256,
        "resnet101": 7_801_405_440,
        "resnet152": 11_513_626_624,
        "resnet18_cifar": 555_422_720,
        "resnet34_cifar": 1_159_402_496,
        "resnet50_cifar": 1_297_829_888,
        "resnet101_cifar": 2_509_983_744,
        "resnet152_cifar": 3_722_137_600,
        "resnet20_cifar": 40_551_040,
        "resnet32_cifar": 68_862_592,
        "resnet44_cifar": 97_174_144,
        "resnet56_cifar": 125_485_696,
        "resnet110_cifar": 252_887_680,
        "densenet121": 2_834_161_664,
        "densenet161": 7_727_907_072,
        "densenet169": 3_359_843_328,
        "densenet201": 4_291_365_888,
        "densenet_cifar": 287_929_692,
        "sprint": 118_147_360,
    }
)


class Costs(ShapesOnly):
    """Counts multiply-adds while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear:  # as the class above has it, for shapes
            result = args[0].new_empty((*args[0].shape[:-1], args[1].shape[0]))
        else:
            result = super().__torch_function__(func, types, args, kwargs)
        if func in (torch.conv2d, F.linear):
            self.multiply_adds += int(result.numel() * args[1][0].numel())
        return result


def cost_of(network: Network) -> int:
    """What one picture costs a network in inference mode; nothing is computed.

    summary.layer_table says the same, and for transformers adds what attention costs; but torch's counter, which it
    asks, loads torch's compiler, which takes a second.
    """
    side, costs = side_of(network.spec), Costs()
    x = torch.empty(1, network.spec.in_channels, side, side, device="meta")
    for part in (network.stages, network.head):  # to normalise pixels costs nothing here, and loads the compiler too
        tensors = {name: tensor.detach().to("meta") for name, tensor in part.state_dict(keep_vars=True).items()}
        with costs:
            x = torch.func.functional_call(part, tensors, (x,))
    return costs.multiply_adds
