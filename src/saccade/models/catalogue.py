"""The catalogue: one explicit table from a name to its builder and its facts, and the one way to build a network."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import torch

from saccade.errors import RecipeError
from saccade.models.alexnet import alexnet, alexnet_bn, alexnet_cifar, alexnet_lrn
from saccade.models.alexnet import torchvision_name as alexnet_name
from saccade.models.convnet import cnn1, cnn4
from saccade.models.densenet import densenet
from saccade.models.densenet import torchvision_name as densenet_name
from saccade.models.googlenet import googlenet, googlenet_cifar
from saccade.models.googlenet import torchvision_name as googlenet_name
from saccade.models.inception import inception_v3
from saccade.models.inception import torchvision_name as inception_name
from saccade.models.lenet import lenet5
from saccade.models.network import Network, NetworkSpec
from saccade.models.resnet import resnet, resnet_narrow
from saccade.models.resnet import torchvision_name as resnet_name
from saccade.models.sprint import sprint
from saccade.models.timm import PREFIX as TIMM
from saccade.models.timm import timm_facts, timm_network, timm_parameters
from saccade.models.vgg import torchvision_name as vgg_name
from saccade.models.vgg import vgg


@dataclass(frozen=True)
class Entry:
    """What the catalogue says about one architecture.

    Attributes:
        build: makes the network for a spec whose image_size is filled in.
        image_size: the side of the pictures in pixels that the paper used.
        in_channels: 1 where it was made for grey pictures, else 3.
        num_classes: the K at which `parameters` was counted.
        parameters: at that K and size, buffers not counted.
        idea: what was new, in a line.
        source: the paper, by link, or who made it.
        year: of the paper.
        torchvision_name: (model, our parameter's name) -> torchvision's name of it, where torchvision has the model.
        rate: highest rate of AdamW's one-cycle from random weights, where the recipe names none. Flat networks bear
            more. Test accuracy measured at batch 64, one run each: cnn1 on MNIST, 3 epochs, 98.5 % at 3e-3 and 98.6 %
            at 8e-3 (means of 3 seeds); lenet5 on CIFAR-10, 3 epochs, batch 32, 55.8 % at 1e-3, 58.3 % at 3e-3,
            57.2 % at 5e-3; cnn4 on cats and dogs at 64 pixels, 10 epochs, batch 32, 65.5 % at 1e-3, 58.0 % at 3e-3.
    """

    name: str
    build: Callable[[NetworkSpec], Network]
    image_size: int
    in_channels: int
    num_classes: int
    parameters: int
    idea: str
    source: str
    year: int
    torchvision_name: Callable[[str, str], str] | None = None
    rate: float = 1e-3


def _variants(shared: Entry, parameters: dict[str, int]) -> tuple[Entry, ...]:
    """One entry for each name and its number of parameters; the rest they share."""
    return tuple(replace(shared, name=name, parameters=count) for name, count in parameters.items())


_LENET = "http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf"
_ALEXNET = "https://papers.nips.cc/paper/4824"
_ONE_TOWER = "https://arxiv.org/abs/1404.5997"
_VGG = "https://arxiv.org/abs/1409.1556"
_GOOGLENET = "https://arxiv.org/abs/1409.4842"
_INCEPTION = "https://arxiv.org/abs/1512.00567"
_RESNET = "https://arxiv.org/abs/1512.03385"
_DENSENET = "https://arxiv.org/abs/1608.06993"
_AIRBENCH = "https://arxiv.org/abs/2404.00498"
_BATCH_NORM = "https://arxiv.org/abs/1502.03167"

# Columns: name, builder, image_size, in_channels, num_classes, parameters, idea, source, year, torchvision_name.
_ENTRIES = (
    Entry("cnn1", cnn1, 28, 1, 10, 54_410, "one convolution, one pooling", "the usual MNIST exercise", 2015, rate=8e-3),
    Entry("cnn4", cnn4, 224, 3, 3, 2_283_779, "four convolutions, hand-made", "the usual photo exercise", 2015),
    Entry("lenet5", lenet5, 32, 3, 10, 62_006, "convolve, pool, repeat, connect", _LENET, 1998, rate=3e-3),
    Entry("alexnet", alexnet, 224, 3, 1000, 61_100_840, "AlexNet in one column", _ONE_TOWER, 2014, alexnet_name),
    Entry("alexnet_lrn", alexnet_lrn, 227, 3, 1000, 60_965_224, "ReLU, dropout, two GPUs", _ALEXNET, 2012),
    Entry("alexnet_bn", alexnet_bn, 227, 3, 10, 58_325_066, "AlexNet with BatchNorm", _BATCH_NORM, 2015),
    Entry("alexnet_cifar", alexnet_cifar, 32, 3, 10, 2_472_266, "AlexNet for small pictures", _ONE_TOWER, 2014),
    *_variants(
        Entry("", vgg, 224, 3, 1000, 0, "3×3 convolutions only, and many", _VGG, 2014, vgg_name),
        {
            "vgg11": 132_863_336,
            "vgg13": 133_047_848,
            "vgg16": 138_357_544,
            "vgg19": 143_667_240,
            "vgg11_bn": 132_868_840,
            "vgg13_bn": 133_053_736,
            "vgg16_bn": 138_365_992,
            "vgg19_bn": 143_678_248,
        },
    ),
    Entry("googlenet", googlenet, 224, 3, 1000, 13_004_888, "several scales at once", _GOOGLENET, 2014, googlenet_name),
    Entry("googlenet_cifar", googlenet_cifar, 32, 3, 10, 6_166_250, "several scales at once", _GOOGLENET, 2014),
    Entry("inception_v3", inception_v3, 299, 3, 1000, 27_161_264, "7×7 as 1×7, 7×1", _INCEPTION, 2015, inception_name),
    *_variants(
        Entry("", resnet, 224, 3, 1000, 0, "learn what to add to the input", _RESNET, 2015, resnet_name),
        {
            "resnet18": 11_689_512,
            "resnet34": 21_797_672,
            "resnet50": 25_557_032,
            "resnet101": 44_549_160,
            "resnet152": 60_192_808,
        },
    ),
    *_variants(
        Entry("", resnet, 32, 3, 10, 0, "learn what to add to the input", _RESNET, 2015),
        {
            "resnet18_cifar": 11_173_962,
            "resnet34_cifar": 21_282_122,
            "resnet50_cifar": 23_520_842,
            "resnet101_cifar": 42_512_970,
            "resnet152_cifar": 58_156_618,
        },
    ),
    *_variants(
        Entry("", resnet_narrow, 32, 3, 10, 0, "learn what to add to the input", _RESNET, 2015),
        {
            "resnet20_cifar": 269_722,
            "resnet32_cifar": 464_154,
            "resnet44_cifar": 658_586,
            "resnet56_cifar": 853_018,
            "resnet110_cifar": 1_727_962,
        },
    ),
    *_variants(
        Entry("", densenet, 224, 3, 1000, 0, "each layer sees all before it", _DENSENET, 2016, densenet_name),
        {
            "densenet121": 7_978_856,
            "densenet161": 28_681_000,
            "densenet169": 14_149_480,
            "densenet201": 20_013_928,
        },
    ),
    Entry("densenet_cifar", densenet, 32, 3, 10, 769_162, "each layer sees all before it", _DENSENET, 2016),
    Entry("sprint", sprint, 32, 3, 10, 1_971_328, "high accuracy soon, on a CPU too", _AIRBENCH, 2024),
)


class Transfer(NamedTuple):
    """How a pretrained network of a family is fitted to new pictures, where the recipe leaves it open.

    Attributes:
        last: the stages that `--train last` lets learn: those that work at the last resolution.
        head: for few pictures, where the family's own has too many weights for them; None for the family's own.
    """

    last: str = "last-quarter"
    head: str | None = None


_TRANSFER: Mapping[Callable[[NetworkSpec], Network], Transfer] = MappingProxyType(
    {
        alexnet: Transfer("conv4,conv5", "gap"),
        alexnet_lrn: Transfer("conv4,conv5", "gap"),
        alexnet_bn: Transfer("conv4,conv5", "gap"),
        alexnet_cifar: Transfer("conv4,conv5"),
        vgg: Transfer("block5", "gap"),
        googlenet: Transfer("inception5*"),
        googlenet_cifar: Transfer("inception5*"),
        inception_v3: Transfer("Mixed_7"),
        resnet: Transfer("layer4"),
        resnet_narrow: Transfer("layer3"),
    }
)
CATALOGUE: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def find_entry(model: str) -> Entry:
    """The catalogue's entry for a name, or one made from what timm says about `timm/NAME`.

    Raises:
        RecipeError: there is no such name; the nearest ones are named.
    """
    if model in CATALOGUE:
        return CATALOGUE[model]
    if model.startswith(TIMM):
        return _timm_entry(model)
    near = difflib.get_close_matches(model, CATALOGUE, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise RecipeError(
        f"there is no network called {model!r}",
        where="model",
        remedy=f"{hint}`saccade models` lists them all, `saccade models --timm` those of timm",
    )


def transfer_of(model: str) -> Transfer:
    """How a network is fitted to new pictures: by its family, else its last quarter and its own head.

    Raises:
        RecipeError: there is no such network.
    """
    return _TRANSFER.get(find_entry(model).build, Transfer())


def _timm_entry(model: str) -> Entry:
    facts, parameters = timm_facts(model), timm_parameters(model)
    about = (facts.idea, facts.source, facts.year)
    return Entry(model, timm_network, facts.image_size, 3, facts.num_classes, parameters, *about)


def complete(spec: NetworkSpec) -> NetworkSpec:
    """The spec with its image_size filled in from the catalogue where it was left open."""
    return replace(spec, image_size=spec.image_size or find_entry(spec.model).image_size)


def build_network(spec: NetworkSpec, seed: int = 0) -> Network:
    """Build a network with random weights that are a function of (spec, seed) alone.

    Raises:
        RecipeError: the model or the head is unknown.
        ModelError: the pictures are too small for this network; the smallest side that works is named.
    """
    entry = find_entry(spec.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return entry.build(complete(spec))
