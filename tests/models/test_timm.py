"""timm's models behind our surface, held against timm's own with the same weights."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from saccade.errors import ModelError, RecipeError, ResourceError, WeightsError
from saccade.models.catalogue import build_network, find_entry
from saccade.models.network import NetworkSpec
from saccade.models.timm import TimmNetwork, timm_facts
from saccade.models.timm_weights import fetch, load_timm_weights, notes_about
from saccade.models.weights import load_network, save_network

# Structurally different, and small: name, side, how it comes apart, first and last stage.
MODELS = [
    ("resnet10t", 64, "stages", ("stem", "layer4")),
    ("convnext_atto", 64, "stages", ("stem", "stages_3_blocks_1")),
    ("test_efficientnet", 64, "stages", ("stem", "conv_head")),
    ("mobilenetv3_small_050", 64, "stages", ("stem", "blocks_5")),
    ("regnetx_002", 64, "stages", ("stem", "s4")),
    ("densenet121", 64, "stages", ("stem", "features_norm5")),
    ("test_nfnet", 64, "stages", ("stem_conv1", "final_conv")),
    ("test_maxvit", 160, "stages", ("stem", "norm")),
    ("gmixer_12_224", 224, "stages", ("stem", "norm")),
    ("swin_tiny_patch4_window7_224", 224, "stages", ("stem", "norm")),
    ("test_vit", 160, "stem+stages", ("stem", "norm")),
    ("deit_tiny_distilled_patch16_224", 224, "stem+stages", ("stem", "norm")),
    ("eva02_tiny_patch14_224", 224, "stem+stages", ("stem", "blocks_11")),
    ("efficientvim_m1", 224, "body", ("body", "body")),
]
EXIST = [model for model in MODELS if timm.is_model(model[0])]


def build(name: str, side: int | None = None, num_classes: int = 7, **spec: object) -> TimmNetwork:
    network = build_network(NetworkSpec(f"timm/{name}", num_classes, side, **spec), seed=1)  # type: ignore[arg-type]
    assert isinstance(network, TimmNetwork)
    return network.eval()


def theirs_of(network: TimmNetwork, name: str) -> nn.Module:
    """timm's own model with the weights of ours, and statistics that are not the initial ones."""
    model: nn.Module = timm.create_model(name, num_classes=network.spec.num_classes).eval()
    state = model.state_dict()
    generator = torch.Generator().manual_seed(0)
    for value in state.values():
        if value.is_floating_point():
            value.mul_(1 + 0.2 * torch.rand(value.shape, generator=generator))
            value.add_(torch.rand(value.shape, generator=generator) - 0.5, alpha=0.02)
    ours = network.state_dict()
    network.load_state_dict({key: state.get(network.timm_names.get(key, ""), ours[key]) for key in ours})
    return model


def pictures(num: int, side: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (num, channels, side, side), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("name", "side", "grouping", "ends"), EXIST, ids=[model[0] for model in EXIST])
def test_logits_are_those_of_timms_own_model(name: str, side: int, grouping: str, ends: tuple[str, str]) -> None:
    network = build(name, side)
    stages = [stage for stage, _ in network.stages.named_children()]
    assert (network.grouping, (stages[0], stages[-1])) == (grouping, ends)
    model = theirs_of(network, name)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in model.parameters())
    images = pictures(2, side)
    with torch.no_grad():
        expected = model(network.normalise(images))
        torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(network.training_outputs(images).logits, network(images))


def test_normalisation_is_of_timms_configuration() -> None:
    network = build("test_vit")
    config = timm.get_pretrained_cfg("test_vit")
    expected = torch.tensor(config.mean).view(3, 1, 1), torch.tensor(config.std).view(3, 1, 1)
    white = torch.full((1, 3, 160, 160), 255, dtype=torch.uint8)
    torch.testing.assert_close(network.normalise(white)[0, :, :1, :1], (1 - expected[0]) / expected[1])
    assert network.spec.image_size == config.input_size[1] == 160


def test_entry_counts_parameters_as_timm_does() -> None:
    entry = find_entry("timm/resnet26")
    assert entry.parameters == sum(p.numel() for p in timm.create_model("resnet26").parameters()) == 15_995_176
    assert (entry.image_size, entry.num_classes) == (224, 1000)


def test_entry_names_the_paper_of_timms_file() -> None:
    entry = find_entry("timm/convnext_atto")
    assert (entry.source, entry.year) == ("https://arxiv.org/abs/2201.03545", 2022)


@pytest.mark.parametrize(
    ("model", "near"),
    [("timm/resnet26x", "timm/resnet26"), ("timm/resnet18.a9_in1k", "timm/resnet18.a1_in1k"), ("timm/hf-hub:x/y", "")],
)
def test_unknown_name_is_refused_with_near_names(model: str, near: str) -> None:
    with pytest.raises(RecipeError, match="timm has no model called") as caught:
        find_entry(model)
    assert near in str(caught.value.remedy)


def test_tag_of_the_weights_chooses_their_configuration() -> None:
    assert timm_facts("timm/convnext_tiny.fb_in22k").num_classes == 21841
    assert timm_facts("timm/convnext_tiny").num_classes == 1000


@pytest.mark.parametrize(("name", "side"), [("resnet10t", 64), ("test_vit", 160), ("efficientvim_m1", 224)])
def test_head_given_replaces_timms(name: str, side: int) -> None:
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    network = build(name, side, head="gap:16")
    assert network(pictures(2, side)).shape == (2, 7)
    assert [layer.out_features for layer in network.head.modules() if isinstance(layer, nn.Linear)][-2:] == [16, 7]


@pytest.mark.parametrize(("name", "side"), [("resnet10t", 64), ("test_vit", 96)])
def test_grey_pictures_of_another_size_give_logits(name: str, side: int) -> None:
    network = build(name, side, in_channels=1)
    assert network(pictures(2, side, channels=1)).shape == (2, 7)


def test_size_too_small_names_the_smallest_that_works() -> None:
    with pytest.raises(ModelError, match="cannot see pictures of 1×1") as caught:
        build("vgg11", 1)
    assert "--image-size 32" in str(caught.value.remedy)


def test_size_that_no_patch_fits_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be built for 3×8×8"):
        build("test_vit", 8)


@pytest.mark.parametrize("name", ["resnet10t", "test_vit", "eva02_tiny_patch14_224"])
def test_saved_network_loads_with_the_same_logits(name: str, tmp_path: Path) -> None:
    side = 64 if name == "resnet10t" else None
    network = build(name, side)
    save_network(tmp_path / "w.safetensors", network, {})
    again = load_network(tmp_path / "w.safetensors").network
    images = pictures(2, network.spec.image_size or 0)
    with torch.no_grad():
        torch.testing.assert_close(again(images), network(images), atol=0, rtol=0)
    assert not any(value.is_meta for value in again.state_dict().values())


@pytest.mark.parametrize("name", ["resnet10t", "test_vit"])
def test_gradient_reaches_every_parameter(name: str) -> None:
    network = build(name, 160).train()
    network.training_outputs(pictures(2, 160)).logits.square().sum().backward()  # type: ignore[no-untyped-call]
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """test_vit as timm publishes it, with 1000 classes."""
    torch.manual_seed(3)
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_published_weights_come_from_the_cache(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *names: asked.append(names) or str(published))
    network = build("test_vit", num_classes=1000)
    report = load_timm_weights(network)
    model = timm.create_model("test_vit", checkpoint_path=str(published)).eval()
    images = pictures(2, 160)
    with torch.no_grad():
        torch.testing.assert_close(network(images), model(network.normalise(images)), atol=1e-4, rtol=1e-4)
    assert asked == [("timm/test_vit.r160_in1k", "model.safetensors")]
    assert not report.new_head
    assert report.notes == notes_about(timm_facts("timm/test_vit"))


def test_weights_file_with_other_classes_leaves_the_head_new(published: Path) -> None:
    network = build("test_vit", side=96, num_classes=3)
    before = network.get_parameter("head.model.head.weight").clone()
    report = load_timm_weights(network, str(published))
    assert report.new_head
    assert torch.equal(network.get_parameter("head.model.head.weight"), before)
    stored = timm.create_model("test_vit", checkpoint_path=str(published)).get_parameter("blocks.0.attn.qkv.weight")
    assert torch.equal(network.get_parameter("stages.blocks_0.attn.qkv.weight"), stored)


def test_weights_of_another_model_are_refused(published: Path) -> None:
    with pytest.raises(WeightsError, match="do not belong to timm/resnet10t"):
        load_timm_weights(build("resnet10t", 64), str(published))


def test_weights_without_network_say_which_file_to_put_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *names: None)

    def offline(*names: str, library_name: str) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(ResourceError, match="could not be downloaded: no connection") as caught:
        load_timm_weights(build("test_vit"))
    assert caught.value.exit_code == 4
    assert caught.value.where == "https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors"
    remedy = str(caught.value.remedy)
    assert str(tmp_path / "models--timm--test_vit.r160_in1k") in remedy
    assert "--weights none" in remedy
    assert "--weights FILE" in remedy


def test_model_without_published_weights_says_so() -> None:
    with pytest.raises(ResourceError, match="publishes no weights"):
        fetch(timm_facts("timm/test_vit")._replace(repository=""))


@pytest.mark.parametrize(
    ("licence", "words"),
    [
        ("apache-2.0", "licence of the weights: apache-2.0"),
        ("cc-by-nc-4.0", "warning: licence cc-by-nc-4.0"),
        ("", "no licence"),
    ],
)
def test_licence_that_is_not_free_is_warned_about(licence: str, words: str) -> None:
    assert words in notes_about(timm_facts("timm/test_vit")._replace(licence=licence))[0]
