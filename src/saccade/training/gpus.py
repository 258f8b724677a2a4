"""Several processes and their GPUs: which one each takes, and BatchNorm over the pictures of all."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from saccade.engine import choose_device
from saccade.errors import RecipeError, ResourceError, UsageError
from saccade.recipe import Recipe
from saccade.training.distributed import CPU, together, world

M = TypeVar("M", bound=nn.Module)


def own_device(wanted: str) -> torch.device:
    """The device of this process: of several on a machine each takes the GPU with its number.

    Raises:
        UsageError: one GPU was named for all of them.
        ResourceError: there are fewer GPUs than processes, or what engine.py says.
    """
    here, device = world(), choose_device(wanted)
    if here.size == 1 or device.type == "cpu":
        return device
    if device.type != "cuda":
        if wanted == "auto":
            return CPU
        raise UsageError(f"several processes cannot share {wanted!r}", where="device", remedy="use --device cpu")
    if device.index is not None:
        raise UsageError(
            f"{here.size} processes cannot share one GPU",
            where=f"device {wanted}",
            remedy="use --device cuda: each takes the GPU with its number, of those in CUDA_VISIBLE_DEVICES",
        )
    if here.local_rank >= torch.cuda.device_count():
        raise ResourceError(
            f"{here.local_size} processes were begun on this machine, and it has {torch.cuda.device_count()} GPUs",
            where="device",
            remedy="begin one process per GPU: torchrun --nproc-per-node gpu -m saccade train ...",
        )
    torch.cuda.set_device(here.local_rank)
    return torch.device("cuda", here.local_rank)


def check_batch_norm(recipe: Recipe, device: torch.device) -> None:
    """Whether BatchNorm can be computed as the recipe asks.

    Raises:
        RecipeError: torch has no layer of this device that does so over several processes.
    """
    if recipe.sync_batch_norm and together() and device.type != "cuda":
        raise RecipeError(
            f"BatchNorm can be computed over several processes on GPUs only; these are on {device.type}",
            where="sync_batch_norm",
            remedy="leave out --sync-batch-norm: each process then takes the statistics of its own share",
        )


def synchronised(network: M, recipe: Recipe) -> M:
    """The network with BatchNorm over the pictures of all processes, where that is wanted and there are several."""
    if recipe.sync_batch_norm and together():
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return network
