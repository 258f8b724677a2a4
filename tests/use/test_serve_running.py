"""The server as it runs: slow senders, full queues, deaths, new weights, a stop (FAULTS F1, F3, F8-F10, F14, F16)."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from saccade.api import load
from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation
from saccade.errors import SaccadeError
from saccade.runs import RunFolder
from saccade.use.serve import make_server
from saccade.use.serve_batching import Asked, Batcher
from saccade.use.serve_messages import Answer, AskHeat, Facts, HeatPicture, Limits, Options, Source, Squares
from saccade.use.serve_metrics import Metrics
from saccade.use.serve_service import Service
from saccade.use.serve_worker import Worker

pytestmark = pytest.mark.usefixtures("quick_python")

_PYTHON = sys.executable  # a real one, with its own children and memory
_PATIENCE = 180.0  # a process that loads a network takes seconds of a core: minutes where ten others want one
_PATIENT = Limits(compute_seconds=_PATIENCE)


class SlowWorker:
    """Answers like a process with a network, as slowly as it is told to."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.sizes: list[int] = []
        preparation = Preparation(8, 3, "squash", DecodeRules())
        about = ("sha256:0", "slow", "none", ("cat", "dog"), preparation, 0.0, "cpu", (), "/nowhere", "", 0, 1)
        self.facts = Facts(*about)  # type: ignore[arg-type]  # of a tuple

    @property
    def is_alive(self) -> bool:
        return True

    def answer(self, squares: Sequence[Squares], top: int) -> list[Answer | SaccadeError]:
        self.sizes.append(len(squares))
        time.sleep(self.seconds)
        return [Answer((("cat", 0.75), ("dog", 0.25)), True)] * len(squares)

    def heat(self, asked: AskHeat) -> HeatPicture:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing."""

    def release(self) -> None:
        """Nothing."""


class Running:
    """A server in a thread of its own, on a free port."""

    def __init__(self, service: Service, port: int) -> None:
        self.service, self.port = service, port
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE, limits=httpx.Limits(max_connections=60)
        )

    def connect(self, data: bytes = b"") -> socket.socket:
        """A connection on which so much was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE)
        connection.sendall(data)
        return connection

    def head(self, length: int) -> bytes:
        """The head of a request with one picture."""
        lines = ("POST /v1/predict HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Content-Type: image/png")
        return "\r\n".join((*lines, f"Content-Length: {length}", "", "")).encode()


@contextmanager
def running(start: Callable[[], Asked], options: Options) -> Iterator[Running]:
    found: list[Running] = []
    ready = threading.Event()

    def work() -> None:
        async def main() -> None:
            service = Service(start, options)

            def announce(port: int) -> None:
                found.append(Running(service, port))
                ready.set()

            server = make_server(service, announce)
            servers.append(server)
            await service.open()
            try:
                await server.serve()
            finally:
                await service.close()

        asyncio.run(main())

    servers: list[object] = []
    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(_PATIENCE)
        yield found[0]
    finally:
        for each in found:
            each.client.close()
        for server in servers:
            server.should_exit = True  # type: ignore[attr-defined]
        thread.join(_PATIENCE)
        assert not thread.is_alive()


def until(condition: Callable[[], object], seconds: float = _PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


@pytest.fixture(scope="module")
def picture(colours: Path) -> bytes:
    return (colours / "red" / "03.png").read_bytes()


def _start_real(run: RunFolder) -> Callable[[], Asked]:
    return partial(Worker, Source(str(run.path), "cpu"))


def test_f03_slow_head_and_slow_body_are_ended_and_others_do_not_wait(picture: bytes) -> None:
    limits = Limits(header_seconds=1.0, read_seconds=1.5)
    with running(SlowWorker, Options(port=0, limits=limits)) as server:
        began = time.monotonic()
        heads = [server.connect(b"POST /v1/predict HTTP/1.1\r\nHost: 127") for _ in range(20)]
        silent = server.connect()
        body = server.connect(server.head(1000) + b"x")
        assert server.client.post("/v1/predict", files={"pictures": picture}).status_code == 200
        for connection in heads:
            assert b" 408 " in read_all(connection)
            connection.close()
        assert b" 408 " in read_all(silent)
        answer = read_all(body)
        assert b" 408 " in answer
        assert b"read_timeout" in answer
        assert time.monotonic() - began < 8
        silent.close()
        body.close()


def test_f03_connection_that_idles_between_two_requests_is_ended(picture: bytes) -> None:
    with running(SlowWorker, Options(port=0, limits=Limits(header_seconds=1.0))) as server:
        connection = server.connect(server.head(len(picture)) + picture)
        connection.sendall(b"GET /v1/model")  # the head of the next one never ends
        began = time.monotonic()
        assert b" 200 " in read_all(connection)
        assert time.monotonic() - began < 6
        connection.close()


def test_f03_connections_above_the_cap_are_told_so(picture: bytes) -> None:
    with running(SlowWorker, Options(port=0, limits=Limits(connections=3, header_seconds=20))) as server:
        kept = [server.connect(b"GET") for _ in range(3)]
        with server.connect() as refused:
            assert b" 503 " in read_all(refused)
        kept.pop().close()
        until(lambda: _is_answered(server))
        for connection in kept:
            connection.close()


def _is_answered(server: Running) -> bool:
    with server.connect(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()) as connection:
        return b" 200 " in connection.recv(1000)


def test_f01_endless_upload_is_cut_off_in_constant_memory() -> None:
    limits = Limits(body_bytes=2_000_000)
    with running(SlowWorker, Options(port=0, limits=limits)) as server:
        lines = ("POST /v1/predict HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Content-Type: image/png")
        connection = server.connect("\r\n".join((*lines, "Transfer-Encoding: chunked", "", "")).encode())
        piece, sent = b"10000\r\n" + b"x" * 65536 + b"\r\n", 0
        connection.settimeout(5)
        try:
            for _ in range(20_000):  # 1.3 GB
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        assert sent < 100_000_000  # it was cut off, after a while in which the answer could be read
        connection.close()
        assert server.client.get("/healthz").status_code == 200


def test_f08_queue_that_is_full_says_when_to_come_back_and_health_answers(picture: bytes) -> None:
    worker = SlowWorker(1.0)
    options = Options(port=0, batch=4, limits=Limits(queue=12))
    with running(lambda: worker, options) as server, ThreadPoolExecutor(40) as pool:
        post = partial(server.client.post, "/v1/predict", files={"pictures": picture})
        asked = [pool.submit(post) for _ in range(200)]
        waits = []
        while not all(each.done() for each in asked):
            began = time.monotonic()
            assert server.client.get("/healthz").status_code == 200
            waits.append(time.monotonic() - began)
            time.sleep(0.02)
        answers = [each.result() for each in asked]
    found = {answer.status_code for answer in answers}
    assert found == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["reason"] == "queue_full"
    assert int(refused.headers["retry-after"]) >= 1
    assert max(worker.sizes) == 4  # gathered, and never more than a batch
    assert max(waits) < 1.0  # less than one batch: the loop does not wait for the network
    assert sorted(waits)[len(waits) // 2] < 0.1


def test_pictures_that_would_begin_another_unit_wait_for_more(picture: bytes) -> None:
    worker = SlowWorker(0.5)
    worker.facts = worker.facts._replace(unit=4)
    with running(lambda: worker, Options(port=0, batch=9)) as server, ThreadPoolExecutor(14) as pool:
        post = partial(server.client.post, "/v1/predict", files={"pictures": picture})
        first = pool.submit(post)
        until(lambda: worker.sizes)  # while it runs, 13 others gather
        others = [pool.submit(post) for _ in range(13)]
        until(lambda: server.service.num_pictures == 14)
        assert {each.result().status_code for each in (first, *others)} == {200}
    assert worker.sizes[0] == 1
    assert sum(worker.sizes) == 14
    assert all(size % 4 == 0 for size in worker.sizes[1:] if size > 4)


def test_answers_to_a_batch_go_out_one_by_one_so_that_others_are_heard() -> None:
    worker, num_pictures = SlowWorker(), 24
    rounds, heard = 0, []

    async def main() -> None:
        batcher = Batcher(worker, num_pictures, 0.0, Metrics())

        async def ask() -> None:
            await batcher.answer(np.zeros((8, 8, 3), np.uint8), 1)
            heard.append(rounds)

        async def others() -> None:
            nonlocal rounds
            while True:
                rounds += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        await asyncio.gather(*(ask() for _ in range(num_pictures)))
        beside.cancel()
        await batcher.close()

    asyncio.run(main())
    assert worker.sizes == [num_pictures]
    assert len(set(heard)) == num_pictures  # others had their turn after each


def test_answer_that_takes_too_long_is_given_up(picture: bytes) -> None:
    with running(lambda: SlowWorker(1.0), Options(port=0, limits=Limits(compute_seconds=0.3))) as server:
        answer = server.client.post("/v1/predict", files={"pictures": picture})
        assert (answer.status_code, answer.json()["reason"]) == (503, "deadline")
        assert server.service.num_pictures == 0


def test_f09_work_for_a_client_who_left_is_given_up_without_an_error(
    picture: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    worker = SlowWorker(0.5)
    with running(lambda: worker, Options(port=0, batch=1)) as server, caplog.at_level(logging.WARNING):
        left = [server.connect(server.head(len(picture)) + picture) for _ in range(6)]
        until(lambda: server.service.num_pictures == 6 and worker.sizes)
        for connection in left:
            connection.close()
        until(lambda: server.service.num_pictures == 0, 5)
        time.sleep(1.2)
        assert len(worker.sizes) <= 2  # the one that ran, and at most one that was handed over
    assert not caplog.records


def test_f10_killed_process_is_started_again(finished: RunFolder, picture: bytes) -> None:
    with running(_start_real(finished), Options(port=0, limits=_PATIENT)) as server, ThreadPoolExecutor(1) as pool:
        post = partial(server.client.post, "/v1/predict", files={"pictures": picture})
        before = post().json()
        victim = server.service.facts.process
        os.kill(victim, signal.SIGSTOP)
        on_its_way = pool.submit(post)
        until(lambda: server.service.num_pictures == 1)
        time.sleep(0.3)
        os.kill(victim, signal.SIGKILL)
        lost = on_its_way.result()
        assert (lost.status_code, lost.json()["reason"]) == (503, "unavailable")
        assert server.client.get("/readyz").status_code == 503
        assert post().status_code == 503
        until(lambda: server.client.get("/readyz").status_code == 200)
        assert server.service.facts.process != victim
        assert post().json() == before
        assert "saccade_restarts_total 1.0" in server.client.get("/metrics").text


def test_f14_new_weights_take_over_and_damaged_ones_do_not(finished: RunFolder, picture: bytes, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "reloaded")))
    with running(_start_real(run), Options(port=0, limits=_PATIENT)) as server:
        post = partial(server.client.post, "/v1/predict", files={"pictures": picture})
        old = post().json()
        other = run.load()
        with torch.no_grad():
            for parameter in other.network.head.parameters():
                parameter.mul_(0.5)
        run.save_weights("best", other)
        num_asked, new, began = 0, old, time.monotonic()
        while new["model"] == old["model"]:
            answer = post()
            assert answer.status_code == 200  # the old one answers until the new one can
            new, num_asked = answer.json(), num_asked + 1
            assert time.monotonic() - began < _PATIENCE, server.client.get("/readyz").text
            if new["model"] == old["model"]:
                assert new == old
                time.sleep(0.1)
        assert num_asked > 1
        expected = load(run.path, device="cpu").predict(_written(tmp_path, picture))[0]
        assert new["predictions"][0]["guesses"] == [guess._asdict() for guess in expected.guesses]
        run.best_path.write_bytes(run.best_path.read_bytes()[:-1000])
        until(lambda: 'saccade_reloads_total{outcome="refused"} 1.0' in server.client.get("/metrics").text)
        assert post().json() == new
        ready = server.client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["trouble"]


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "picture.png"
    path.write_bytes(data)
    return path


def test_f16_stop_finishes_what_runs_and_takes_no_more(finished: RunFolder, picture: bytes) -> None:
    with _command(finished) as (process, address), httpx.Client(base_url=address, timeout=_PATIENCE) as client:
        port = httpx.URL(address).port
        lines = ("POST /v1/predict HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: image/png")
        head = "\r\n".join((*lines, f"Content-Length: {len(picture)}", "", "")).encode()
        connection = socket.create_connection(("127.0.0.1", port or 0), timeout=_PATIENCE)
        connection.sendall(head + picture[:10])  # this one is on its way
        assert client.get("/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        until(lambda: client.get("/readyz").status_code == 503)
        refused = client.post("/v1/predict", files={"pictures": picture})
        assert (refused.status_code, refused.json()["reason"]) == (503, "stopping")
        connection.sendall(picture[10:])
        assert b" 200 OK" in read_all(connection)
        connection.close()
        assert process.wait(_PATIENCE) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@contextmanager
def _command(run: RunFolder, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [_PYTHON, "-m", "saccade", "serve", str(run.path), "--port", "0", "--device", "cpu", *flags]
    pipes = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipes, stderr=pipes, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://"), process.stderr.read() if process.stderr else ""
            yield process, address
        finally:
            if process.poll() is None:
                process.kill()


def test_stop_by_ctrl_c_leaves_no_process_behind(finished: RunFolder) -> None:
    with _command(finished, "--quiet") as (process, address):
        children = _children(process.pid)
        assert len(children) >= 2
        assert httpx.get(f"{address}healthz").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(_PATIENCE) == 130
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 5)


def _children(parent: int) -> list[str]:
    return [
        child for task in Path(f"/proc/{parent}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def test_killed_server_leaves_no_process_behind(finished: RunFolder) -> None:
    with _command(finished) as (process, _):
        children = _children(process.pid)
        process.kill()
        process.wait(_PATIENCE)
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 10)


def test_command_says_in_a_sentence_that_a_port_is_taken(finished: RunFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "saccade", "serve", str(finished.path), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert "cannot be listened on" in done.stderr
    assert "Traceback" not in done.stderr


def test_collector_of_garbage_leaves_alone_what_the_server_has_loaded() -> None:
    script = """
import gc, time
from saccade.use.serve import spare_the_collector

def seconds():
    took = []
    for _ in range(5):
        began = time.process_time()
        gc.collect()
        took.append(time.process_time() - began)
    return min(took)

before = seconds()
spare_the_collector()
print(before / seconds())
"""
    done = subprocess.run([_PYTHON, "-c", script], capture_output=True, text=True, timeout=_PATIENCE, check=True)
    assert float(done.stdout) > 10


def test_command_makes_up_a_token_where_others_can_ask(finished: RunFolder) -> None:
    with _command(finished, "--host", "0.0.0.0", "--quiet") as (_, address):
        token = httpx.URL(address).fragment.removeprefix("token=")
        assert len(token) >= 32
        local = address.replace("0.0.0.0", "127.0.0.1").partition("#")[0]
        assert httpx.get(f"{local}v1/model").status_code == 401
        assert httpx.get(f"{local}v1/model", headers={"authorization": f"Bearer {token}"}).status_code == 200
