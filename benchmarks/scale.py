"""What a second process is worth: steps of two processes with one thread each beside one process with one and with two.

    python benchmarks/scale.py [--rounds 3] [--seconds 1.0] [--output results.json]

Two processes are begun by torchrun and stay. In turns (1×1, 1×2, 2×1, peer, and back) they make steps with the same
network, the same batch and saccade's own update: the first process alone with one thread, alone with two, both with one
thread each and a share of the batch, and both under torch's DistributedDataParallel. While one works alone the other
waits. The fastest of all rounds counts, as others may use the machine; "cores used" (CPU seconds per second) says how
much they did. CPU seconds per step say what the same step costs in each way, however busy the machine is. Also
measured: how long the exchange of the gradients takes when nothing else is done.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from saccade.threads import calm_threads

calm_threads()

import torch
import torch.distributed as dist
from torch import Tensor, nn

import saccade.training.step
from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.training.distributed import joined, world
from saccade.training.exchange import sum_gradients
from saccade.training.step import Manner, update


class Case(NamedTuple):
    """A network, the side and channels of its pictures, and how many are in a batch."""

    model: str
    side: int
    channels: int
    batch_size: int


CASES = (
    Case("cnn1", 28, 1, 64),
    Case("lenet5", 28, 1, 256),
    Case("resnet18_cifar", 32, 3, 16),
    Case("resnet18", 96, 3, 32),
)


class _Forward(nn.Module):
    """What DistributedDataParallel wraps: it wants to be called itself."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.network.training_outputs(images).logits


class Bench:
    """One case, in one of the processes."""

    def __init__(self, case: Case, seconds: float) -> None:
        generator = torch.Generator().manual_seed(0)
        self.network = build_network(NetworkSpec(case.model, 10, case.side, case.channels, None), seed=0)
        self.network.to(memory_format=torch.channels_last)
        self.network.train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-6, fused=True)
        shape = (case.batch_size, case.channels, case.side, case.side)
        self.images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        self.images = self.images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 10, (case.batch_size,), generator=generator)
        half = case.batch_size // 2
        own = slice(half * world().rank, half * (world().rank + 1))
        self.share = (self.images[own], self.labels[own])
        self.wrapped: nn.Module | None = nn.parallel.DistributedDataParallel(_Forward(self.network))
        self.ddp_optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-6, fused=True)
        self.seconds = seconds

    def ways(self) -> dict[str, Callable[[], dict[str, float]]]:
        """What is measured, by name."""
        return {
            "1x1": lambda: self._alone(1),
            "1x2": lambda: self._alone(2),
            "2x1": self._both,
            "ddp": lambda: self._timed(self._ddp_step),
            "exchange": lambda: self._timed(self._exchange),
        }

    def _alone(self, threads: int) -> dict[str, float]:
        found = {"step": float("inf"), "cpu": float("inf"), "cores": 0.0}
        if world().rank == 0:
            torch.set_num_threads(threads)
            with _nobody_else():
                found = self._timed(lambda: self._step(self.images, self.labels), agree=False)
            torch.set_num_threads(1)
        dist.barrier()
        return found

    def _both(self) -> dict[str, float]:
        return self._timed(lambda: self._step(*self.share))

    def _step(self, images: Tensor, labels: Tensor) -> None:
        update(self.network, self.optimizer, images, labels, Manner())

    def _ddp_step(self) -> None:
        images, labels = self.share
        assert self.wrapped is not None
        loss = nn.functional.cross_entropy(self.wrapped(images), labels)
        self.ddp_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.ddp_optimizer.step()

    def _exchange(self) -> None:
        sum_gradients(list(self.network.parameters()), 0.5)

    def _timed(self, step: Callable[[], None], *, agree: bool = True) -> dict[str, float]:
        """Seconds of the fastest of several bunches of steps, and cores used, of both processes where both work."""
        step()
        began = time.perf_counter()
        step()
        once = torch.tensor(time.perf_counter() - began)
        if agree:
            dist.all_reduce(once, dist.ReduceOp.MAX)
        num = max(1, round(self.seconds / 4 / float(once)))
        best, cheapest = float("inf"), float("inf")
        all_cpu, all_began = time.process_time(), time.perf_counter()
        for _ in range(4):
            cpu, began = time.process_time(), time.perf_counter()
            for _ in range(num):
                step()
            best = min(best, (time.perf_counter() - began) / num)
            cheapest = min(cheapest, (time.process_time() - cpu) / num)
        cores = (time.process_time() - all_cpu) / (time.perf_counter() - all_began)
        sums = torch.tensor([cheapest, cores])
        if agree:
            dist.all_reduce(sums)
        return {"step": best, "cpu": float(sums[0]), "cores": float(sums[1])}


@contextmanager
def _nobody_else() -> Iterator[None]:
    """The update is that of a process alone within."""
    before = saccade.training.step.together
    saccade.training.step.together = lambda: False
    try:
        yield
    finally:
        saccade.training.step.together = before


def measure(case: Case, rounds: int, seconds: float) -> dict[str, Any]:
    """The fastest step of each way, over the rounds."""
    bench = Bench(case, seconds)
    best: dict[str, dict[str, float]] = {}
    for number in range(rounds):
        names = list(bench.ways())
        for name in names if number % 2 == 0 else reversed(names):
            found = bench.ways()[name]()
            before = best.get(name, found)
            best[name] = {key: (max if key == "cores" else min)(found[key], before[key]) for key in found}
    bench.wrapped = None  # its threads must be gone before the processes part
    learning = sum(weight.numel() for weight in bench.network.parameters() if weight.requires_grad)
    return {**case._asdict(), "gradient_mib": 4 * learning / 2**20, "ways": best}


def in_words(found: dict[str, Any]) -> str:
    """A line of the table in docs/scale.md."""
    ways = found["ways"]
    step = {name: each["step"] for name, each in ways.items()}
    cores = "/".join(f"{ways[name]['cores']:.1f}" for name in ("1x1", "1x2", "2x1"))
    cost = " | ".join(f"{ways[name]['cpu'] / ways['1x1']['cpu']:.2f}" for name in ("1x2", "2x1", "ddp"))
    return (
        f"| {found['model']}, {found['side']} px, batch {found['batch_size']} | {1e3 * step['1x1']:.1f} | "
        f"{step['1x1'] / step['1x2']:.2f} | {step['1x1'] / step['2x1']:.2f} | {step['1x1'] / step['ddp']:.2f} | "
        f"{cost} | {found['gradient_mib']:.1f} | {1e3 * step['exchange']:.1f} | {cores} |"
    )


def work(rounds: int, seconds: float, output: Path | None) -> None:
    """In each of the two processes."""
    results = []
    with joined(lambda text: None):
        torch.set_num_threads(1)
        for case in CASES:
            results.append(measure(case, rounds, seconds))
            if world().rank == 0:
                print(in_words(results[-1]), flush=True)
    if world().rank == 0 and output is not None:
        about = {"torch": torch.__version__, "machine": platform.processor() or platform.machine()}
        about |= {"cores": os.cpu_count(), "rounds": rounds, "seconds": seconds}
        output.write_text(json.dumps({"about": about, "results": results}, indent=1))


def main() -> int:
    """Begin the two processes and pass on how they ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each way in each round")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.rounds, asked.seconds, asked.output)
        return 0
    print(
        "| network | 1×1: ms per step | speed of 1×2 | 2×1 | DDP | CPU cost of 1×2 | 2×1 | DDP | gradients, MiB "
        "| their exchange, ms | cores used |"
    )
    print("|" + " --- |" * 11, flush=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run([*launch, __file__, "--worker", *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
