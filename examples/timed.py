"""Run a command and write down what it cost: python examples/timed.py NAME -- saccade train cifar10.zip ... --name NAME

adds a line to runs/costs.jsonl: name, command, seconds of the clock and of the processors, greatest resident memory in
MB. A run that was interrupted and went on has several lines under its name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

COSTS = Path("runs/costs.jsonl")


def timed(name: str, command: list[str]) -> int:
    """The command's exit code; its costs stand in runs/costs.jsonl."""
    began = time.perf_counter()
    with subprocess.Popen(command) as process:  # noqa: S603 (it is what the caller typed)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    cost = {
        "name": name,
        "command": " ".join(command),
        "code": process.returncode,
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "resident_mb": round(usage.ru_maxrss / 1024),
    }
    COSTS.parent.mkdir(exist_ok=True)
    with COSTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(cost) + "\n")
    return process.returncode


def costs_of(name: str, file: Path = COSTS) -> dict[str, float]:
    """Sums over the lines of a name, the greatest of memory; empty where there is none."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    mine = [line for line in lines if line["name"] == name]
    sums = {key: sum(line[key] for line in mine) for key in ("seconds", "processor_seconds")}
    return sums | {"resident_mb": max(line.get("resident_mb", 0) for line in mine)} if mine else {}


if __name__ == "__main__":
    sys.exit(timed(sys.argv[1], sys.argv[sys.argv.index("--") + 1 :]))
