"""`saccade models`: the list, its filters, and the layer table of one network."""

from __future__ import annotations

import json

import pytest
import timm

from saccade.cli import run_command_line
from saccade.models.catalogue import CATALOGUE


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_command_line(["models", *arguments]) == 0
    return capsys.readouterr().out


def test_list_has_a_line_per_network_with_facts(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "--filter", "vgg*").splitlines()
    header, rows = lines[0].split(), [line for line in lines[1:] if line.startswith("vgg")]
    assert header == ["network", "parameters", "multiply-adds", "pictures", "year", "weights", "idea", "paper"]
    assert [row.split()[0] for row in rows] == [name for name in CATALOGUE if name.startswith("vgg")]
    vgg16 = next(row for row in rows if row.startswith("vgg16 "))
    for fact in ("138,357,544", "15,470,264,320", "224×224×3", "2014", "71.592 %", "arxiv.org/abs/1409.1556"):
        assert fact in vgg16
    assert any("non-commercial" in line for line in lines)


def test_json_is_a_list_of_all_networks(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "--json"))
    assert [row["name"] for row in rows] == list(CATALOGUE)
    assert {row["name"]: row["parameters"] for row in rows} == {name: e.parameters for name, e in CATALOGUE.items()}
    resnet50 = next(row for row in rows if row["name"] == "resnet50")
    assert resnet50["weights"]["top1"] == 80.858
    assert resnet50["weights"]["licence"]


def test_timm_lists_its_own_names_by_filter(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "--timm", "--filter", "*vit_tiny*", "--json"))
    assert [row["name"] for row in rows] == [f"timm/{name}" for name in timm.list_models("*vit_tiny*")]
    assert "timm/vit_tiny_patch16_224  224×224×3" in run(capsys, "--timm", "--filter", "vit_tiny_patch16_2")


def test_totals_of_the_vgg16_example_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "vgg16", "--head", "128,64,32", "--classes", "3", "--train", "block5_conv3")
    assert "parameters 17,936,515   learn 5,581,635   frozen 12,354,880" in out
    learns = {line.split()[0]: line.split()[4] for line in out.splitlines() if line.startswith(("stages", "head"))}
    assert learns["stages.block5_conv3.conv"] == "yes"
    assert learns["stages.block5_conv2.conv"] == "no"
    assert learns["head.fc1"] == "yes"


def test_table_takes_classes_size_and_colours(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "resnet18", "--classes", "7", "--image-size", "64", "--channels", "1")
    assert out.startswith("resnet18: pictures of 64×64×1, 7 classes")
    assert "512×2×2" in out


def test_table_of_timms_network_is_there_too(capsys: pytest.CaptureFixture[str]) -> None:
    table = json.loads(run(capsys, "timm/test_vit", "--train", "blocks.5", "--json"))
    assert table["parameters"] == sum(p.numel() for p in timm.create_model("test_vit").parameters())
    learning = {row["name"].split(".")[1] for row in table["rows"] if row["trainable"]}
    assert learning == {"blocks_5", "model"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["vgg16", "--train", "block5_conv9"], "did you mean block5_conv3"),
        (["vgg61"], "or vgg16 or"),
        (["timm/resnet26x"], "did you mean timm/resnet26"),
        (["--filter", "nothing-like-it"], "no network fits 'nothing-like-it'"),
    ],
)
def test_mistake_is_a_usage_error_with_a_remedy(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["models", *arguments]) == 2
    assert told in capsys.readouterr().err
