"""How layers compute: precision, memory layout, compilation. Timed on this machine, then chosen, then remembered."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from saccade.errors import RecipeError
from saccade.recipe import Compile, MemoryLayout, Precision
from saccade.whole import whole_file

# What is clearly faster is taken, where what comes out differs by less than this share of its size. Measured for
# VGG16 and ResNet-18 at 224 pixels, random and trained weights, four photographs: 0.3 to 0.7 % in bfloat16.
_WORTH_IT, _LARGEST_ERROR = 1.2, 0.03
_SECONDS_TRIED, _MOST_ROUNDS = 0.6, 20

# Compiling a training step took 20 to 70 s on two cores, and none of cnn4, alexnet_bn and resnet18 was faster for it
# (0.4 to 1.07 times). It is tried where even that is a small part of the time that eager steps would take.
COMPILING_PAYS_ABOVE = 3600.0


class Mode(NamedTuple):
    """How layers compute.

    Attributes:
        precision: float32, tf32 (float32 whose products are rounded, on a GPU) or bfloat16 (under autocast).
        layout: channels_last (a pixel's channels side by side) or contiguous (a channel's pixels side by side).
        compiled: by torch.compile.
    """

    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    layout: Literal["channels_last", "contiguous"] = "channels_last"
    compiled: bool = False

    def __str__(self) -> str:
        """`bfloat16`, `float32, contiguous, compiled`: what is not the usual way is named."""
        words = [self.precision, self.layout if self.layout != "channels_last" else "", "compiled" * self.compiled]
        return ", ".join(word for word in words if word)

    @classmethod
    def read(cls, text: str) -> Mode | None:
        """What `str` wrote; None for anything else."""
        return next((mode for mode in _every_mode() if str(mode) == text), None)

    @property
    def dtype(self) -> torch.dtype:
        """What autocast computes in."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    @property
    def memory_format(self) -> torch.memory_format:
        """torch's name of the layout."""
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format


PLAIN = Mode()


class Asked(NamedTuple):
    """What the recipe says about the mode."""

    precision: Precision = "auto"
    layout: MemoryLayout = "auto"
    compile: Compile = "auto"

    @property
    def is_open(self) -> bool:
        """Something is left to be timed."""
        return "auto" in self

    @property
    def untimed(self) -> Mode:
        """What is asked for; the usual way where that is left open."""
        precision = "float32" if self.precision == "auto" else self.precision
        layout = "channels_last" if self.layout == "auto" else self.layout
        return Mode(precision, layout, self.compile == "on")

    def admits(self, mode: Mode) -> bool:
        """The mode is one of those that are not ruled out."""
        values = (mode.precision, mode.layout, "on" if mode.compiled else "off")
        return all(wanted in ("auto", value) for wanted, value in zip(self, values, strict=True))


class Trial(Protocol):
    """What is timed: made once per mode, and then run."""

    def __call__(self, mode: Mode) -> Callable[[], Tensor]:
        """A function that does the work once in this mode and returns what came out."""


class Notes(NamedTuple):
    """Where choices are remembered, so that a repeated run computes the same: a JSON file, and the key in it."""

    path: Path
    key: str


def choose_precision(wanted: Precision, run: Callable[[torch.dtype], Tensor], notes: Notes) -> torch.dtype:
    """The type to compute in: as wanted or, for `auto`, the faster one of float32 and safe bfloat16.

    Args:
        wanted: auto, float32, tf32 (float32 here) or bfloat16.
        run: computes a small batch in a type.
        notes: the choice is timed once per key and machine.
    """

    def trial(mode: Mode) -> Callable[[], Tensor]:
        return lambda: run(mode.dtype)

    asked = Asked("float32" if wanted == "tf32" else wanted, "channels_last", "off")
    return choose_mode(asked, trial, notes, torch.device("cpu")).dtype


def choose_mode(asked: Asked, trial: Trial, notes: Notes, device: torch.device, num_runs: float = 0.0) -> Mode:
    """The fastest safe mode among those that were not ruled out.

    One thing is changed after the other: the precision, then the layout, then compilation; each is kept where it was
    at least 1.2 times as fast as what was best before, and its outcome within 3 % of that of plain float32.

    Args:
        asked: what the recipe leaves open.
        trial: makes the work that is timed.
        notes: the choice is timed once per key and machine.
        device: where it runs; tf32 is for GPUs.
        num_runs: how often the work will be done; compiling is tried where that is more than an hour of it.

    Raises:
        RecipeError: tf32 was asked for elsewhere than on an NVIDIA GPU.
    """
    if asked.precision == "tf32" and device.type != "cuda":
        raise RecipeError(
            "tf32 is a way of NVIDIA's GPUs to multiply",
            where=f"precision tf32 on {device.type}",
            remedy="leave out --precision: the fastest safe one is found by timing",
        )
    if not asked.is_open:
        return asked.untimed
    key = f"{_processor()} · torch {torch.__version__} · {torch.get_num_threads()} threads · {notes.key} · "
    key += "/".join(asked)
    known = _read_notes(notes.path)
    mode = Mode.read(known.get(key, ""))
    if mode is None:
        mode = _fastest(asked, trial, device, num_runs)
        with suppress(OSError):  # a cache that cannot be written costs the measurement again, nothing else
            notes.path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(notes.path) as partial:
                partial.write_text(json.dumps(_read_notes(notes.path) | {key: str(mode)}, indent=1), encoding="utf-8")
    return mode


def _fastest(asked: Asked, trial: Trial, device: torch.device, num_runs: float) -> Mode:
    best, work = asked.untimed, trial(asked.untimed)
    exact = work().float()
    for change in _changes(asked, device):
        mode = change(best)
        if mode.compiled and num_runs * _seconds([work])[0] < COMPILING_PAYS_ABOVE:
            continue
        other = _if_it_works(trial, mode, exact)
        if other is None:
            continue
        before, after = _seconds([work, other])
        if before > _WORTH_IT * after:
            best, work = mode, other
    return best


def _changes(asked: Asked, device: torch.device) -> Iterator[Callable[[Mode], Mode]]:
    """One thing each, of those that are left open."""
    if asked.precision == "auto" and device.type == "cuda":
        yield lambda mode: mode._replace(precision="tf32")
    if asked.precision == "auto":
        yield lambda mode: mode._replace(precision="bfloat16")
    if asked.layout == "auto":
        yield lambda mode: mode._replace(layout="contiguous")
    if asked.compile == "auto":
        yield lambda mode: mode._replace(compiled=True)


def _if_it_works(trial: Trial, mode: Mode, exact: Tensor) -> Callable[[], Tensor] | None:
    """The work in this mode, done once; None where the machine cannot, or where what comes out is something else."""
    try:
        work = trial(mode)
        found = work().float()
    except (RuntimeError, NotImplementedError):  # a type or a layer that the device does not know, no compiler
        return None
    return work if (found - exact).norm() <= _LARGEST_ERROR * exact.norm() else None


def _seconds(works: Iterable[Callable[[], Tensor]]) -> list[float]:
    """The fastest of several runs of each, in turns, so that a busy moment falls on all of them."""
    works = list(works)
    best, spent, rounds = [float("inf")] * len(works), 0.0, 0
    while spent < _SECONDS_TRIED * len(works) and rounds < _MOST_ROUNDS:
        rounds += 1
        for number, work in enumerate(works):
            began = time.perf_counter()
            float(work().flatten()[0])  # reading one number back makes a GPU finish
            last = time.perf_counter() - began
            best[number], spent = min(best[number], last), spent + last
    return best


@contextmanager
def computing_in(mode: Mode, device: torch.device) -> Iterator[None]:
    """Layers called here compute in the mode's precision."""
    if mode.compiled:  # torch's compiler looks for CUDA when it is loaded, and warns those who have the kit and no GPU
        logging.getLogger("torch.utils.cpp_extension").addFilter(_is_no_missing_gpu)
    if mode.precision == "tf32":
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    with torch.autocast(device.type, torch.bfloat16, enabled=mode.precision == "bfloat16"):
        yield


def _is_no_missing_gpu(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("No CUDA runtime is found")


def _every_mode() -> Iterator[Mode]:
    for precision in ("float32", "tf32", "bfloat16"):
        for layout in ("channels_last", "contiguous"):
            yield from (Mode(precision, layout, compiled) for compiled in (False, True))


def _read_notes(path: Path) -> dict[str, str]:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in notes.items()} if isinstance(notes, dict) else {}


@cache
def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
