"""What runs in a child process: it takes items from its parent, works on them, and sends back a result for each.

Parent and child talk through the child's standard input and output: eight bytes of length, then a pickle. Nobody else
writes there: the parent started the child and holds both ends.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import IO, Any, NamedTuple

READY = "ready"


class Orders(NamedTuple):
    """A few items, what to do with them, how many seconds each may take, and whether each result is sent at once.

    Otherwise all are sent together, which wakes the parent once: with small pictures a tenth of the time.
    """

    run: Callable[[Sequence[Any]], Iterator[Any]]
    items: Sequence[Any]
    seconds: float
    one_by_one: bool


class Failed(NamedTuple):
    """An error that ended the work on a few items; it is raised in the parent."""

    error: Exception


def send(file: IO[bytes], message: object) -> None:
    """Write one message."""
    data = bytes(ForkingPickler.dumps(message))
    file.write(len(data).to_bytes(8, "little") + data)
    file.flush()


def receive(file: IO[bytes]) -> Any:
    """Read one message.

    Raises:
        EOFError: the other side has ended.
    """
    length = file.read(8)
    data = file.read(int.from_bytes(length, "little")) if len(length) == 8 else b""
    if not data or len(data) < int.from_bytes(length, "little"):
        raise EOFError
    return ForkingPickler.loads(data)


def serve() -> None:
    """Do what the parent orders until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the parent's own choice would be inherited
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the messages
    with Path(os.devnull).open("w") as nowhere:
        send(outgoing, READY)
        while True:
            try:
                orders: Orders = receive(sys.stdin.buffer)
            except EOFError:
                return
            try:
                results, found = orders.run(orders.items), []
                for number in range(1, len(orders.items) + 1):
                    _end_after(orders.seconds, nowhere)
                    found.append(next(results))
                    if orders.one_by_one or number == len(orders.items):
                        send(outgoing, found)
                        found = []
            except Exception as error:  # it belongs to the parent
                send(outgoing, Failed(error))
            _end_after(0, nowhere)


def _end_after(seconds: float, nowhere: IO[str]) -> None:
    """End this process in so many seconds, also when it holds the interpreter's lock for ever; 0: do not."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)  # nobody catches SIGALRM: the system ends the process
    elif seconds:
        faulthandler.dump_traceback_later(seconds, file=nowhere, exit=True)  # a thread for every item: much slower
    else:
        faulthandler.cancel_dump_traceback_later()
