"""Processes for tests in half a second, not five: forks of one that has torch and the rest in memory.

    QUICK_FORKS=SOCKET python tests/quick/forks.py

`python` beside this file is used in place of an interpreter: it hands on its arguments, folder, environment, standard
streams and signals. A test that asks what a process loads, what memory it takes or how it begins needs a real one.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

LOADED = (
    "torch._dynamo",
    "sklearn.linear_model",
    "scipy.stats",
    "matplotlib.backends.backend_svg",
    "saccade.cli",
    "saccade.commands.train",
    "saccade.pipeline",
    "saccade.compare",
    "saccade.use.answer",
    "saccade.use.opened",
    "saccade.use.serve",
    "saccade.use.serve_child",
    "saccade.use.report",
)


class Job(NamedTuple):
    """What a new process is to run, and what it has to let go of."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    descriptors: list[int]


def wait_for_job(listening: socket.socket) -> Job:
    """Fork for every request, until nobody holds the other end of standard input; returns in a forked process only."""
    waking, woken = socket.socketpair()
    for end in (waking, woken):
        end.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector, running = selectors.DefaultSelector(), dict[int, socket.socket]()
    selector.register(listening, selectors.EVENT_READ)
    selector.register(waking, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            connection: Any = key.fileobj
            if connection is listening:
                connection, _ = listening.accept()
                job = _read(connection)
                if job is None:
                    continue
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    selector.close()
                    for each in (listening, waking, woken, connection, *running.values()):
                        each.close()
                    return job
                running[pid] = connection
                selector.register(connection, selectors.EVENT_READ, pid)
                for descriptor in job.descriptors:
                    os.close(descriptor)
            elif connection is sys.stdin:
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                raise SystemExit
            elif connection is waking:
                with suppress(BlockingIOError):
                    waking.recv(4096)
                _bury(selector, running)
            else:
                with suppress(OSError):  # it has ended a moment ago
                    for number in connection.recv(64) or [signal.SIGKILL]:
                        os.kill(key.data, number)


def _read(connection: socket.socket) -> Job | None:
    """What is asked for; None where who asked was killed meanwhile."""
    size, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
    asked, missing = b"", int.from_bytes(size, "big")
    while size and len(asked) < missing and (more := connection.recv(missing - len(asked))):
        asked += more
    if size and len(asked) == missing:
        return Job(*json.loads(asked).values(), descriptors)
    connection.close()
    for descriptor in descriptors:
        os.close(descriptor)
    return None


def _bury(selector: selectors.BaseSelector, running: dict[int, socket.socket]) -> None:
    """Tell those who wait how their processes have ended."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            connection = running.pop(pid)
            selector.unregister(connection)
            with suppress(OSError):
                connection.sendall(status.to_bytes(4, "big"))
            connection.close()


def become(job: Job) -> None:
    """Make the forked process look as if an interpreter had begun with these arguments, and run them."""
    for wanted, descriptor in enumerate(job.descriptors):
        os.dup2(descriptor, wanted)
        os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(job.folder)
    os.environ.clear()
    os.environ.update(job.environment)
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = os.fdopen(0, "r", encoding=encoding, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding=encoding, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding=encoding, errors="backslashreplace", closefd=False)
    if "OMP_NUM_THREADS" in os.environ:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sys.executable, *words = job.arguments
    if words[0] == "-u":  # from torchrun
        words.pop(0)
    kind = words.pop(0) if words[0] in ("-c", "-m") else ""
    what, *rest = words
    sys.argv = ["-c" if kind == "-c" else what, *rest]
    sys.path[0] = {"": str(Path(what).resolve().parent), "-c": "", "-m": job.folder}[kind]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), main.__dict__)  # noqa: S102 - what `python -c` does
    else:
        runpy.run_path(what, run_name="__main__")


for name in LOADED:
    import_module(name)
gc.collect()
gc.freeze()
if Path("/proc/self/task").exists() and len(list(Path("/proc/self/task").iterdir())) > 1:
    raise SystemExit("a process with threads cannot be forked safely")
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waiting:
    waiting.bind(os.environ["QUICK_FORKS"])
    waiting.listen(64)
    print("ready", flush=True)
    todo = wait_for_job(waiting)
become(todo)
