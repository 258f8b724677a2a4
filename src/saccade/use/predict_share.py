"""Several processes that predict together, launched by torchrun: which this is, and how they wait for each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist

from saccade.engine import num_cores

# The first may have millions of files to list. Who dies is noticed at once: torchrun ends the others.
_PATIENCE = timedelta(days=2)


class Share(NamedTuple):
    """Process `rank` of `size`; `local_rank` of `local_size` on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this one lists, assembles and talks."""
        return self.rank == 0

    def has(self, number: int) -> bool:
        """Whether the shard of this number is its to do."""
        return number % self.size == self.rank

    def meet(self) -> None:
        """Wait until all have come so far."""
        if self.size > 1:
            dist.barrier()


def share_here() -> Share:
    """As torchrun says in the environment; one process alone where nobody launched several."""
    try:
        return Share(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))
    except (KeyError, ValueError):
        return Share()


def own_device(wanted: str, share: Share) -> str:
    """The GPU of this process, where there are several and none was named."""
    if share.size > 1 and wanted in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{share.local_rank % torch.cuda.device_count()}"
    return wanted


@contextmanager
def together(share: Share) -> Iterator[None]:
    """Be one of the processes that were launched together; one alone stays alone.

    Threads are set so that the processes of a machine share its cores: torchrun itself gives each a single one.
    """
    if share.size == 1:
        yield
        return
    dist.init_process_group("gloo", timeout=_PATIENCE)
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(1, num_cores() // share.local_size))
    try:
        yield
    finally:
        dist.destroy_process_group()
