"""The same weights here and in torchvision give the same logits; where torchvision has nothing, a sum done by hand."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from saccade.models.alexnet import LocalResponseNorm
from saccade.models.catalogue import CATALOGUE, build_network
from saccade.models.layers import AdaptiveAveragePool
from saccade.models.network import Network, NetworkSpec, imagenet_normalise

IN_TORCHVISION = [name for name, entry in CATALOGUE.items() if entry.torchvision_name]
COMPARED = [
    "alexnet",
    "vgg11",
    "vgg16_bn",
    "googlenet",
    "inception_v3",
    "resnet18",
    "resnet50",
    "densenet121",
    "densenet161",
]
NUM_CLASSES = 7


class Pair(NamedTuple):
    """The same weights in both."""

    ours: Network
    theirs: nn.Module


def torchvision_model(model: str) -> nn.Module:
    options = {"init_weights": False, "aux_logits": True} if model in {"googlenet", "inception_v3"} else {}
    theirs: nn.Module = torchvision.models.get_model(model, weights=None, num_classes=NUM_CLASSES, **options)
    return theirs


def randomise_batch_norm(module: nn.Module) -> None:
    """Statistics and weights that leave no layer as if it were not there."""
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0.0, 0.2, generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
            nn.init.uniform_(layer.weight, 0.5, 1.0, generator=generator)
            nn.init.normal_(layer.bias, 0.0, 0.2, generator=generator)


def without_dropout(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return module


@pytest.fixture(scope="module", params=COMPARED)
def pair(request: pytest.FixtureRequest) -> Pair:
    model = request.param
    with torch.device("meta"):
        ours = build_network(NetworkSpec(model, NUM_CLASSES))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torchvision_model(model)
    with torch.no_grad():
        randomise_batch_norm(theirs)
    rename = CATALOGUE[model].torchvision_name
    assert rename
    state = theirs.state_dict()
    values = {name: state[rename(model, name)] for name in ours.state_dict() if not name.startswith("normalise.")}
    # Copies, so that the statistics each of them moves in training mode are its own.
    ours.load_state_dict({name: value.clone() for name, value in values.items()}, strict=False, assign=True)
    ours.normalise = imagenet_normalise(3)
    return Pair(ours, theirs)


@pytest.fixture(scope="module")
def photographs(shared: Path) -> Tensor:
    """Two photographs, (2, 3, 224, 224) in 0..255."""
    path = shared / "data" / "cats_and_dogs_small.zip"
    if not path.exists():
        pytest.skip(f"needs the photographs of {path}")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::600][:2]
        pictures = [Image.open(BytesIO(archive.read(name))).convert("RGB").resize((224, 224)) for name in names]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)


def random_pictures(num: int, side: int) -> Tensor:
    return torch.randint(0, 256, (num, 3, side, side), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.std() > 0.01  # logits that say nothing would agree with anything
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("model", IN_TORCHVISION)
def test_torchvision_names_are_a_bijection_between_equal_shapes(model: str) -> None:
    with torch.device("meta"):
        ours = build_network(NetworkSpec(model, NUM_CLASSES)).state_dict()
        theirs = torchvision_model(model).state_dict()
    rename = CATALOGUE[model].torchvision_name
    assert rename
    renamed = [(rename(model, name), value.shape) for name, value in ours.items() if not name.startswith("normalise.")]
    assert sorted(renamed) == sorted((name, value.shape) for name, value in theirs.items())


@pytest.mark.parametrize("model", IN_TORCHVISION)
def test_torchvision_name_without_counterpart_comes_back(model: str) -> None:
    rename = CATALOGUE[model].torchvision_name
    assert rename
    assert rename(model, "head.fc9.weight") == "head.fc9.weight"


def test_logits_eval_random_pictures_equal_torchvision(pair: Pair) -> None:
    images = random_pictures(2, 96)
    pair.ours.eval()
    pair.theirs.eval()
    with torch.inference_mode():
        assert_same(pair.ours(images), pair.theirs(pair.ours.normalise(images)))


def test_logits_eval_photographs_equal_torchvision(pair: Pair, photographs: Tensor) -> None:
    pair.ours.eval()
    pair.theirs.eval()
    with torch.inference_mode():
        assert_same(pair.ours(photographs), pair.theirs(pair.ours.normalise(photographs)))


def test_logits_train_without_dropout_equal_torchvision(pair: Pair) -> None:
    # torchvision's auxiliary classifier of Inception v3 needs the full size.
    images = random_pictures(2, 299) if "Mixed_6e" in pair.ours.auxiliary else random_pictures(4, 96)
    without_dropout(pair.ours).train()
    without_dropout(pair.theirs).train()
    with torch.no_grad():
        ours = pair.ours.training_outputs(images)
        theirs = pair.theirs(pair.ours.normalise(images))
    logits, *auxiliary = theirs if isinstance(theirs, tuple) else (theirs,)
    assert_same(ours.logits, logits)
    # torchvision names the upper classifier of GoogLeNet first.
    for name, expected in zip(reversed(ours.auxiliary), auxiliary, strict=True):
        assert_same(ours.auxiliary[name], expected)


def test_normalise_equals_torchvision_transform() -> None:
    images = random_pictures(2, 8)
    expected = normalize(images.float() / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    torch.testing.assert_close(build_network(NetworkSpec("resnet18", 2)).normalise(images), expected)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 11, 14])
@pytest.mark.parametrize("side", [1, 4, 6, 7])
def test_adaptive_average_pool_equals_torch(size: int, side: int) -> None:
    x = torch.randn(2, 3, size, size + 2)
    torch.testing.assert_close(AdaptiveAveragePool(side)(x), nn.functional.adaptive_avg_pool2d(x, side))


def test_local_response_norm_equals_the_papers_formula() -> None:
    x = 50 * torch.randn(2, 9, 3, 4)
    values, expected = x.double().numpy(), np.empty((2, 9, 3, 4))
    for channel in range(9):
        near = values[:, max(0, channel - 2) : channel + 3]
        expected[:, channel] = values[:, channel] / (2 + 1e-4 * (near**2).sum(axis=1)) ** 0.75
    torch.testing.assert_close(LocalResponseNorm()(x).double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_local_response_norm_equals_torch_with_alpha_times_five(memory_format: torch.memory_format) -> None:
    x = (50 * torch.randn(2, 9, 3, 4)).contiguous(memory_format=memory_format)
    expected = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(x)
    torch.testing.assert_close(LocalResponseNorm()(x), expected)


def test_alexnet_lrn_second_group_does_not_see_the_first() -> None:
    stages = build_network(NetworkSpec("alexnet_lrn", 2, 67)).stages
    conv = stages.get_submodule("conv2.conv")
    x = torch.randn(1, 96, 5, 5)
    changed = x.clone()
    changed[:, :48] += 1
    torch.testing.assert_close(conv(x)[:, 128:], conv(changed)[:, 128:])
    assert not torch.allclose(conv(x)[:, :128], conv(changed)[:, :128])


def test_alexnet_lrn_takes_pixels_less_their_mean() -> None:
    network = build_network(NetworkSpec("alexnet_lrn", 2, 67))
    images = random_pictures(1, 4)
    expected = images - torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    torch.testing.assert_close(network.normalise(images), expected)


def test_alexnet_lrn_initial_biases_are_the_papers() -> None:
    network = build_network(NetworkSpec("alexnet_lrn", 2, 67))
    biases = {name: set(p.tolist()) for name, p in network.named_parameters() if name.endswith("bias")}
    ones = {name for name, values in biases.items() if values == {1.0}}
    assert ones == {f"stages.conv{n}.conv.bias" for n in (2, 4, 5)} | {"head.fc1.bias", "head.fc2.bias"}
    assert all(values == {0.0} for name, values in biases.items() if name not in ones)


def test_dense_layer_keeps_what_went_in_and_adds_growth() -> None:
    layer = build_network(NetworkSpec("densenet_cifar", 2)).eval().stages.get_submodule("block1_layer1")
    x = torch.randn(2, 24, 4, 4)
    norm = nn.functional.batch_norm
    new = nn.functional.conv2d(norm(x, torch.zeros(24), torch.ones(24)).relu(), layer.get_parameter("conv1.weight"))
    new = norm(new, torch.zeros(48), torch.ones(48)).relu()
    new = nn.functional.conv2d(new, layer.get_parameter("conv2.weight"), padding=1)
    torch.testing.assert_close(layer(x), torch.cat([x, new], dim=1))
