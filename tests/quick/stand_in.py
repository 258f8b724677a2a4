"""Asks forks.py for a process that runs what this one was asked to run, hands it signals, and ends as it ends."""

import json
import os
import signal
import socket
import sys

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main() -> None:
    """Begin it, and wait for its end. Whoever kills this process kills that one: the connection breaks."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(os.environ["QUICK_FORKS"])
    for number in FORWARDED:
        signal.signal(number, lambda number, _: connection.sendall(bytes([number])))
    folder = os.getcwd()  # noqa: PTH109 - pathlib takes half as long to import as all else here
    asked = json.dumps({"arguments": sys.argv[1:], "folder": folder, "environment": dict(os.environ)}).encode()
    socket.send_fds(connection, [len(asked).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(asked)
    for descriptor in (0, 1, 2):
        os.close(descriptor)  # so that a pipe is at its end when the other process has closed it
    status = int.from_bytes(connection.recv(4), "big")
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


main()
