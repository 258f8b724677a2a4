"""How much the cache keeps of what was unpacked, handed over in memory or fetched: the least recently used makes room.

Whoever reads an entry holds a lock on a marker, used/KIND-NAME-PID, until its process ends, however it ends. An entry
whose marker is locked by anybody is in use and stays. Packs stay until they are deleted; features have a budget.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from saccade.data.cache import cache_folder

KINDS = ("tars", "given", "sets")
BUDGET = 20 * 2**30  # bytes of all of them together; SACCADE_CACHE_BUDGET says another number, in GiB
_MARKS = "used"
_PARTIAL = ".partial"


class _Entry(NamedTuple):
    path: Path
    num_bytes: int
    used: float


def use_entry(path: Path) -> list[str]:
    """Mark the entry of the cache that a path lies in as being used, and make room for it.

    Returns:
        A sentence when something was removed; nothing where the path lies outside the cache.
    """
    root = cache_folder()
    found = next((root / kind for kind in KINDS if (root / kind) in path.absolute().parents), None)
    if found is None:
        return []
    entry = found / path.absolute().relative_to(found).parts[0]
    if not entry.exists():
        return []
    _hold(str(entry), os.getpid())
    removed = list(_make_room(root, budget()))
    if not removed:
        return []
    freed, names = sum(each.num_bytes for each in removed) / 2**30, ", ".join(each.path.name for each in removed[:3])
    more = ", ..." if len(removed) > 3 else ""
    return [
        f"the cache holds more than {budget() / 2**30:g} GiB (SACCADE_CACHE_BUDGET), so what was not used for longest "
        f"is gone from it, {freed:.1f} GiB: {names}{more}"
    ]


def budget() -> int:
    """Bytes that all entries together may take."""
    asked = os.environ.get("SACCADE_CACHE_BUDGET", "")
    with suppress(ValueError):
        return int(float(asked) * 2**30)
    return BUDGET


def _make_room(root: Path, most: int) -> Iterator[_Entry]:
    entries = sorted((each for kind in KINDS for each in _entries(root / kind)), key=lambda each: each.used)
    total = sum(each.num_bytes for each in entries)
    for entry in entries:
        if total <= most:
            return
        if not _in_use(entry.path) and _remove(entry.path):
            total -= entry.num_bytes
            yield entry


def _entries(folder: Path) -> Iterator[_Entry]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if _PARTIAL in path.name or path.name.endswith(".lock"):
            continue
        with suppress(OSError):  # another process removes it at this moment
            times = [path.stat().st_mtime, *(mark.stat().st_mtime for mark in _marks(path))]
            yield _Entry(path, _size(path), max(times))


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def _marks(entry: Path) -> list[Path]:
    folder = entry.parent.parent / _MARKS
    start = f"{entry.parent.name}-{entry.name}-"
    return [path for path in folder.iterdir() if path.name.startswith(start)] if folder.is_dir() else []


def _in_use(entry: Path) -> bool:
    return any(_is_locked(mark) for mark in _marks(entry))


def _remove(entry: Path) -> bool:
    with suppress(OSError):
        marks, old = _marks(entry), entry.with_name(f"{entry.name}{_PARTIAL}-{os.getpid()}")
        entry.rename(old)  # in one step for whoever looks for it
        shutil.rmtree(old) if old.is_dir() else old.unlink()
        for mark in marks:
            mark.unlink(missing_ok=True)
        return True
    return False


@cache
def _hold(entry: str, process: int) -> FileLock:
    """A lock on the marker of this process; kept, for it ends with the object. None is no error."""
    path = Path(entry)
    mark = path.parent.parent / _MARKS / f"{path.parent.name}-{path.name}-{process}"
    lock = FileLock(mark)
    with suppress(OSError, Timeout, NotImplementedError):
        mark.parent.mkdir(exist_ok=True)
        for other in _marks(path):
            if other != mark and not _is_locked(other):
                other.unlink(missing_ok=True)  # of a process that has ended
        lock.acquire(timeout=0)
        os.utime(mark)
    return lock


def _is_locked(mark: Path) -> bool:
    lock = FileLock(mark)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError, NotImplementedError):
        return True
    lock.release()
    return False
