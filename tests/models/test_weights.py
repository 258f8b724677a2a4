"""Weights from a name or a file into a network, and saccade's own file out and in."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from saccade.errors import RecipeError, WeightsError
from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.models.weights import initialise, load_network, save_network


def small(num_classes: int = 4, seed: int = 0, model: str = "lenet5") -> Network:
    return build_network(NetworkSpec(model, num_classes, 32), seed)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A file of saccade's own: lenet5 with four classes and statistics of its own."""
    network = small(seed=1)
    network.normalise.set((10.0, 20.0, 30.0), (1.0, 2.0, 3.0))
    save_network(tmp_path / "own.safetensors", network, {"class_names": ["a", "b", "c", "d"]})
    return tmp_path / "own.safetensors"


@pytest.fixture(scope="module")
def tiny64(shared: Path) -> Path:
    path = shared / "weights" / "resnet18_tiny64.safetensors"
    if not path.exists():
        pytest.skip(f"needs {path}")
    return path


@pytest.fixture(scope="module")
def photographs(shared: Path) -> Tensor:
    """Four photographs of cats and dogs, (4, 3, 64, 64) in 0..255."""
    path = shared / "data" / "cats_and_dogs_small.zip"
    if not path.exists():
        pytest.skip(f"needs {path}")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::250]
        pictures = [Image.open(BytesIO(archive.read(name))).convert("RGB").resize((64, 64)) for name in names[:4]]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)


def test_none_changes_nothing() -> None:
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    report = initialise(network, "none")
    assert report.new_head
    assert report.in_words() == []
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


@torch.inference_mode()
def test_torchvision_file_of_other_classes_gives_torchvisions_features(tiny64: Path, photographs: Tensor) -> None:
    network = build_network(NetworkSpec("resnet18", 2, 64)).eval()
    report = initialise(network, str(tiny64))
    assert report.new_head
    assert (report.missing, report.left_over) == ((), ())
    assert [text.split()[0] for text in report.reshaped] == ["head.logits.weight", "head.logits.bias"]
    assert report.num_loaded == 120
    assert {p.dtype for p in network.parameters()} == {torch.float32}

    theirs = torchvision.models.resnet18(num_classes=202)
    theirs.load_state_dict(load_file(tiny64))
    theirs.fc = nn.Identity()
    expected = theirs.eval()(normalize(photographs / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]))
    found = network.features(photographs).mean(dim=(2, 3))
    assert found.isfinite().all()
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_torchvision_file_of_the_same_classes_gives_torchvisions_logits(tiny64: Path, photographs: Tensor) -> None:
    network = build_network(NetworkSpec("resnet18", 202, 64)).eval()
    assert not initialise(network, str(tiny64)).new_head
    theirs = torchvision.models.resnet18(num_classes=202)
    theirs.load_state_dict(load_file(tiny64))
    expected = theirs.eval()(normalize(photographs / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]))
    torch.testing.assert_close(network(photographs), expected, rtol=1e-4, atol=1e-4)


def test_file_that_does_not_say_its_pixels_gets_imagenets_and_that_is_said(tiny64: Path) -> None:
    network = build_network(NetworkSpec("resnet18", 2, 64))
    report = initialise(network, str(tiny64))
    assert network.normalise.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert "ImageNet's mean and deviation are assumed" in "\n".join(report.in_words())


def test_pth_and_safetensors_of_the_same_tensors_load_the_same(tiny64: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": load_file(tiny64)}, tmp_path / "w.pth")
    networks = [build_network(NetworkSpec("resnet18", 2, 64)) for _ in range(2)]
    for network, path in zip(networks, (tiny64, tmp_path / "w.pth"), strict=True):
        initialise(network, str(path))
    torch.testing.assert_close(dict(networks[0].state_dict()), dict(networks[1].state_dict()), rtol=0, atol=0)


def test_own_file_brings_its_pixels_and_the_head_of_the_same_size(own: Path) -> None:
    network = small()
    report = initialise(network, str(own))
    assert not report.new_head
    assert report.source == "own.safetensors (lenet5, 4 classes)"
    torch.testing.assert_close(dict(network.state_dict()), load_file(own), rtol=0, atol=0)


def test_own_file_of_other_classes_leaves_the_head(own: Path) -> None:
    network = small(9)
    report = initialise(network, str(own))
    assert report.new_head
    assert network.normalise.mean.flatten().tolist() == [10.0, 20.0, 30.0]


def test_own_names_without_a_card_load_as_well(own: Path, tmp_path: Path) -> None:
    save_file(load_file(own), tmp_path / "bare.safetensors")
    network = small()
    assert not initialise(network, str(tmp_path / "bare.safetensors")).new_head
    assert network.normalise.mean.flatten().tolist() == [10.0, 20.0, 30.0]


def test_own_file_of_another_network_names_both(own: Path) -> None:
    with pytest.raises(WeightsError, match="file: lenet5, 4 classes; now: cnn4, 7 classes") as caught:
        initialise(small(7, model="cnn4"), str(own))
    assert caught.value.remedy == "use --model lenet5"


def test_torchvision_file_of_another_network_names_both_and_lists(tiny64: Path) -> None:
    with pytest.raises(WeightsError, match="file: resnet18, 202 classes; now: vgg11, 12 classes; 16 missing") as caught:
        initialise(build_network(NetworkSpec("vgg11", 12, 32, head="gap")), str(tiny64))
    assert "stages.block1_conv1.conv.weight (features.0.weight)" in str(caught.value)
    assert "left over: bn1.bias" in str(caught.value)


def test_torchvision_file_into_a_network_that_torchvision_does_not_have_is_refused(tiny64: Path) -> None:
    with pytest.raises(WeightsError, match="file: resnet18, 202 classes; now: lenet5"):
        initialise(small(), str(tiny64))


def test_default_of_a_network_that_nobody_publishes_is_a_recipe_error() -> None:
    with pytest.raises(RecipeError, match="no weights of lenet5 are published") as caught:
        initialise(small(), "default")
    assert caught.value.remedy == "use none, or the path of a file"


def test_unknown_set_lists_those_there_are() -> None:
    with pytest.raises(RecipeError, match="no published weights called 'IMAGENET1K_V9' for resnet50") as caught:
        initialise(build_network(NetworkSpec("resnet50", 2, 64)), "IMAGENET1K_V9")
    assert caught.value.remedy == "use none or default or IMAGENET1K_V1 or IMAGENET1K_V2, or the path of a file"


@pytest.mark.parametrize("weights", ["none.pth", "weights/best", "../w.safetensors"])
def test_path_that_is_not_there_is_a_weights_error(weights: str) -> None:
    with pytest.raises(WeightsError, match="no such weights file"):
        initialise(small(), weights)


def test_saved_and_loaded_is_the_same_network(own: Path) -> None:
    network, extra = load_network(own)
    assert network.spec == NetworkSpec("lenet5", 4, 32)
    assert extra == {"class_names": ["a", "b", "c", "d"]}
    assert not network.training
    torch.testing.assert_close(dict(network.state_dict()), load_file(own), rtol=0, atol=0)


def test_saving_leaves_nothing_half_written(own: Path) -> None:
    assert [path.name for path in own.parent.iterdir()] == [own.name]


def card_of(path: Path) -> dict[str, object]:
    with safe_open(path, framework="pt") as file:
        card: dict[str, object] = json.loads(file.metadata()["saccade"])
    return card


def with_card(path: Path, card: object) -> Path:
    changed = path.with_name("changed.safetensors")
    text = card if isinstance(card, str) else json.dumps(card)
    save_file(load_file(path), changed, metadata={"saccade": text})
    return changed


@pytest.mark.parametrize("load", [load_network, lambda path: initialise(small(), str(path))])
@pytest.mark.parametrize(
    "change",
    [
        {"model": "../../etc/passwd", "num_classes": "4"},
        {"num_classes": 10**9},
        {"image_size": 10**9},
        {"in_channels": 0},
        {"surprise": 1},
    ],
)
def test_card_out_of_its_limits_is_refused(own: Path, load: object, change: dict[str, object]) -> None:
    card = card_of(own)
    assert isinstance(card["spec"], dict)
    assert callable(load)
    with pytest.raises(WeightsError, match="card inside the weights file is invalid"):
        load(with_card(own, card | {"spec": card["spec"] | change}))


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "[" * 100_000], ids=["empty", "list", "words", "deep"])
def test_card_that_is_no_card_is_refused(own: Path, text: str) -> None:
    with pytest.raises(WeightsError, match="card inside the weights file is invalid"):
        load_network(with_card(own, text))


def test_file_of_a_newer_saccade_names_both_versions(own: Path) -> None:
    path = with_card(own, card_of(own) | {"format": 2, "written_by": "9.9"})
    with pytest.raises(WeightsError, match=r"format 2 \(saccade 9\.9\).*reads up to 1"):
        load_network(path)


def test_loading_a_file_without_card_is_refused(own: Path, tmp_path: Path) -> None:
    save_file(load_file(own), tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match="not written by saccade"):
        load_network(tmp_path / "bare.safetensors")


def test_loading_tensors_that_do_not_belong_to_the_card_lists_them(own: Path) -> None:
    card = card_of(own)
    assert isinstance(card["spec"], dict)
    with pytest.raises(WeightsError, match=r"2 of another shape \(head\.logits\.weight \(4, 84\) instead of \(5, 84\)"):
        load_network(with_card(own, card | {"spec": card["spec"] | {"num_classes": 5}}))


def test_loading_an_unknown_network_says_that_a_newer_saccade_may_know_it(own: Path) -> None:
    card = card_of(own)
    assert isinstance(card["spec"], dict)
    with pytest.raises(WeightsError, match="no network called 'lenet6'"):
        load_network(with_card(own, card | {"spec": card["spec"] | {"model": "lenet6"}}))
