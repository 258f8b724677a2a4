"""Work on untrusted files, in child processes: one that crashes or hangs costs its own item and nothing else."""

from __future__ import annotations

import faulthandler
import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from joblib.externals.loky import get_reusable_executor

from saccade.errors import ResourceError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_LARGEST_CHUNK = 64  # items a child is given at a time: few enough for a lively progress bar, enough to be cheap
_ROUNDS = 16  # that each child comes for more, at least: they are then done at about the same time
_AHEAD = 3  # chunks handed out per child; no more results than that wait in memory
_IDLE_SECONDS = 300  # after which children without work end
_MOST_IN_VAIN = 3  # ends of children in a row that no item explains


class Task(NamedTuple, Generic[ItemT, ResultT]):
    """What is done in children.

    Attributes:
        run: takes a few items and yields a result for each, in order; it must be importable or picklable by value.
        lost: the result that stands for an item which no child survived.
        seconds: that one item may take.
    """

    run: Callable[[Sequence[ItemT]], Iterator[ResultT]]
    lost: Callable[[ItemT], ResultT]
    seconds: float


def in_children(task: Task[ItemT, ResultT], items: Sequence[ItemT], num_children: int) -> Generator[ResultT]:
    """One result per item, in order, computed in child processes.

    A child that dies, or is ended because an item took too long, takes the others of its pool with it: each item that
    was being worked on is then tried alone, those that kill their child once more are `lost`, and the rest goes on.

    Raises:
        ResourceError: children end again and again, and no single item is to blame: memory, most likely.
    """
    lost: dict[int, ResultT] = {}
    done, in_vain = 0, 0
    with tempfile.TemporaryDirectory(prefix="saccade-") as folder:
        while done < len(items):
            try:
                for result in _results(task, items, range(done, len(items)), (lost, Path(folder), num_children)):
                    yield result
                    done, in_vain = done + 1, 0
            except BrokenProcessPool:
                before = len(lost)
                for number in _under_way(Path(folder)):
                    if not _survives(task, items[number], num_children):
                        lost[number] = task.lost(items[number])
                in_vain += len(lost) == before
                if in_vain == _MOST_IN_VAIN:
                    raise ResourceError(
                        "processes that decode pictures end again and again, probably for want of memory",
                        where=f"{num_children} processes",
                        remedy="use --workers 1, or close other programs",
                    ) from None


def _results(
    task: Task[ItemT, ResultT],
    items: Sequence[ItemT],
    numbers: Sequence[int],
    how: tuple[dict[int, ResultT], Path, int],
) -> Generator[ResultT]:
    """Results of the numbered items, in order; a few chunks are under way at a time."""
    lost, folder, num_children = how
    executor = _children(num_children)
    size = min(_LARGEST_CHUNK, math.ceil(len(numbers) / (_ROUNDS * num_children)))
    chunks = deque(numbers[start : start + size] for start in range(0, len(numbers), size))
    waiting: deque[tuple[Sequence[int], Future[list[ResultT]]]] = deque()
    finished = False
    try:
        while chunks or waiting:
            while chunks and len(waiting) < _AHEAD * num_children:
                chunk = chunks.popleft()
                wanted = [number for number in chunk if number not in lost]
                chosen = [items[number] for number in wanted]
                waiting.append((chunk, executor.submit(_run, task, chosen, wanted, folder)))
            chunk, future = waiting.popleft()
            found = iter(future.result())
            for number in chunk:
                yield lost[number] if number in lost else next(found)
        finished = True
    except BrokenProcessPool:
        finished = True  # nothing is left to end
        raise
    finally:
        if not finished:  # Ctrl-C, or an error: what is under way is not waited for
            executor.shutdown(wait=True, kill_workers=True)


def _run(task: Task[ItemT, ResultT], items: Sequence[ItemT], numbers: Sequence[int], folder: Path) -> list[ResultT]:
    """In a child: leave word of the item that is worked on, and end the whole process where it takes too long."""
    word = folder / str(numbers[0]) if numbers else folder / "nothing"
    found: list[ResultT] = []
    results = task.run(items)
    with word.open("w") as file, Path(os.devnull).open("w") as nowhere:
        for number in numbers:
            file.seek(0)
            file.write(f"{number:20}")
            file.flush()
            # A thread of C code: it also ends a process that holds the interpreter's lock for ever.
            faulthandler.dump_traceback_later(task.seconds, file=nowhere, exit=True)
            found.append(next(results))
        faulthandler.cancel_dump_traceback_later()
    word.unlink()
    return found


def _under_way(folder: Path) -> list[int]:
    """The items that children were working on when they ended; their word is taken away."""
    found = []
    for word in folder.iterdir():
        text = word.read_text().strip()
        found += [int(text)] if text else []
        word.unlink()
    return sorted(found)


def _survives(task: Task[ItemT, ResultT], item: ItemT, num_children: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="saccade-") as folder:
        try:
            _children(num_children).submit(_run, task, [item], [0], Path(folder)).result()
        except BrokenProcessPool:
            return False
    return True


def _children(num_children: int) -> Any:
    # loky's children need no __main__ guard in the user's script and never inherit threads or CUDA by fork.
    return get_reusable_executor(max_workers=num_children, timeout=_IDLE_SECONDS)
