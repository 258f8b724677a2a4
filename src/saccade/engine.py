"""Where a network runs: the device, said in one line, and the promise of repeatable results."""

from __future__ import annotations

import os

import torch

from saccade.errors import ResourceError


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
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)


def make_deterministic(wanted: bool) -> None:
    """Refuse operations whose result can vary between runs, or allow them again."""
    if wanted:
        # cuBLAS reads this when its first handle is made; it has no effect elsewhere.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted


def num_cores() -> int:
    """Cores this process may use; a container's limit counts where the system tells it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
