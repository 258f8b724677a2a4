"""Packed layers compute what plain ones do, leave the network as it was, and give way where they cannot."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import saccade.use.fast as fast
from saccade.models.catalogue import build_network
from saccade.models.costs import cost_of
from saccade.models.network import Network, NetworkSpec
from saccade.models.summary import layer_table
from saccade.use.fast import FastNetwork, Speed, folded_copy
from saccade.use.packed import PackedConv, PackedLinear, can_pack, packed

CPU = torch.device("cpu")
NETWORKS = (
    *("lenet5", "cnn4", "alexnet_bn", "vgg11", "resnet18", "resnet50", "googlenet", "densenet121", "sprint"),
    *("timm/test_resnet", "timm/test_vit", "timm/test_convnext", "timm/test_efficientnet"),
)

pytestmark = pytest.mark.skipif(not can_pack(CPU), reason="this torch is built without oneDNN's fused operators")


def _network(model: str) -> Network:
    """Random weights, and statistics of BatchNorm that are not 0 and 1."""
    side = {"lenet5": 32, "sprint": 32, "alexnet_bn": 96}.get(model, 64)
    network = build_network(NetworkSpec(model, 5, side), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) / 10)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    return network


def _images(network: Network, num: int = 4) -> Tensor:
    side = network.spec.image_size or 64
    noise = torch.randint(0, 256, (num, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return noise.contiguous(memory_format=torch.channels_last)


def _kinds(network: nn.Module) -> list[type[nn.Module]]:
    return [type(module) for module in network.modules()]


@pytest.mark.parametrize("model", NETWORKS)
def test_packed_network_gives_what_the_network_gives_and_leaves_it_as_it_was(model: str) -> None:
    network = _network(model)
    before = copy.deepcopy(network.state_dict())
    found = packed(folded_copy(network), _images(network), torch.float32)
    assert found is not None
    assert {PackedConv, PackedLinear} & set(_kinds(found))
    other = _images(network).flip(0)
    with torch.no_grad():
        expected = network(other)
        assert torch.allclose(found(other), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    after = network.state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    assert [tensor.stride() for tensor in after.values()] == [tensor.stride() for tensor in before.values()]


class _Called(TorchFunctionMode):
    """Notes which functions are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(getattr(func, "__name__", str(func)))
        return func(*args, **(kwargs or {}))


def test_relus_and_shortcuts_of_a_resnet_are_part_of_its_convolutions() -> None:
    network = _network("resnet50")
    found = packed(folded_copy(network), _images(network), torch.float32)
    assert found is not None
    with torch.no_grad(), _Called() as plain:
        network(_images(network))
    with torch.no_grad(), _Called() as joined:
        found(_images(network))
    assert (plain.names.count("relu"), plain.names.count("add_")) == (49, 16)
    assert not {"relu", "relu_", "add", "add_"} & set(joined.names)


def test_bfloat16_is_computed_in_it_and_stays_near() -> None:
    network = _network("resnet18")
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found = packed(folded_copy(network), _images(network), torch.bfloat16)
        assert found is not None
        rounded = found(_images(network)).float()
    with torch.no_grad():
        exact = network(_images(network))
    assert 1e-5 < float((rounded - exact).norm() / exact.norm()) < 0.03


class _LooksAtWeights(nn.Module):
    """As some layers of timm do it: the layer is there for its weights only."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x.mean((2, 3)), self.linear.weight)[:, :, None, None] + self.linear(
            x.permute(0, 2, 3, 1)
        ).permute(0, 3, 1, 2)


class _ChangesItsInput(nn.Module):
    """The shortcut changes in place what the convolution before it has already read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(64, 64, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv(x)
        return self.relu(found + x.mul_(-3.0))


@pytest.mark.parametrize("stage", [_LooksAtWeights(), _ChangesItsInput()], ids=["weights", "in place"])
def test_stage_that_cannot_be_packed_is_noticed_and_computed_by_plain_layers(stage: nn.Module) -> None:
    network = _network("resnet18")
    stages = list(network.stages.named_children())
    network.stages = nn.Sequential(OrderedDict([*stages[:2], ("odd", stage.eval()), *stages[2:]]))
    assert packed(folded_copy(network), _images(network), torch.float32) is None
    squares = list(_images(network).permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        assert torch.allclose(FastNetwork(network).logits(squares), network(_images(network)), rtol=1e-4, atol=1e-4)


def test_machine_without_onednn_computes_by_plain_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network("resnet18")
    squares = list(_images(network).permute(0, 2, 3, 1).numpy())
    quick = FastNetwork(network).logits(squares)
    monkeypatch.setattr(fast, "can_pack", lambda device: False)
    plain = FastNetwork(network)
    assert torch.allclose(plain.logits(squares), quick, rtol=1e-4, atol=1e-4)
    assert all(parameter.is_contiguous() for parameter in network.parameters())  # its own were not laid out anew


def test_compiled_network_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda network, **how: given.append(network) or network)
    FastNetwork(_network("lenet5"), Speed(compile="on"))
    assert PackedConv not in _kinds(given[0])


@pytest.mark.parametrize("model", [name for name in NETWORKS if "vit" not in name])
def test_cost_of_a_network_is_that_of_torchs_counter(model: str) -> None:
    network = _network(model)
    # The counter knows the products of averaging too, where those are written as products.
    assert cost_of(network) == pytest.approx(layer_table(network).multiply_adds, rel=1e-3)


def test_cost_of_a_transformer_lacks_its_attention_alone() -> None:
    network = _network("timm/test_vit")
    assert 0.8 * layer_table(network).multiply_adds < cost_of(network) <= layer_table(network).multiply_adds
