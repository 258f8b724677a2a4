"""Work on untrusted files, in child processes: one that crashes or hangs costs its own item and nothing else.

A child is a bare interpreter that imports what it is sent and no more, so it is ready in a fifth of a second; it needs
no __main__ guard in the user's script, and inherits neither threads nor CUDA, as a fork would.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, Generic, NamedTuple, Self, TypeVar

from saccade.data.child import READY, Failed, Orders, receive, send
from saccade.errors import ResourceError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_LARGEST_CHUNK = 64  # items a child is given at a time: few enough for a lively progress bar, enough to be cheap
_ROUNDS = 32  # that each child comes for more, at least: they are then done at about the same time
_WORTH_A_CHILD = 8  # items: to start another child takes as long as some of them
_AHEAD = 3  # chunks handed out per child; no more results than that wait in memory
_START = "import sys; sys.path[:] = {path!r}; from saccade.data.child import serve; serve()"


class Task(NamedTuple, Generic[ItemT, ResultT]):
    """What is done in children.

    Attributes:
        run: takes a few items and yields a result for each, in order; a child must be able to import it.
        lost: the result that stands for an item which no child survived.
        seconds: that one item may take.
    """

    run: Callable[[Sequence[ItemT]], Iterator[ResultT]]
    lost: Callable[[ItemT], ResultT]
    seconds: float


class Children:
    """Some child processes, started when they are needed and ended with the `with` block."""

    def __init__(self, num_children: int) -> None:
        self._num_children = num_children
        self._all: list[_Child] = []
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        self._threads = ThreadPoolExecutor(num_children)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._all:
            child.end()
        self._threads.shutdown(wait=True)
        for child in self._all:
            child.close()

    def results(self, task: Task[ItemT, ResultT], items: Sequence[ItemT]) -> Generator[ResultT]:
        """One result per item, in order.

        An item during which its child died, or had to be ended, is tried once more in a fresh one, then it is lost.

        Args:
            task: what to do.
            items: with what.

        Raises:
            ResourceError: a child cannot be started.
            Exception: whatever `task.run` raised.
        """
        self._start(min(self._num_children, math.ceil(len(items) / _WORTH_A_CHILD)))
        size = min(_LARGEST_CHUNK, math.ceil(len(items) / (_ROUNDS * len(self._all)))) if items else 1
        yield from self._in_order(task, (items[start : start + size] for start in range(0, len(items), size)))

    def stream(self, task: Task[ItemT, ResultT], items: Iterable[ItemT], size: int) -> Generator[ResultT]:
        """The same for any number of items, which are taken as they are needed; children are started as they come.

        Args:
            task: what to do.
            items: with what; at most `_AHEAD` times `size` per child are taken ahead of the results.
            size: how many a child is given at a time.

        Raises:
            ResourceError, Exception: as `results`; and whatever `items` raises.
        """
        several = iter(items)

        def chunks() -> Iterator[list[ItemT]]:
            while chunk := list(islice(several, size)):
                self._start(min(self._num_children, len(self._all) + 1))
                yield chunk

        yield from self._in_order(task, chunks())

    def _in_order(self, task: Task[ItemT, ResultT], chunks: Iterator[Sequence[ItemT]]) -> Generator[ResultT]:
        waiting: deque[Future[list[ResultT]]] = deque()
        while True:
            while len(waiting) < max(1, _AHEAD * len(self._all)) and (chunk := next(chunks, None)) is not None:
                waiting.append(self._threads.submit(self._run, task, chunk))
            if not waiting:
                return
            yield from waiting.popleft().result()

    def _start(self, num_children: int) -> None:
        while len(self._all) < max(1, num_children):
            self._all.append(_Child())
            self._idle.put(self._all[-1])

    def _run(self, task: Task[ItemT, ResultT], items: Sequence[ItemT]) -> list[ResultT]:
        child = self._idle.get()
        found: list[ResultT] = []
        tried, crashed = -1, False
        try:
            while len(found) < len(items):
                try:
                    for results in child.results(Orders(task.run, items[len(found) :], task.seconds, crashed)):
                        found += results
                except (EOFError, OSError):
                    child.restart()
                    if not crashed:  # one by one from now on, so that it is known which item it was
                        crashed = True
                        continue
                    if tried == len(found):
                        found.append(task.lost(items[tried]))
                    else:
                        tried = len(found)
        finally:
            self._idle.put(child)
        return found


class _Child:
    """One process, and the pipes to it."""

    def __init__(self) -> None:
        self._ended = False
        self._begin()

    def _begin(self) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", _START.format(path=sys.path)]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe)  # noqa: S603 - this interpreter, own code
        self._is_ready = False

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        to, from_ = self._process.stdin, self._process.stdout
        if to is None or from_ is None:
            raise ValueError("a child is always started with pipes")
        return to, from_

    def results(self, orders: Orders) -> Iterator[list[Any]]:
        """A list of results for the next items at a time, as they come.

        Raises:
            EOFError, OSError: the process has died.
        """
        to, from_ = self._pipes()
        if not self._is_ready:
            self._wait_until_ready()
        send(to, orders)
        num_found = 0
        while num_found < len(orders.items):
            results = receive(from_)
            if isinstance(results, Failed):
                raise results.error
            num_found += len(results)
            yield results

    def _wait_until_ready(self) -> None:
        try:
            self._is_ready = receive(self._pipes()[1]) == READY
        except EOFError:
            if self._ended:
                raise
            raise ResourceError(
                "a process to decode pictures in cannot be started",
                where=f"{sys.executable}, exit code {self._process.wait()}",
                remedy="look at what it said above; free some memory, or use fewer --workers",
            ) from None

    def restart(self) -> None:
        """Another process in its place."""
        if self._ended:
            raise EOFError
        self.close()
        self._begin()

    def end(self) -> None:
        """No process any more."""
        self._ended = True
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and close the pipes, which nobody may be using any more."""
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes():
            with suppress(OSError):
                pipe.close()
