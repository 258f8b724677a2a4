"""One process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from saccade.errors import ResourceError


@contextmanager
def locked(path: Path, doing: str = "training this run") -> Iterator[None]:
    """Keep other processes from what is done in the folder that this lock file lies in; it is gone afterwards.

    The system lets go when the process dies, however it dies. On a disk that knows no locks there is none.

    Raises:
        ResourceError: another process is doing it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ResourceError(
            f"another process is {doing}",
            where=str(path.parent),
            remedy="wait for it, or begin anew beside it: another name, and no --resume",
        ) from None
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)
            lock.release()
