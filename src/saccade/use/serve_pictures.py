"""Pictures that strangers send, decoded in child processes: what crashes its decoder costs itself alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from typing import NamedTuple

from saccade.data.children import Children, Task
from saccade.data.prepare import Preparation
from saccade.errors import PictureError
from saccade.use.serve_messages import Squares
from saccade.use.squares import Encoded, read_squares


class _Item(NamedTuple):
    upload: Encoded
    preparation: Preparation


class Decoders:
    """A few child processes that make squares of pictures.

    Args:
        num_children: that work at the same time.
        seconds: that a picture may take; it has two tries.
        pixels: of one picture, at most; a run's own limit counts where it is lower.
    """

    def __init__(self, num_children: int, seconds: float, pixels: int) -> None:
        self._pixels = pixels
        self._task: Task[_Item, Squares | PictureError] = Task(prepare_each, _lost, seconds)
        self._all = [Children(1) for _ in range(num_children)]
        self._idle: SimpleQueue[Children] = SimpleQueue()
        for children in self._all:
            self._idle.put(children)
        self._threads = ThreadPoolExecutor(num_children, thread_name_prefix="decoder")

    async def warm_up(self, preparation: Preparation) -> None:
        """Start the children before somebody waits for them."""
        nothing = _Item(Encoded("nothing", b""), preparation)
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, self._run, nothing) for _ in self._all))

    async def prepare(self, upload: Encoded, preparation: Preparation) -> Squares:
        """What the network is given, uint8 (side, side, C).

        Raises:
            PictureError: with a reason code, when the file cannot be used.
        """
        rules = preparation.rules
        limited = replace(preparation, rules=replace(rules, max_pixels=min(rules.max_pixels, self._pixels)))
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self._run, _Item(upload, limited))
        if isinstance(found, PictureError):
            raise found
        return found

    def close(self) -> None:
        """End the children."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for children in self._all:
            children.__exit__(None, None, None)
        self._threads.shutdown(wait=True)

    def _run(self, item: _Item) -> Squares | PictureError:
        children = self._idle.get()
        try:
            return next(iter(children.results(self._task, [item])))
        finally:
            self._idle.put(children)


def prepare_each(items: Sequence[_Item]) -> Iterator[Squares | PictureError]:
    """What runs in a child."""
    for upload, preparation in items:
        yield from read_squares([upload], preparation)


def num_processors() -> int:
    """Cores this process may use. As `engine.num_cores`, which would load torch into a process that needs none."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _lost(item: _Item) -> PictureError:
    return PictureError(
        "decoder_crashed",
        "decoding this picture ended its process, or took too long",
        where=item.upload.name,
        remedy="open the picture in an editor and save it again",
    )
