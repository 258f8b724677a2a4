"""The server without HTTP: which model answers, who may still come in, what happens when weights change or one dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saccade.data.cells import printable
from saccade.errors import PictureError, ResourceError, SaccadeError
from saccade.use.serve_batching import Asked, Batcher
from saccade.use.serve_messages import Answer, AskHeat, Facts, HeatPicture, Options
from saccade.use.serve_metrics import Metrics
from saccade.use.serve_pictures import Decoders, num_processors
from saccade.use.serve_problems import busy
from saccade.use.serve_worker import WorkerError
from saccade.use.squares import Encoded

_LOG = logging.getLogger("saccade.serve")
_LOOK_SECONDS = 0.25  # between two looks at the process and at the file of weights
_LONGEST_PAUSE = 30.0  # between two tries to start a process that does not start
_DECODE_SECONDS = 10.0
OUT_OF_MEMORY = "out_of_memory"
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Row:
    """What became of one picture: an answer, or a reason code and words."""

    name: str
    answer: Answer | None
    reason: str = ""
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain values, like those of `saccade predict --json`."""
        guesses = [{"class_name": name, "probability": share} for name, share in self.answer[0]] if self.answer else []
        if self.answer is None:
            return {"name": self.name, "guesses": guesses, "reason": self.reason, "detail": printable(self.detail)}
        return {"name": self.name, "guesses": guesses, "sure": self.answer.sure}


class Service:
    """Everything that requests share.

    Args:
        start: loads the model and gives the process that holds it; called again when weights change or it died.
        options: see there.
    """

    def __init__(self, start: Callable[[], Asked], options: Options) -> None:
        self.options, self.metrics = options, Metrics()
        self.stopping = False
        self.trouble = "the model is being loaded"
        self.num_pictures = self.num_requests = 0
        self._start = start
        self._current: Batcher | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self._facts: Facts | None = None
        self._stamp: Stamp | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._decoders = Decoders(num_processors(), _DECODE_SECONDS, options.limits.pixels)
        self.metrics.watch(lambda: self.num_pictures, lambda: self.is_ready)

    @property
    def facts(self) -> Facts:
        """About the model that answers, or that answered last.

        Raises:
            Refusal: none was ever loaded.
        """
        if self._facts is None:
            raise busy("not_ready", self.trouble)
        return self._facts

    @property
    def model_hash(self) -> str:
        """Of the model that answers."""
        return self._facts.model if self._facts else ""

    @property
    def is_ready(self) -> bool:
        """Whether pictures are taken."""
        return not self.stopping and self._current is not None and self._current.is_alive

    async def open(self) -> None:
        """Load the model for the first time.

        Raises:
            SaccadeError: it cannot be served.
        """
        worker = await asyncio.to_thread(self._start)
        await self._decoders.warm_up(worker.facts.preparation)
        self._take(worker, _stamp(worker.facts.weights_path))
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """End all processes."""
        if self._watcher is not None:
            self._watcher.cancel()
        for task in self._retired:
            task.cancel()
        if self._current is not None:
            await self._current.close()
        await asyncio.to_thread(self._decoders.close)

    async def drain(self) -> None:
        """Take no more pictures, and wait until those that are here are answered, or their time is over."""
        self.stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self.options.limits.drain_seconds):
                while self.num_requests:
                    await asyncio.sleep(0.02)

    async def predict(self, uploads: Sequence[Encoded], top: int) -> tuple[Facts, list[Row]]:
        """A row per picture, in order, and the model that gave them.

        Raises:
            Refusal: too many pictures are on their way, or an answer would take too long.
            WorkerError: the process with the network has died meanwhile.
        """
        with self._admit(len(uploads)) as batcher:
            async with self._deadline():
                rows = await asyncio.gather(*(self._row(batcher, upload, top) for upload in uploads))
        for row in rows:
            sure = "answered" if row.answer is None or row.answer.sure else "not_sure"
            self.metrics.pictures.labels(row.reason or sure).inc()
        return batcher.facts, rows

    async def heat(self, upload: Encoded, method: str, class_name: str) -> tuple[Facts, HeatPicture]:
        """Where the network looks, and which model that is.

        Raises:
            PictureError: the picture cannot be used.
            UsageError: there is no such class.
            Refusal, WorkerError: as for `predict`.
        """
        with self._admit(1) as batcher:
            async with self._deadline():
                square = await self._decoders.prepare(upload, batcher.facts.preparation)
                return batcher.facts, await batcher.heat(AskHeat(square, method, class_name))

    async def _row(self, batcher: Batcher, upload: Encoded, top: int) -> Row:
        try:
            square = await self._decoders.prepare(upload, batcher.facts.preparation)
        except PictureError as error:
            return Row(upload.name, None, error.reason, error.what)
        try:
            return Row(upload.name, await batcher.answer(square, top))
        except WorkerError:
            raise
        except ResourceError as error:
            return Row(upload.name, None, OUT_OF_MEMORY, error.what)

    @contextmanager
    def _admit(self, num_pictures: int) -> Iterator[Batcher]:
        """The model for a request, while there is room for its pictures."""
        batcher = self._current
        if batcher is None or not batcher.is_alive:
            raise busy("not_ready", self.trouble)
        if self.num_pictures and self.num_pictures + num_pictures > self.options.limits.queue:
            raise busy("queue_full", f"{self.num_pictures} pictures are on their way, and no more are taken for now")
        self.num_pictures += num_pictures
        batcher.num_requests += 1
        try:
            yield batcher
        finally:
            self.num_pictures -= num_pictures
            batcher.num_requests -= 1

    @contextmanager
    def working(self) -> Iterator[None]:
        """A request that a stop waits for."""
        self.num_requests += 1
        try:
            yield
        finally:
            self.num_requests -= 1

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        seconds = self.options.limits.compute_seconds
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise busy("deadline", f"no answer was ready within {seconds:g} seconds") from None

    async def _watch(self) -> None:
        """Start the process again when it has died, and load weights when they change."""
        pause = 0.0
        while True:
            await asyncio.sleep(_LOOK_SECONDS + pause)
            if self._current is None or not self._current.is_alive:
                if self._current is not None:
                    self.metrics.restarts.inc()
                    _LOG.warning("the process that held the network has ended; it is started again")
                    self.trouble = "the process with the network is being started again"
                    self._retire(self._current)
                    self._current = None
                pause = 0.0 if await self._try_to_take() else min(_LONGEST_PAUSE, 2 * pause + 1)
            elif _stamp(self.facts.weights_path) not in (self._stamp, None):
                await self._try_to_take()

    async def _try_to_take(self) -> bool:
        """Whether another process could be started; without one, what there was goes on."""
        stamp = _stamp(self.facts.weights_path)
        try:
            self._take(await asyncio.to_thread(self._start), stamp)
        except Exception as error:  # whatever it is, the watch goes on and what there was answers
            self._stamp = stamp  # not tried again until the file changes once more
            self.metrics.reloads.labels("refused").inc()
            self.trouble = error.what if isinstance(error, SaccadeError) else repr(error)
            _LOG.warning("the model cannot be loaded, %s: %s", "the old one stays" if self._current else "none", error)
            return False
        return True

    def _take(self, worker: Asked, stamp: Stamp | None) -> None:
        """Let a process that was tried answer from now on."""
        before = self._current
        self._facts, self._stamp = worker.facts, stamp
        self._current = Batcher(worker, self.options.batch, self.options.wait_seconds, self.metrics)
        self.metrics.reloads.labels("loaded").inc()
        self.metrics.serving(worker.facts.model)
        self.trouble = ""
        _LOG.info("%s answers: %s", worker.facts.name, worker.facts.model)
        if before is not None:
            self._retire(before)

    def _retire(self, batcher: Batcher) -> None:
        task = asyncio.get_running_loop().create_task(_close_when_done(batcher))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)


async def _close_when_done(batcher: Batcher) -> None:
    """Old answers finish first."""
    try:
        while batcher.num_requests:
            await asyncio.sleep(0.05)
    finally:
        await batcher.close()


def _stamp(path: str) -> Stamp | None:
    """What changes when a file is replaced; None while there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
