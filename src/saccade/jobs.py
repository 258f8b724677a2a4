"""Which run a job of several processes began: torchrun begins the same command again when one of them has died."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from saccade.resuming import Place
from saccade.runs import RunFolder
from saccade.screen import Screen

_NO_ID = ("", "none")  # what torchrun calls a job without a name


def job_name() -> str:
    """What torchrun's processes have in common through all restarts: its `--rdzv-id`, else the torchrun itself.

    "" where this process was launched by nothing of the kind.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name is None:
        return ""
    return name if name not in _NO_ID else f"{socket.gethostname()} {os.getppid()} {_began(os.getppid())}"


def continued(place: Place, screen: Screen) -> Place:
    """The place as asked for, or the run that this job has begun before.

    That is asked for where torchrun began the command again (`--max-restarts`), and where the job has a name of its own
    (`--rdzv-id`) under which an unfinished run stands: a scheduler began it again.

    Args:
        place: without a run to resume, else nothing is looked for.
        screen: told what was found.
    """
    name, again = job_name(), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    named = os.environ.get("TORCHELASTIC_RUN_ID", "") not in _NO_ID
    if place.resume or not name or not (again or named):
        return place
    runs = [run for run in _runs(place.project) if run.environment.get("job") == name]
    runs = [run for run in runs if again or not run.is_finished]
    if not runs:
        return place
    newest = max(runs, key=lambda run: run.begun_at)
    screen.say("begun again by torchrun: one of the processes had ended" if again else f"job {name} is begun again")
    return place._replace(resume=str(newest.path))


def _runs(project: Path) -> list[RunFolder]:
    folders = sorted(project.iterdir()) if project.is_dir() else []
    return [run for run in map(RunFolder, folders) if run.is_begun]


def _began(process: int) -> str:
    """When a process was begun, as Linux counts: numbers of processes are given again. Elsewhere nothing."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return ""
