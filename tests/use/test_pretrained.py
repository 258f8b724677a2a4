"""Published networks out of the box: names, sizes, and what is said when there is no network connection."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import GoogLeNet_Weights, ResNet50_Weights

import saccade
from saccade.cli import run_command_line
from saccade.errors import ModelError, RecipeError, ResourceError, RunError
from saccade.models.fitting import LoadReport
from saccade.models.network import Network
from saccade.use import pretrained as pretrained_module
from saccade.use.pretrained import names_a_network, pretrained


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of torch's, and nothing that answers."""

    def offline(*arguments: object, **options: object) -> None:
        raise URLError("no connection")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "torch"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Random weights stand in for published ones; what was asked for is noted."""
    asked: list[tuple[str, str]] = []

    def load(network: Network, weights: str) -> LoadReport:
        asked.append((network.spec.model, weights))
        return LoadReport(f"published {network.spec.model}", 1, new_head=False, notes=("licence: free",))

    monkeypatch.setattr(pretrained_module, "initialise", load)
    return asked


def test_network_of_the_catalogue_knows_imagenets_classes(given: list[tuple[str, str]]) -> None:
    said: list[str] = []
    trained = pretrained("resnet18", say=said.append)
    assert trained.class_names == tuple(ResNet50_Weights.DEFAULT.meta["categories"])
    assert (trained.preparation.side, trained.preparation.channels, trained.preparation.fit) == (224, 3, "crop")
    assert trained.network.spec.num_classes == 1000
    assert not trained.network.training
    assert given == [("resnet18", "default")]
    assert said[0] == "weights: 1 tensors of published resnet18"
    assert said[-1] == "licence: free"


def test_size_is_that_of_the_published_accuracy(given: list[tuple[str, str]]) -> None:
    trained = pretrained("googlenet", GoogLeNet_Weights.DEFAULT.name)
    assert trained.preparation.side == trained.network.spec.image_size == 224
    assert given == [("googlenet", "IMAGENET1K_V1")]


def test_load_names_classes_of_a_published_network(given: list[tuple[str, str]], photo: Path) -> None:
    guesses = saccade.load("resnet18", device="cpu").predict(photo, top=3)[0].guesses
    assert len(guesses) == 3
    assert {guess.class_name for guess in guesses} <= set(ResNet50_Weights.DEFAULT.meta["categories"])


def test_folder_of_the_same_name_is_a_run_and_not_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[tuple[str, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert names_a_network("resnet18")
    (tmp_path / "resnet18").mkdir()
    assert not names_a_network("resnet18")
    with pytest.raises(RunError, match="holds no recipe"):
        saccade.load("resnet18")
    assert given == []


def test_prediction_without_network_ends_with_the_file_and_its_place(
    no_network: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["predict", "resnet50", str(photo), "--top", "3"]) == ResourceError.exit_code == 4
    told = capsys.readouterr().err
    assert ResNet50_Weights.DEFAULT.url in told
    assert f"put the file {ResNet50_Weights.DEFAULT.url.rpartition('/')[2]} into the folder" in told
    assert str(no_network / "hub" / "checkpoints") in told.replace("\n", "")
    assert "Traceback" not in told


def test_network_that_nobody_publishes_weights_for_is_refused() -> None:
    with pytest.raises(RecipeError, match="nobody publishes weights 'default' for lenet5") as caught:
        pretrained("lenet5")
    assert "resnet50" in str(caught.value.remedy)


def test_unknown_network_of_timm_is_refused_with_near_names() -> None:
    with pytest.raises(RecipeError, match="timm has no model called 'tset_vit'") as caught:
        saccade.load("timm/tset_vit")
    assert "timm/test_vit" in str(caught.value.remedy)


def test_weights_without_a_classifier_are_refused_before_any_download() -> None:
    with pytest.raises(ModelError, match="no classifier whose classes are known"):
        pretrained("timm/vit_small_patch14_dinov2")


def test_timms_network_predicts_as_timm_does(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_vit").eval()
    model.head.weight.data.mul_(50)  # random weights hardly tell classes apart
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *names: str(tmp_path / "model.safetensors"))
    found = saccade.load("timm/test_vit", device="cpu").predict(photo, top=1)[0]
    picture = Image.open(photo).convert("RGB").resize((160, 160), Image.Resampling.BILINEAR, box=(10, 0, 50, 40))
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        probabilities = torch.softmax(model((pixels - 0.5) / 0.5), dim=1)
    best = int(probabilities.argmax())
    assert found.class_name == ResNet50_Weights.DEFAULT.meta["categories"][best]
    assert found.probability == pytest.approx(float(probabilities.max()), abs=1e-4)


def test_larger_imagenets_have_timms_descriptions() -> None:
    names = pretrained_module._of_timm("timm/convnext_tiny.fb_in22k", "default").class_names
    assert len(names) == 21841
    assert all(names)
