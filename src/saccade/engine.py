"""Where a network runs: the device, said in one line, and the promise of repeatable results."""

from __future__ import annotations

import ctypes
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from saccade.errors import ResourceError

# Below this many multiply-adds in a batch, threads wait for each other longer than they work. Measured on two cores,
# pictures per second with one and two threads: cnn1 at batch 10 (2.5 M) 7,900 and 1,300, at 64 (16 M) 9,900 and
# 5,300; lenet5 at 16 (10 M) 7,900 and 860, at 64 (42 M) 10,600 and 14,300, at 256 (167 M) 12,200 and 20,500.
THREADS_PAY_ABOVE = 30_000_000

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>
_USUAL_TRIM_THRESHOLD, _USUAL_MMAP_MAX = 128 * 1024, 65_536  # glibc's own


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


def give_memory_back(device: torch.device) -> None:
    """Hand what is kept and not used back to the system, now and from now on: memory has run out.

    Others need it, oneDNN among them, which maps memory of its own.

    Measured with resnet18, 256 pictures of 64 pixels and 500 MiB of addresses left: without this not even one picture
    had room after the first failure, with it 64 had.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, _USUAL_MMAP_MAX)
        libc.mallopt(_M_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD)
        libc.malloc_trim(0)


def leave_onednn_if_stuck(error: BaseException) -> bool:
    """Compute without oneDNN from here on where this thread gets no kernel from it any more, after such an error.

    Where memory runs out while oneDNN writes a kernel, its assembler notes that for the thread and never forgets:
    every kernel that is not made yet fails from then on, however much memory there is (seen with oneDNN 3.12 in torch
    2.14; mended in oneDNN's source since, pull request 5907). torch's own convolutions round otherwise, and are slower:
    32 pictures of 64 pixels, forward and backward, took cnn4 1.1 and resnet18 4.4 times as long (medians of five, two
    cores of a Zen 4).

    Args:
        error: said that memory ran out. Only oneDNN's own is followed by a try, whose kernel takes memory too.

    Returns:
        Whether oneDNN was left now.
    """
    if "primitive" not in str(error) or not torch.backends.mkldnn.enabled:
        return False
    width = 5 + secrets.randbelow(4000)  # one that hardly has a kernel yet
    try:
        images = torch.zeros(1, 8, 3, width)
        torch.ops.aten.mkldnn_convolution(images, torch.zeros(8, 8, 3, 3), None, [1, 1], [1, 1], [1, 1], 1)
    except RuntimeError as again:
        if "primitive" not in str(again):
            return False
        torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]
        return True
    return False
