"""Devices and promises."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from saccade.engine import choose_device, choose_precision, describe_device, make_deterministic, num_cores
from saccade.errors import ResourceError
from saccade.recipe import Precision


def test_e18_auto_takes_what_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == expected


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "", "cpu:x"])
def test_e18_device_by_name_that_is_not_there_exits_with_4(name: str) -> None:
    with pytest.raises(ResourceError) as caught:
        choose_device(name)
    assert caught.value.exit_code == 4


def test_description_of_the_cpu_names_its_cores() -> None:
    assert describe_device(torch.device("cpu")).startswith(f"cpu, {num_cores()} core")


def test_deterministic_refuses_what_can_vary() -> None:
    make_deterministic(True)
    assert torch.are_deterministic_algorithms_enabled()
    make_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_there_is_at_least_one_core() -> None:
    assert num_cores() >= 1


def _choice(tmp_path: Path, run: Callable[[torch.dtype], torch.Tensor], wanted: Precision = "auto") -> torch.dtype:
    return choose_precision(wanted, run, "a network", tmp_path / "engine.json")


def _slow_float32(dtype: torch.dtype) -> torch.Tensor:
    time.sleep(0.02 if dtype == torch.float32 else 0.001)
    return torch.ones(4).to(dtype)


def test_precision_is_the_faster_one_and_is_remembered(tmp_path: Path) -> None:
    assert _choice(tmp_path, _slow_float32) == torch.bfloat16

    def refuse(dtype: torch.dtype) -> torch.Tensor:
        raise AssertionError("it is known already")

    assert _choice(tmp_path, refuse) == torch.bfloat16


def test_precision_that_is_no_faster_or_not_close_is_not_taken(tmp_path: Path) -> None:
    assert _choice(tmp_path / "a", lambda dtype: torch.ones(4).to(dtype)) == torch.float32

    def wrong(dtype: torch.dtype) -> torch.Tensor:
        return _slow_float32(dtype) * (1.0 if dtype == torch.float32 else 1.1)

    assert _choice(tmp_path / "b", wrong) == torch.float32
    assert _choice(tmp_path / "c", lambda dtype: _slow_float32(dtype) * torch.nan) == torch.float32


def test_precision_that_the_device_does_not_know_is_not_taken(tmp_path: Path) -> None:
    def run(dtype: torch.dtype) -> torch.Tensor:
        if dtype == torch.bfloat16:
            raise RuntimeError("not implemented for BFloat16")
        return torch.ones(4)

    assert _choice(tmp_path, run) == torch.float32


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_precision_that_was_asked_for_is_not_timed(wanted: Precision, tmp_path: Path) -> None:
    def refuse(dtype: torch.dtype) -> torch.Tensor:
        raise AssertionError("nothing is to be timed")

    assert _choice(tmp_path, refuse, wanted) == getattr(torch, wanted)


def test_damaged_notes_about_precision_are_written_anew(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text("{damaged")
    assert _choice(tmp_path, _slow_float32) == torch.bfloat16
    assert "bfloat16" in (tmp_path / "engine.json").read_text()
