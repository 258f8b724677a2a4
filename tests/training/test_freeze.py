"""Frozen is frozen: parameters, statistics and dropout, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from saccade.errors import RecipeError
from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.training.freeze import freeze


def build(model: str, side: int, head: str | None = None) -> Network:
    return build_network(NetworkSpec(model, 3, side, head=head), seed=0)


def on_meta(model: str, head: str | None = None) -> Network:
    with torch.device("meta"):
        return build_network(NetworkSpec(model, 3, head=head))


def train_an_epoch(network: Network, side: int) -> None:
    generator = torch.Generator().manual_seed(1)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.01, weight_decay=0.1)
    network.train()
    for _ in range(3):
        images = torch.randint(0, 256, (4, 3, side, side), generator=generator, dtype=torch.uint8)
        outputs = network.training_outputs(images)
        losses = [logits.square().mean() for logits in (outputs.logits, *outputs.auxiliary.values())]
        optimizer.zero_grad()
        sum(losses, torch.zeros(())).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def tensors_of(network: Network, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items() if name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("model", "side", "train"),
    [
        ("resnet18", 32, "head"),
        ("resnet18", 32, "layer4.1"),
        ("vgg11_bn", 32, "last-2"),
        ("densenet121", 32, "last-1"),
        ("googlenet", 64, "last-1"),
        ("timm/resnet10t", 64, "layer4"),
        ("timm/test_vit", 160, "blocks.5"),
        ("timm/test_efficientnet", 64, "conv_head"),
    ],
)
def test_frozen_tensors_are_bit_for_bit_equal_after_an_epoch(model: str, side: int, train: str) -> None:
    network = build(model, side, head="gap")
    report = freeze(network, train)
    assert report.frozen
    still = tuple(f"stages.{name}." for name in report.frozen)
    before = tensors_of(network, still)
    moving = tensors_of(network, ("head.", *(f"stages.{name}." for name in report.learning)))
    train_an_epoch(network, side)
    after = network.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    weights = [name for name in moving if name.endswith(".weight")]
    assert [name for name in weights if torch.equal(moving[name], after[name])] == []


def test_frozen_stages_stay_in_inference_mode_when_training_begins() -> None:
    network = build("resnet18", 32)
    freeze(network, "layer4")
    network.train()
    training = {name for name, stage in network.stages.named_children() if stage.training}
    assert training == {"layer4_0", "layer4_1"}
    assert network.head.training
    assert all(not layer.training for layer in network.stages.get_submodule("layer3_1").modules())
    assert not any(layer.training for layer in network.eval().modules())


def test_dropout_inside_frozen_stages_does_nothing() -> None:
    network = build("timm/test_vit", 160)
    for layer in network.stages.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.5
    freeze(network, "head")
    images = torch.zeros(2, 3, 160, 160, dtype=torch.uint8)
    assert torch.equal(network.train().features(images), network.eval().features(images))


def test_auxiliary_classifiers_of_frozen_stages_neither_run_nor_learn() -> None:
    network = build("googlenet", 64).train()
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    assert len(network.training_outputs(images).auxiliary) == 2
    freeze(network, "head")
    assert network.training_outputs(images).auxiliary == {}
    assert not any(parameter.requires_grad for parameter in network.auxiliary.parameters())


@pytest.mark.parametrize(
    ("train", "learning"),
    [
        ("head", ()),
        ("layer4_1", ("layer4_1",)),
        ("layer4.1", ("layer4_1",)),
        ("layer4.*", ("layer4_0", "layer4_1")),
        ("layer4", ("layer4_0", "layer4_1")),
        ("last-1", ("layer4_1",)),
        ("last-3", ("layer3_1", "layer4_0", "layer4_1")),
        ("stem, layer4.1", ("stem", "layer4_1")),
        ("*.1", ("layer1_1", "layer2_1", "layer3_1", "layer4_1")),
    ],
)
def test_words_choose_stages(train: str, learning: tuple[str, ...]) -> None:
    assert freeze(on_meta("resnet18"), train).learning == learning


def test_all_freezes_nothing_and_takes_an_earlier_freeze_back() -> None:
    network = on_meta("resnet18")
    freeze(network, "head")
    report = freeze(network, "all")
    assert report.num_frozen == 0
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(stage.training for stage in network.train().stages)


@pytest.mark.parametrize(
    ("train", "near"),
    [("layr4_1", "layer4_1"), ("", "stages: stem to layer4_1"), ("last-99", "last-9"), ("stem_pool", "stem")],
)
def test_unknown_name_names_the_nearest_stage(train: str, near: str) -> None:
    with pytest.raises(RecipeError, match="no stage with parameters is called") as caught:
        freeze(on_meta("resnet18"), train)
    assert near in str(caught.value.remedy)


def test_counts_are_those_of_the_vgg16_example() -> None:
    report = freeze(on_meta("vgg16", head="128,64,32"), "block5_conv3")
    assert (report.num_learning, report.num_frozen) == (5_581_635, 12_354_880)
    assert report.in_words() == (
        "frozen: block1_conv1 to block5_conv2, 12.4 M parameters; learns: block5_conv3 and head, 5.6 M"
    )


def test_words_say_that_batch_norm_is_frozen_too() -> None:
    words = freeze(on_meta("resnet18"), "layer4.*").in_words()
    assert words == (
        "frozen: stem to layer3_1, 2.8 M parameters, BatchNorm in inference mode; "
        "learns: layer4_0, layer4_1 and head, 8.4 M"
    )


def test_stage_without_parameters_behind_one_that_learns_stays_awake() -> None:
    network = on_meta("vgg11_bn")
    freeze(network, "block4_conv1")
    assert "block3_pool" in network.frozen_stages
    assert "block5_pool" not in network.frozen_stages


def test_kept_statistics_do_not_move_while_the_scales_beside_them_learn() -> None:
    network = build_network(NetworkSpec("resnet18_cifar", 3, 32, 3))
    report = freeze(network, "layer4", keep_statistics=True)
    assert "BatchNorm with the statistics it has" in report.in_words()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.train()
    loss = network.training_outputs(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)).logits.logsumexp(1).sum()
    loss.backward()
    optimizer.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert "stages.layer4_0.bn1.weight" in moved
    assert not [name for name in moved if "running" in name or "num_batches" in name]
    freeze(network, "layer4")
    network.train()
    network.training_outputs(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    state = network.state_dict()
    name = "stages.layer4_0.bn1.running_mean"
    assert not torch.equal(state[name], before[name]), "and they move again when that is taken back"
    assert torch.equal(state["stages.layer3_0.bn1.running_mean"], before["stages.layer3_0.bn1.running_mean"])
