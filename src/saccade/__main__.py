"""`python -m saccade` and the command `saccade`."""

from __future__ import annotations

import signal
import sys
from io import TextIOWrapper
from types import FrameType


def _terminate(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends like Ctrl-C does: every `finally` runs, so workers stop and half-made packs are removed."""
    sys.stderr.write("\nstopped by SIGTERM; what was written so far is whole, nothing half-written is left\n")
    sys.exit(128 + number)


def main() -> None:
    """Run the command line and leave with its exit code."""
    from saccade.threads import calm_threads

    calm_threads()
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that cannot show × gets a question mark, not an error
            stream.reconfigure(errors="replace")
    from saccade.cli import run_command_line

    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
