"""The stand-in for an interpreter behaves as one: arguments, streams, exit codes and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REAL = sys.executable
SEEN = (
    "import json, os, sys\n"
    "print(json.dumps([sys.argv, sys.path[0], os.getcwd(), os.environ['MARK'], sys.stdin.read(), __name__]))\n"
    "print('é', file=sys.stderr)\nsys.exit(7)"
)
WAITS = "import time; print('begun', flush=True); time.sleep(60)"

pytestmark = [
    pytest.mark.usefixtures("quick_python"),
    pytest.mark.skipif(sys.platform != "linux", reason="stands in on Linux only"),
]


@pytest.mark.parametrize("kind", ["-c", "-m", "file"])
def test_program_sees_and_says_the_same_as_in_a_real_one(kind: str, tmp_path: Path) -> None:
    (tmp_path / "seen.py").write_text(SEEN, encoding="utf-8")
    start = {"-c": ["-c", SEEN], "-m": ["-m", "seen"], "file": ["seen.py"]}[kind]
    own = os.environ | {"MARK": "é"}
    quick, real = (
        subprocess.run([python, *start, "-a", "b c"], cwd=tmp_path, env=own, input="in", capture_output=True, text=True)
        for python in (sys.executable, REAL)
    )
    assert sys.executable != REAL
    assert quick.returncode == real.returncode == 7
    assert quick.stdout == real.stdout
    assert quick.stderr == real.stderr == "é\n"


def test_error_that_nobody_catches_ends_with_one() -> None:
    done = subprocess.run([sys.executable, "-c", "raise KeyError('gone')"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("KeyError: 'gone'\n")


def test_children_of_a_program_are_quick_too() -> None:
    code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import sys; sys.exit(5)']))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -15), (signal.SIGINT, -2), (signal.SIGKILL, -9)])
def test_signals_arrive_and_a_kill_leaves_nothing(number: int, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        began = time.monotonic()
        process.send_signal(number)
        assert process.stdout.read() == b""  # its end of the pipe is closed: it is gone
        assert process.wait() == code
        assert time.monotonic() - began < 30
