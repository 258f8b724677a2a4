"""Where a network runs: the device, said in one line, and the promise of repeatable results."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from saccade.errors import ResourceError
from saccade.recipe import Precision
from saccade.whole import whole_file

# Below this many multiply-adds in a batch, threads wait for each other longer than they work. Measured on two cores,
# pictures per second with one and two threads: cnn1 at batch 10 (2.5 M) 7,900 and 1,300, at 64 (16 M) 9,900 and
# 5,300; lenet5 at 16 (10 M) 7,900 and 860, at 64 (42 M) 10,600 and 14,300, at 256 (167 M) 12,200 and 20,500.
THREADS_PAY_ABOVE = 30_000_000

# bfloat16 is taken when it is clearly faster, and when what comes out differs by less than this share of its size.
# Measured for VGG16 and ResNet-18 at 224 pixels, random and trained weights, four photographs: 0.3 to 0.7 %.
_WORTH_IT, _LARGEST_ERROR = 1.2, 0.03
_SECONDS_TRIED = 0.3

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>


def choose_device(wanted: str) -> torch.device:
    """The device to use: `auto` takes the first that works of cuda, mps, cpu.

    Raises:
        ResourceError: a device was asked for by name and is not there.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ResourceError(
            f"the device {wanted!r} cannot be used: {str(error).splitlines()[0]}",
            where="device",
            remedy="leave out --device to use what is there, or install the PyTorch build for your hardware",
        ) from None
    return device


def describe_device(device: torch.device) -> str:
    """The device in words, for the first line of a run."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    cores = num_cores()
    return f"cpu, {cores} core{'s' if cores > 1 else ''}" if device.type == "cpu" else str(device)


def make_deterministic(wanted: bool) -> None:
    """Refuse operations whose result can vary between runs, or allow them again."""
    if wanted:
        # cuBLAS reads this when its first handle is made; it has no effect elsewhere.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted


@contextmanager
def threads_for(multiply_adds: int) -> Iterator[None]:
    """Work on small batches with one thread; torch's number of threads is as before when it is over.

    The choice depends on the work alone, never on a clock, so the same run gives the same bits.

    Args:
        multiply_adds: of one batch, forward.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if multiply_adds < THREADS_PAY_ABOVE else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def num_cores() -> int:
    """Cores this process may use; a container's limit counts where the system tells it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def keep_memory() -> None:
    """Let the process keep the memory it frees, where the C library is glibc; without effect elsewhere.

    By default every large tensor is mapped from the system and given back when it is freed, so each training step
    touches thousands of fresh pages: for cnn4 at 128 pixels, batch 32, two cores, that was 400,000 page faults and
    0.65 s of system time in a step of 2.4 s; without it the same step took 1.6 s. The price is that the process
    never shrinks while it lives.
    """
    glibc = platform.libc_ver()[0] == "glibc"
    if glibc:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)  # unsigned inside: the largest value there is


def choose_precision(wanted: Precision, run: Callable[[torch.dtype], Tensor], key: str, notes: Path) -> torch.dtype:
    """The type to compute in: as wanted or, for `auto`, the faster one of float32 and safe bfloat16.

    The choice is timed once per key and machine and then remembered, so that a repeated run computes the same.

    Args:
        wanted: auto, float32 or bfloat16.
        run: computes a small batch in a type.
        key: what is computed: network, stages, size, device.
        notes: the JSON file that remembers.
    """
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    key = f"{_processor()} · torch {torch.__version__} · {torch.get_num_threads()} threads · {key}"
    known = _read_notes(notes)
    if key not in known:
        known = _read_notes(notes) | {key: "bfloat16" if _bfloat16_pays(run) else "float32"}
        with suppress(OSError):  # a cache that cannot be written costs the measurement again, nothing else
            notes.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(notes) as partial:
                partial.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return torch.bfloat16 if known[key] == "bfloat16" else torch.float32


def _bfloat16_pays(run: Callable[[torch.dtype], Tensor]) -> bool:
    exact = run(torch.float32).float()
    try:
        rounded = run(torch.bfloat16).float()
    except RuntimeError:  # a device without bfloat16, or a layer that does not know it
        return False
    if not (rounded - exact).norm() <= _LARGEST_ERROR * exact.norm():
        return False
    return _seconds(lambda: run(torch.float32)) > _WORTH_IT * _seconds(lambda: run(torch.bfloat16))


def _seconds(run: Callable[[], Tensor]) -> float:
    """The fastest of a few runs; reading one number back makes a GPU finish."""
    best, spent = float("inf"), 0.0
    while spent < _SECONDS_TRIED:
        began = time.perf_counter()
        float(run().flatten()[0])
        last = time.perf_counter() - began
        best, spent = min(best, last), spent + last
    return best


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
