"""`saccade pack`: ahead of time, or into shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from saccade.cli import run_command_line
from saccade.data.sources.open import open_pictures

Captured = pytest.CaptureFixture[str]
SMALL = ["--model", "lenet5", "--workers", "1"]


def test_pack_prints_the_folder_that_training_then_finds(
    colours: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    assert run_command_line(["pack", str(colours), *SMALL]) == 0
    printed = capsys.readouterr()
    folder = Path(printed.out.strip())
    assert np.load(folder / "images.npy").shape == (60, 24, 24, 3)
    arguments = ["train", str(colours), *SMALL, "--epochs", "1", "--device", "cpu", "--project", str(tmp_path / "runs")]
    assert run_command_line(arguments) == 0
    assert f"reused, nothing changed ({folder})" in capsys.readouterr().err


def test_pack_json_says_how_many_pictures_can_be_used(colours: Path, capsys: Captured) -> None:
    assert run_command_line(["pack", str(colours), *SMALL, "--json", "--quiet"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["num_pictures"], found["num_usable"], found["side"]) == (60, 60, 24)
    assert printed.err == ""


def test_pack_shards_prints_a_folder_that_is_pictures_again(colours: Path, tmp_path: Path, capsys: Captured) -> None:
    assert run_command_line(["pack", str(colours), "--shards", str(tmp_path / "out"), "--shard-size", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(tmp_path / "out")
    assert "1 shard with 60 pictures" in printed.err
    assert (tmp_path / "out" / "out-000000.tar").is_file()
    assert open_pictures(tmp_path / "out").counts() == open_pictures(colours).counts()


def test_pack_shards_with_a_flag_of_decoding_is_a_usage_mistake(
    colours: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert run_command_line(["pack", str(colours), "--shards", str(tmp_path / "out"), "--image-size", "64"]) == 2
    assert "--image-size would do nothing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_train_on_nothing_is_a_usage_mistake(capsys: Captured) -> None:
    assert run_command_line(["train", ""]) == 2
    assert "no pictures were named" in capsys.readouterr().err


def test_train_by_name_without_a_network_exits_with_4(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert run_command_line(["train", "cifar100"]) == 4
    printed = capsys.readouterr().err
    assert str(tmp_path / "sets" / "cifar100") in printed
    assert "cifar-100-python.tar.gz" in printed
    assert "--data-dir" in printed
