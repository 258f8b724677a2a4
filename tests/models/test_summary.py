"""The layer table and the costs, held against sums by hand, torchvision and torch's own counter."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision

from saccade.models.catalogue import CATALOGUE
from saccade.models.costs import MULTIPLY_ADDS
from saccade.models.network import NetworkSpec
from saccade.models.summary import catalogue_rows, layer_table, matches, outline, timm_rows
from saccade.training.freeze import freeze


def table(model: str, num_classes: int = 10, **spec: object):  # type: ignore[no-untyped-def]
    channels = CATALOGUE[model].in_channels if model in CATALOGUE else 3
    size = spec.pop("image_size", CATALOGUE[model].image_size if model in CATALOGUE else None)
    return layer_table(outline(NetworkSpec(model, num_classes, size, channels, **spec)))  # type: ignore[arg-type]


def test_rows_of_cnn1_are_those_of_the_exercise() -> None:
    found = table("cnn1")
    by_kind = {row.kind: row for row in found.rows}
    assert (by_kind["Conv2d"].parameters, by_kind["Conv2d"].output_shape) == (320, (32, 26, 26))
    assert by_kind["Conv2d"].multiply_adds == 26 * 26 * 32 * 9
    assert (by_kind["Linear"].parameters, by_kind["Linear"].multiply_adds) == (54_090, 54_080)
    assert (found.parameters, found.multiply_adds) == (54_410, 26 * 26 * 32 * 9 + 54_080)


def test_totals_of_the_vgg16_example() -> None:
    network = outline(NetworkSpec("vgg16", 3, 224, head="128,64,32"))
    freeze(network, "block5_conv3")
    found = layer_table(network)
    assert (found.parameters, found.trainable, found.frozen) == (17_936_515, 5_581_635, 12_354_880)
    assert {row.name for row in found.rows if row.trainable} == {
        "stages.block5_conv3.conv",
        *(f"head.{layer}" for layer in ("fc1", "fc2", "fc3", "logits")),
    }


@pytest.mark.parametrize("name", CATALOGUE)
def test_multiply_adds_are_those_of_torchs_counter(name: str) -> None:
    entry = CATALOGUE[name]
    found = table(name, entry.num_classes)
    assert MULTIPLY_ADDS[name] == found.multiply_adds == sum(row.multiply_adds for row in found.rows)


def test_multiply_adds_are_known_of_every_network_and_of_no_other() -> None:
    assert MULTIPLY_ADDS.keys() == CATALOGUE.keys()


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "resnet50", "densenet121"])
def test_multiply_adds_are_those_that_torchvision_publishes(name: str) -> None:
    published = torchvision.models.get_model_weights(name).DEFAULT.meta["_ops"]  # in units of 10^9
    assert MULTIPLY_ADDS[name] / 1e9 == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    "model", ["resnet18", "densenet_cifar", "timm/test_vit", "timm/convnext_atto", "timm/test_maxvit"]
)
def test_parameters_of_the_rows_add_up_to_the_total(model: str) -> None:
    if model.startswith("timm/") and not timm.is_model(model.removeprefix("timm/")):
        pytest.skip(f"timm {timm.__version__} has no {model}")
    size = CATALOGUE[model].image_size if model in CATALOGUE else 160
    found = table(model, image_size=size)
    assert sum(row.parameters for row in found.rows) == found.parameters


def test_table_leaves_the_network_in_its_mode() -> None:
    network = outline(NetworkSpec("resnet18", 3, 64)).train()
    layer_table(network)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_rows_carry_the_facts_of_the_catalogue_and_of_published_weights() -> None:
    (row,) = catalogue_rows("resnet50")[:1]
    assert (row.name, row.parameters, row.image_size, row.year) == ("resnet50", 25_557_032, 224, 2015)
    assert row.weights is not None
    assert row.weights.top1 == torchvision.models.ResNet50_Weights.DEFAULT.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert catalogue_rows("lenet5")[0].weights is None


def test_outline_holds_no_numbers() -> None:
    assert all(parameter.is_meta for parameter in outline(NetworkSpec("vgg16", 3, 224)).parameters())
    assert torch.empty(1).device.type == "cpu"


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [("resnet18", "resnet", True), ("resnet18", "res*18", True), ("resnet18", "18", True), ("vgg16", "resnet*", False)],
)
def test_pattern_is_part_of_a_name_or_a_glob(name: str, pattern: str, fits: bool) -> None:
    assert matches(name, pattern) is fits


def test_timm_rows_are_listed_without_building_anything() -> None:
    rows = timm_rows("*test_vit")
    assert [row.name for row in rows] == ["test_vit"]
    assert rows[0].to_json()["name"] == "timm/test_vit"
