"""The server under load from another process, beside the batch predictor on the same pictures.

    python benchmarks/serve.py [--run RUN] [--pictures DIR] [--seconds 60] [--clients 64] [--output results.json]

Without a run, one of resnet18 with random weights at 224 pixels is made; without pictures, 64 JPEGs of 500×375.
Everything is on 127.0.0.1 and bounded in time: about three times --seconds.

- Throughput: predictor, server, server, predictor: a quarter, a half, a half and a quarter of --seconds. While the
  server has its turn, --clients connections each send one picture after the other. The load comes from this process
  and takes its share of the same cores, which the predictor does not pay.
- Processor milliseconds per picture of both, with all their processes: they hold also where others use the machine.
- Health: asked every 50 ms all the while by a process of its own (pulse.py), beside what a pause of 50 ms took too long
  there: as late as that comes whoever wants a core of this machine. Memory: resident, of the server and its children
  (what they share counts several times), after a tenth of the server's first turn and at the end.
- Slow senders: p99 of 8 clients alone, beside 100 connections that send a byte per second, again, and alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from saccade.threads import calm_threads

calm_threads()

import numpy as np
from PIL import Image

from saccade.api import Classifier, load
from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.presets import make_recipe
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork

_SLOW = 100
_GOOD = 8
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Turn(NamedTuple):
    """What clients saw: statuses, seconds per answer, and how long all went on."""

    statuses: Counter[int]
    waits: list[float]
    seconds: float

    @property
    def rate(self) -> float:
        """Pictures answered per second."""
        return self.statuses[200] / self.seconds


class Work(NamedTuple):
    """Pictures per second, and processor milliseconds per picture."""

    rate: float
    cpu: float


def main() -> None:
    """Measure, print, write."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = arguments.run or _random_run(folder)
        paths = sorted(arguments.pictures.rglob("*.jpg"))[:256] if arguments.pictures else _photographs(folder)
        with _server(run) as (process, port):
            found = asyncio.run(_measure(load(run), paths, (process.pid, port), arguments))
    print(json.dumps(found, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


async def _measure(
    classifier: Classifier, paths: Sequence[Path], server: tuple[int, int], arguments: argparse.Namespace
) -> dict[str, Any]:
    pid, port = server
    bodies = [path.read_bytes() for path in paths]
    seconds, clients = arguments.seconds, arguments.clients
    classifier.predict(list(paths[:16]))  # the children that decode are there
    await _load(port, bodies, clients, 1)
    alone = [await asyncio.to_thread(_predictor, classifier, paths, seconds / 4, pid)]
    reading = asyncio.create_task(_memory_after(pid, seconds / 20))
    before, pulse = _cpu(_processes(pid)), _pulse(port)
    turns = [await _load(port, bodies, clients, seconds / 2) for _ in range(2)]
    health = json.loads((await asyncio.to_thread(pulse.communicate, ""))[0])
    cpu = (_cpu(_processes(pid)) - before) / sum(turn.statuses[200] for turn in turns)
    memory = await reading, _memory(pid)
    alone.append(await asyncio.to_thread(_predictor, classifier, paths, seconds / 4, pid))
    served, predicted = [turn.rate for turn in turns], [work.rate for work in alone]
    costs = [work.cpu for work in alone]
    waits = sorted(wait for turn in turns for wait in turn.waits)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "statuses": dict(turns[0].statuses + turns[1].statuses),
        "pictures_per_second": {"predictor": _rounded(predicted, 1), "server": _rounded(served, 1)},
        "share_of_predictor": round(statistics.mean(served) / statistics.mean(predicted), 3),
        "cpu_milliseconds_per_picture": {"predictor": _rounded(costs, 1), "server": round(cpu, 1)},
        "share_of_predictor_by_cpu": round(statistics.mean(costs) / cpu, 3),
        "seconds_per_answer": {"median": round(statistics.median(waits), 4), "p99": _p99(waits)},
        "health_seconds": _spread(health["health"]),
        "bystander_late_seconds": _spread(health["late"]),
        "megabytes": {"begin": memory[0] // 2**20, "end": memory[1] // 2**20},
        "slow_senders": await _beside_slow_senders(port, bodies, seconds / 4),
    }


async def _beside_slow_senders(port: int, bodies: Sequence[bytes], seconds: float) -> dict[str, float]:
    alone, beside = [], []
    for slow in (False, True, True, False):
        async with _slow_senders(port, _SLOW if slow else 0):
            turn = await _load(port, bodies, _GOOD, seconds)
        (beside if slow else alone).append(_p99(turn.waits))
    return {"p99_alone": min(alone), "p99_beside": min(beside), "ratio": round(min(beside) / min(alone), 2)}


@asynccontextmanager
async def _slow_senders(port: int, count: int) -> AsyncIterator[None]:
    async def send_slowly() -> None:
        while True:  # the server ends each after a while; then it comes again
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            with suppress(ConnectionError):
                for byte in _request(port, b"x" * 100):
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
            writer.close()

    tasks = [asyncio.create_task(send_slowly()) for _ in range(count)]
    await asyncio.sleep(0.5)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _load(port: int, bodies: Sequence[bytes], clients: int, seconds: float) -> Turn:
    turn = Turn(Counter(), [], 0.0)
    requests = [_request(port, body) for body in bodies]
    began = time.perf_counter()
    until = began + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            number += 1
            asked = time.perf_counter()
            turn.statuses[await _ask(reader, writer, requests[number % len(requests)])] += 1
            turn.waits.append(time.perf_counter() - asked)
        writer.close()

    await asyncio.gather(*(client(number * 7) for number in range(clients)))
    return turn._replace(seconds=time.perf_counter() - began)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    writer.write(request)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return int(head.split(b" ", 2)[1])


def _request(port: int, body: bytes) -> bytes:
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/jpeg\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _predictor(classifier: Classifier, paths: Sequence[Path], seconds: float, server: int) -> Work:
    own = _processes(os.getpid()) - {server}
    began, before, num_pictures = time.perf_counter(), _cpu(own), 0
    while time.perf_counter() < began + seconds:
        num_pictures += len(classifier.predict(list(paths)))
    return Work(num_pictures / (time.perf_counter() - began), (_cpu(own) - before) / num_pictures)


def _pulse(port: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("pulse.py")), str(port)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def _server(run: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "saccade", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline().strip().rstrip("/").rpartition(":")[2])
        finally:
            process.terminate()


async def _memory_after(pid: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return _memory(pid)


def _processes(pid: int) -> set[int]:
    """A process and its children, whichever thread began them."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {pid, *(int(child) for task in tasks for child in (task / "children").read_text().split())}


def _memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    return _PAGE * sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in _processes(pid))


def _cpu(pids: set[int]) -> float:
    """Processor milliseconds, of the user and the system, until now."""
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return 1000 * sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def _rounded(numbers: Sequence[float], digits: int) -> list[float]:
    return [round(number, digits) for number in numbers]


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(seconds), 4), "p99": _p99(seconds), "worst": round(max(seconds), 4)}


def _p99(waits: Sequence[float]) -> float:
    return round(float(np.quantile(waits, 0.99)), 4)


def _random_run(folder: Path) -> Path:
    run = RunFolder.create(folder, "random")
    run.write_recipe(make_recipe("scratch", {"model": "resnet18"}))
    network = build_network(NetworkSpec("resnet18", 10, 224), 0).eval()
    names = tuple(f"class {number}" for number in range(10))
    run.save_weights("best", TrainedNetwork(network, names, Preparation(224, 3, "squash", DecodeRules())))
    return run.path


def _photographs(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:02}.jpg" for number in range(64)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


if __name__ == "__main__":
    main()
