"""How soon a server says that it lives, and how late any process is here; benchmarks/serve.py starts it beside itself.

    python benchmarks/pulse.py PORT

Asks /healthz every 50 ms until its input ends, then prints the seconds of each answer, and by how much each pause of
50 ms was longer than that. It loads next to nothing, so that it is not late for reasons of its own.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time

_PAUSE = 0.05


def main() -> None:
    """Ask, pause, print."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    found: dict[str, list[float]] = {"health": [], "late": []}
    has_ended = False
    while not has_ended:
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        asked = time.perf_counter()
        found["health"].append(asked - began)
        has_ended = bool(select.select([sys.stdin], [], [], _PAUSE)[0])
        if not has_ended:
            found["late"].append(time.perf_counter() - asked - _PAUSE)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
