"""modes.py: the fastest safe way to compute is found by timing, and remembered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saccade.errors import RecipeError
from saccade.modes import PLAIN, Asked, Mode, Notes, choose_mode, choose_precision, computing_in
from saccade.recipe import Precision

CPU, OPEN = torch.device("cpu"), Asked()


def _choice(tmp_path: Path, run: Callable[[torch.dtype], torch.Tensor], wanted: Precision = "auto") -> torch.dtype:
    return choose_precision(wanted, run, Notes(tmp_path / "engine.json", "a network"))


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


def _trial(seconds: Callable[[Mode], float]) -> Callable[[Mode], Callable[[], Tensor]]:
    def trial(mode: Mode) -> Callable[[], Tensor]:
        def work() -> Tensor:
            time.sleep(seconds(mode))
            return torch.ones(4)

        return work

    return trial


def _mode(tmp_path: Path, seconds: Callable[[Mode], float], asked: Asked = OPEN, num_runs: float = 0.0) -> Mode:
    return choose_mode(asked, _trial(seconds), Notes(tmp_path / "engine.json", "a network"), CPU, num_runs)


def test_mode_is_the_fastest_of_what_was_left_open(tmp_path: Path) -> None:
    def seconds(mode: Mode) -> float:
        return 0.02 / (2 if mode.precision == "bfloat16" else 1) / (2 if mode.layout == "contiguous" else 1)

    assert _mode(tmp_path / "a", seconds) == Mode("bfloat16", "contiguous")
    assert _mode(tmp_path / "b", seconds, Asked(precision="float32")) == Mode("float32", "contiguous")
    assert _mode(tmp_path / "c", seconds, Asked(layout="channels_last")) == Mode("bfloat16")
    assert _mode(tmp_path / "d", lambda mode: 0.003) == PLAIN, "what is as fast is not taken"


def test_mode_compiled_is_tried_where_the_run_is_long_enough(tmp_path: Path) -> None:
    tried = []

    def seconds(mode: Mode) -> float:
        tried.append(mode.compiled)
        return 0.002 if mode.compiled else 0.01

    assert not _mode(tmp_path / "a", seconds, num_runs=100).compiled
    assert not any(tried)
    assert _mode(tmp_path / "b", seconds, num_runs=1e7).compiled


def test_mode_that_cannot_be_made_is_left_out(tmp_path: Path) -> None:
    def trial(mode: Mode) -> Callable[[], Tensor]:
        if mode.layout == "contiguous":
            raise RuntimeError("no such layout")
        return _trial(lambda each: 0.001 if each.precision == "bfloat16" else 0.01)(mode)

    assert choose_mode(Asked(), trial, Notes(tmp_path / "engine.json", "it"), CPU) == Mode("bfloat16")


def test_mode_asked_for_in_full_is_not_tried() -> None:
    def refuse(mode: Mode) -> Callable[[], Tensor]:
        raise AssertionError("nothing is to be timed")

    asked = Asked("bfloat16", "contiguous", "on")
    assert choose_mode(asked, refuse, Notes(Path("nowhere"), "it"), CPU) == Mode("bfloat16", "contiguous", True)


def test_tf32_elsewhere_than_on_a_gpu_is_refused() -> None:
    with pytest.raises(RecipeError, match="NVIDIA"):
        choose_mode(Asked("tf32"), _trial(lambda mode: 0.0), Notes(Path("nowhere"), "it"), CPU)


def test_mode_in_words_is_read_back() -> None:
    modes = [
        Mode(p, y, c) for p in ("float32", "tf32", "bfloat16") for y in ("channels_last", "contiguous") for c in (0, 1)
    ]
    assert [Mode.read(str(mode)) for mode in modes] == modes
    assert len({str(mode) for mode in modes}) == len(modes)
    assert Mode.read("bfloat16") == Mode("bfloat16"), "as older checkpoints say it"
    assert Mode.read("as fast as light") is None


def test_computing_in_leaves_torch_as_it_was() -> None:
    before = torch.get_float32_matmul_precision()
    with computing_in(Mode("tf32"), CPU):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
    weight = torch.ones(4, 4)
    with computing_in(Mode("bfloat16"), CPU):
        assert (weight @ weight).dtype == torch.bfloat16
    with computing_in(PLAIN, CPU):
        assert (weight @ weight).dtype == torch.float32


def test_compiler_that_finds_no_gpu_says_nothing_and_its_other_warnings_are_heard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("torch.utils.cpp_extension")
    with computing_in(Mode(compiled=True), CPU):
        logger.warning("No CUDA runtime is found, using CUDA_HOME='%s'", "/usr/local")
        logger.warning("no compiler was found")
    assert [record.getMessage() for record in caplog.records] == ["no compiler was found"]
