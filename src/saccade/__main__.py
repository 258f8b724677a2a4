"""`python -m saccade` and the command `saccade`."""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from io import TextIOWrapper
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_SECONDS, _IMPATIENCE_SECONDS = 9.0, 1.0


def _terminate(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends like Ctrl-C does: every `finally` runs, so workers stop and half-made packs are removed."""
    sys.stderr.write("\nstopped by SIGTERM; what was written so far is whole, nothing half-written is left\n")
    sys.exit(128 + number)


def _enforce_deadlines() -> None:
    """See to it that a signal ends the process, however long the operation is that the main thread is in.

    Python's own handlers run between two operations of the main thread, and a training step of a large network is a
    few very long ones. Nothing is lost that lies on the disk: files there are whole at every moment.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    if hasattr(os, "register_at_fork"):  # a signal that a worker gets is not ours
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    threading.Thread(target=_watch, args=(reader, writer), name="deadlines", daemon=True).start()


def _watch(reader: socket.socket, writer: socket.socket) -> None:
    """Runs beside the main thread; holding `writer` keeps the line open."""
    number = _next_stop(reader)
    reader.settimeout(_PATIENCE_SECONDS)
    try:
        number = _next_stop(reader)
        time.sleep(_IMPATIENCE_SECONDS)
        why = "at once"
    except TimeoutError:
        why = f"{_PATIENCE_SECONDS:.0f} seconds after the signal, in the middle of a long step"
    os.write(2, f"\nstopped {why}; the last checkpoint is intact\n".encode())
    os._exit(128 + number)


def _next_stop(reader: socket.socket) -> int:
    """Wait for one of the two signals."""
    while (number := reader.recv(1)[0]) not in _STOPS:
        pass
    return number


def _leave(code: int) -> None:
    """End with this code; one of several processes without taking the interpreter apart.

    What connects them has threads of its own in torch. One that still lets go of a tensor while the interpreter is
    taken apart aborts the process, and torchrun then counts a finished training as failed
    (https://github.com/pytorch/pytorch/pull/179291).
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or its reader went away
            stream.flush()
    os._exit(code)


def main() -> None:
    """Run the command line and leave with its exit code."""
    from saccade.threads import calm_threads

    calm_threads()
    signal.signal(signal.SIGTERM, _terminate)
    _enforce_deadlines()
    if "WORLD_SIZE" in os.environ:  # torchrun names the signal that ended a process, and not where that was
        faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that cannot show × gets a question mark, not an error
            stream.reconfigure(errors="replace")
    try:
        from saccade.cli import run_command_line

        _leave(run_command_line(sys.argv[1:]))
    except KeyboardInterrupt:  # while the libraries were loaded, or the last words were said
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
