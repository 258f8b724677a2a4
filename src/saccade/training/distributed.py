"""Several processes that train one network together: who they are, and how they agree.

    torchrun --nproc-per-node 2 -m saccade train PICTURES

Each process runs the whole pipeline. The leader (rank 0) alone decides, writes and talks; the others are told what it
decided. The first process of each machine does first what fills a cache, so that the others find it full. In a process
that nobody launched so, all of this does nothing. What is exchanged in a step stands in exchange.py.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from saccade.engine import num_cores
from saccade.errors import ResourceError

T = TypeVar("T")

CPU = torch.device("cpu")
_ENVIRONMENT = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
# Others may wait while one decodes millions of pictures. Who dies is noticed at once: its connections are closed.
_PATIENCE = timedelta(days=2)
_BETWEEN_LOOKS = 0.02  # seconds


class Store(Protocol):
    """What torch's processes tell each other before they are connected."""

    def set(self, key: str, value: str) -> None:
        """Write."""

    def get(self, key: str) -> bytes:
        """Read; waits until somebody has written."""

    def check(self, keys: list[str]) -> bool:
        """Whether all of them were written."""


class World(NamedTuple):
    """Which of how many processes this is, everywhere and on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def world() -> World:
    """As the launcher says in the environment; one process alone where nobody launched several."""
    try:
        return World(*(int(os.environ[name]) for name in _ENVIRONMENT))
    except (KeyError, ValueError):
        return World()


def together() -> bool:
    """Whether this process is one of several that are joined now."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def num_processes() -> int:
    """How many are joined now."""
    return dist.get_world_size() if together() else 1


def leads() -> bool:
    """Whether this process decides, writes and talks; one alone does."""
    return world().rank == 0


@contextmanager
def joined(say: Callable[[str], None]) -> Iterator[None]:
    """Be one of the processes that were launched together, until all are done; one alone stays alone.

    Threads are set so that the processes of a machine share its cores: torchrun itself gives each a single one.

    Args:
        say: told how many there are.

    Raises:
        ResourceError: another process has ended; in those that do not lead SystemExit, as the leader has said why.
    """
    here, threads = world(), torch.get_num_threads()
    if here.size == 1:
        yield
        return
    ours = not dist.is_initialized()
    if ours:
        _connect(here)
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":  # torchrun's own choice
        torch.set_num_threads(max(1, num_cores() // here.local_size))
    say(in_words(here))
    try:
        yield
        _meet()
    except Exception as error:
        _end_beside_others(error, here)
        raise
    finally:
        torch.set_num_threads(threads)
        # The others notice at once. A broken group of GPUs would be waited for, so it is left to the process's end.
        if ours and (sys.exc_info()[0] is None or "nccl" not in dist.get_backend()):
            dist.destroy_process_group()


def _connect(here: World) -> None:
    both = torch.cuda.is_available() and dist.is_nccl_available()
    with talking():
        found = dist.rendezvous("env://", here.rank, here.size, timeout=_PATIENCE)  # type: ignore[attr-defined]
        store, _, _ = next(iter(found))
        own = dist.PrefixStore(_meeting_place(store, here), store)  # type: ignore[attr-defined]
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if both else "gloo",
            store=own,
            rank=here.rank,
            world_size=here.size,
            timeout=_PATIENCE,
        )


def _meeting_place(store: Store, here: World) -> str:
    """A name that the living processes agree upon.

    torchrun keeps its store over a restart, with the addresses of processes that are dead. So the leader makes up a
    name, the others answer to it with names of their own, and who finds his own confirmed has met the living leader.
    """
    own = uuid.uuid4().hex
    if here.rank == 0:
        store.set("saccade/leader", own)
        answers = [store.get(f"saccade/{own}/{rank}").decode() for rank in range(1, here.size)]
        store.set(f"saccade/{own}/met", " ".join(answers))
        return own
    while True:
        leader = store.get("saccade/leader").decode()
        store.set(f"saccade/{leader}/{here.rank}", own)
        met = f"saccade/{leader}/met"
        if store.check([met]) and own in store.get(met).decode().split():
            return leader
        time.sleep(_BETWEEN_LOOKS)


def in_words(here: World) -> str:
    """`4 processes, 2 on this machine with 1 thread each; they share every batch`."""
    num = torch.get_num_threads()
    place = "all" if here.local_size == here.size else f"{here.local_size}"
    threads = f"{num} thread{'s' if num > 1 else ''} each"
    return f"{here.size} processes, {place} on this machine, with {threads}; they share every batch between them"


def _end_beside_others(error: Exception, here: World) -> None:
    """Where the leader has ended, or is told the same, the others say one line and go."""
    if here.rank == 0:
        return
    sys.stderr.write(f"process {here.rank} of {here.size}: ")
    if isinstance(error, LostError):
        sys.stderr.write("ends, because another one has ended\n")
        raise SystemExit(ResourceError.exit_code) from None
    sys.stderr.flush()


class LostError(ResourceError):
    """Another process of the same training is gone."""


@contextmanager
def talking() -> Iterator[None]:
    """Speak to the others within.

    Raises:
        LostError: one of them does not answer any more.
    """
    try:
        yield
    except RuntimeError as error:
        raise LostError(
            "another process of this training has ended",
            where=str(error).strip().splitlines()[-1][:200],
            remedy="its own message says why (none: it was killed, perhaps for want of memory); the same command with "
            "--resume goes on, and `torchrun --max-restarts 3` does that by itself",
        ) from None


def decided(choose: Callable[[], T]) -> T:
    """What the leader chooses, in every process; only the leader is asked. It travels by pickle, between them alone."""
    if not together():
        return choose()
    held = [choose() if leads() else None]
    with talking():
        dist.broadcast_object_list(held, src=0, device=CPU)
    return held[0]  # type: ignore[return-value]


def largest(number: int) -> int:
    """The largest of the processes' numbers: 0 only where all say 0."""
    if not together():
        return number
    found = torch.tensor([number], dtype=torch.int64)
    with talking():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


@contextmanager
def in_turn() -> Iterator[None]:
    """The first process of each machine does what stands within; the others do it when these are done."""
    first = world().local_rank == 0
    if together() and not first:
        _meet()
    yield
    if together() and first:
        _meet()


def let_leader_say() -> None:
    """Before an error that all have: the others wait until the leader has ended, which says why.

    Raises:
        LostError: it has.
    """
    if not leads():
        _meet()


def _meet() -> None:
    """Wait for each other."""
    largest(0)


def broadcast(tensors: list[Tensor]) -> None:
    """The leader's values for everybody's tensors, in place."""
    for tensor in tensors:
        whole = tensor.detach().contiguous()
        with talking():
            dist.broadcast(whole, src=0)
        if not leads():
            tensor.detach().copy_(whole)


def share_state(module: nn.Module) -> None:
    """The leader's parameters and buffers for everybody."""
    if together():
        broadcast([*module.parameters(), *module.buffers()])
