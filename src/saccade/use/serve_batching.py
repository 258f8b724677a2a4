"""Pictures of many requests are gathered into batches for one process that holds the network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from saccade.errors import SaccadeError
from saccade.use.serve_messages import Answer, AskHeat, Facts, HeatPicture, Squares
from saccade.use.serve_metrics import Metrics

ResultT = TypeVar("ResultT")
# A batch that takes longer than this hangs: the process is ended and another one started.
_HANGS_SECONDS = 60.0


class Asked(Protocol):
    """Who holds the network: `serve_worker.Worker`, or something that answers like it."""

    facts: Facts

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked."""

    def answer(self, squares: Sequence[Squares], top: int) -> list[Answer | SaccadeError]:
        """An answer per square, or why there is none."""

    def heat(self, asked: AskHeat) -> HeatPicture:
        """Where the network looks."""

    def close(self) -> None:
        """Answer no more."""

    def release(self) -> None:
        """The last call."""


class _Job(NamedTuple):
    square: Squares
    top: int
    future: asyncio.Future[Answer]


class Batcher:
    """One loaded network, and the pictures that wait for it.

    A request keeps the batcher that it began with, so that another model may take over in between: its answers come
    from the model for which its pictures were made.

    Args:
        worker: the network's process.
        batch: pictures that it is given at once, at most.
        wait_seconds: that the first of them waits for others.
        metrics: that are kept.
    """

    def __init__(self, worker: Asked, batch: int, wait_seconds: float, metrics: Metrics) -> None:
        self.worker = worker
        self.facts: Facts = worker.facts
        self.num_requests = 0
        self._batch, self._wait_seconds, self._metrics = batch, wait_seconds, metrics
        self._left_over: list[_Job] = []
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._lane = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._handing_out: set[asyncio.Task[None]] = set()
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.worker.is_alive

    async def answer(self, square: Squares, top: int) -> Answer:
        """What the network says about a picture.

        Raises:
            WorkerError: its process has died.
            ResourceError: there is not memory enough for it.
        """
        job = _Job(square, top, asyncio.get_running_loop().create_future())
        self._jobs.put_nowait(job)
        return await job.future

    async def heat(self, asked: AskHeat) -> HeatPicture:
        """Where the network looks; in turn with the batches."""
        return await self._in_lane(partial(self.worker.heat, asked))

    async def close(self) -> None:
        """End the process. Nobody may be waiting any more."""
        self._task.cancel()
        self.worker.close()
        await asyncio.to_thread(self._lane.shutdown)
        self.worker.release()

    async def _run(self) -> None:
        while True:
            jobs = [job for job in await self._gather() if not job.future.done()]  # the others have gone away
            if not jobs:
                continue
            self._metrics.batch_sizes.observe(len(jobs))
            began = time.perf_counter()
            found: Sequence[Answer | Exception]
            try:
                top = max(job.top for job in jobs)
                squares = [job.square for job in jobs]
                found = await self._in_lane(partial(self.worker.answer, squares, top))
            except Exception as error:
                found = [error] * len(jobs)
            self._metrics.batch_seconds.observe(time.perf_counter() - began)
            task = asyncio.create_task(_hand_out(jobs, found))  # the next batch need not wait for it
            self._handing_out.add(task)
            task.add_done_callback(self._handing_out.discard)

    async def _gather(self) -> list[_Job]:
        """The next batch. What would begin another unit, without filling it, waits for more as long as one runs."""
        jobs = self._left_over or [await self._jobs.get()]
        try:
            async with asyncio.timeout(0 if self._left_over else self._wait_seconds):
                while len(jobs) < self._batch:
                    jobs.append(self._jobs.get_nowait() if not self._jobs.empty() else await self._jobs.get())
        except TimeoutError:
            pass
        unit = self.facts.unit
        whole = len(jobs) - len(jobs) % unit if len(jobs) > unit else len(jobs)
        self._left_over = jobs[whole:]
        return jobs[:whole]

    async def _in_lane(self, work: Callable[[], ResultT]) -> ResultT:
        """In the one thread that talks to the process."""
        future = asyncio.get_running_loop().run_in_executor(self._lane, work)
        done, _ = await asyncio.wait([future], timeout=_HANGS_SECONDS)
        if not done:
            self.worker.close()
        return await future


async def _hand_out(jobs: Sequence[_Job], found: Sequence[Answer | Exception]) -> None:
    """One after the other: answers to a whole batch, written at once, were a tenth of a second in which nobody else
    was heard."""
    for job, answer in zip(jobs, found, strict=True):
        if job.future.done():
            continue
        if isinstance(answer, Exception):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer._replace(guesses=answer.guesses[: job.top]))
        await asyncio.sleep(0)
