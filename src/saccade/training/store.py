"""The feature store: what a frozen prefix says about a set of pictures, kept on disk chunk by chunk.

A store is a folder of three files, described in docs/formats.md. A chunk counts only when its line stands in the
journal and its bytes have the checksum written there, so a process may be killed at any moment: what is whole is
used, what is not is computed again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from saccade.whole import whole_file

STORE_FORMAT = 1
_ABOUT, _VALUES, _JOURNAL, _LOCK = "store.json", "features.bin", "chunks.csv", "lock"
# numpy has no bfloat16: its bits are kept as whole numbers.
_ON_DISK: Mapping[torch.dtype, str] = {torch.float32: "<f4", torch.bfloat16: "<u2", torch.float16: "<f2"}


class Layout(NamedTuple):
    """How many rows, the shape and type of one, and how many rows make a chunk."""

    num_rows: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    chunk_rows: int

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def num_bytes(self) -> int:
        """Of the whole store."""
        return self.num_rows * self.row_bytes

    @property
    def num_chunks(self) -> int:
        """The last one may be shorter."""
        return -(-self.num_rows // self.chunk_rows)


class FeatureStore:
    """Features of `layout.num_rows` pictures.

    Args:
        folder: of this store alone; it is made, or adopted where it holds the same thing.
        about: what the features are of, as plain JSON values; another `about` in the folder discards what is there.
        layout: likewise.
    """

    def __init__(self, folder: Path, about: Mapping[str, object], layout: Layout) -> None:
        self.folder = folder
        self.layout = layout
        self._lock = FileLock(folder / _LOCK)
        self._card = json.dumps(
            {
                "format": STORE_FORMAT,
                "about": dict(about),
                "num_rows": layout.num_rows,
                "shape": list(layout.shape),
                "dtype": str(layout.dtype).removeprefix("torch."),
                "chunk_rows": layout.chunk_rows,
            },
            sort_keys=True,
            indent=1,
        )
        self._values: Tensor | None = None

    def missing(self) -> list[int]:
        """The chunks that are not there, or whose bytes are not those that were written. Reads every byte once."""
        journal = self._read_journal()
        if not journal:
            return list(range(self.layout.num_chunks))
        with (self.folder / _VALUES).open("rb", buffering=0) as file:
            return [chunk for chunk in range(self.layout.num_chunks) if not self._is_whole(file, chunk, journal)]

    def fill(self, compute: Callable[[int, int], Tensor], progress: Callable[[int], None]) -> int:
        """Have the missing chunks computed and write them down.

        Args:
            compute: (first row, row after the last) -> features of these rows, in the layout's shape and type.
            progress: told how many rows are there.

        Returns:
            How many rows were computed.

        Raises:
            Timeout: another process is filling this store.
            OSError: the disk is full or cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock.acquire(timeout=0):
            self._prepare()
            missing = self.missing()
            done = self.layout.num_rows - sum(stop - start for start, stop in map(self._bounds, missing))
            computed = 0
            for chunk in missing:
                start, stop = self._bounds(chunk)
                self._write(chunk, compute(start, stop))
                computed += stop - start
                progress(done + computed)
            return computed

    def wait(self) -> None:
        """Come back when no other process is filling this store."""
        with self._lock.acquire():
            pass

    def rows(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """The features of some rows, copied out of the map: (len(indices), *shape)."""
        if self._values is None:
            self._values = self._map()
        return self._values[torch.from_numpy(indices)]

    def _map(self) -> Tensor:
        # Copy on write, so that torch does not complain about memory it may not write; nobody does.
        shape = (self.layout.num_rows, *self.layout.shape)
        values = np.memmap(self.folder / _VALUES, dtype=_ON_DISK[self.layout.dtype], mode="c", shape=shape)
        return torch.from_numpy(values).view(self.layout.dtype)

    def _prepare(self) -> None:
        """Make the folder ready to be filled; what belongs to something else goes."""
        about, values = self.folder / _ABOUT, self.folder / _VALUES
        with suppress(OSError, UnicodeDecodeError):
            if about.read_text(encoding="utf-8") == self._card and values.stat().st_size == self.layout.num_bytes:
                os.utime(about)  # when it was last used decides which store makes room for another
                return
        (self.folder / _JOURNAL).unlink(missing_ok=True)
        with values.open("wb") as file:
            file.truncate(self.layout.num_bytes)
        with whole_file(about) as partial:
            partial.write_text(self._card, encoding="utf-8")

    def _bounds(self, chunk: int) -> tuple[int, int]:
        start = chunk * self.layout.chunk_rows
        return start, min(start + self.layout.chunk_rows, self.layout.num_rows)

    def _write(self, chunk: int, features: Tensor) -> None:
        start, stop = self._bounds(chunk)
        expected = (stop - start, *self.layout.shape)
        if tuple(features.shape) != expected or features.dtype != self.layout.dtype:
            raise ValueError(f"expected {expected} {self.layout.dtype}, got {tuple(features.shape)} {features.dtype}")
        data = features.cpu().contiguous().view(torch.uint8).numpy().data
        with (self.folder / _VALUES).open("r+b") as file:
            file.seek(start * self.layout.row_bytes)
            file.write(data)
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow((chunk, hashlib.sha256(data).hexdigest()))
        with (self.folder / _JOURNAL).open("a", encoding="ascii") as journal:
            journal.write(line.getvalue())

    def _read_journal(self) -> dict[int, str]:
        """Chunk -> checksum, of whole lines; the last one written about a chunk counts."""
        try:
            text = (self.folder / _JOURNAL).read_bytes()
            if (self.folder / _ABOUT).read_text(encoding="utf-8") != self._card:
                return {}
        except (OSError, UnicodeDecodeError):
            return {}
        whole = text[: text.rfind(b"\n") + 1].decode("ascii", errors="replace")
        lines = [line.split(",") for line in whole.splitlines()]
        return {int(line[0]): line[1] for line in lines if len(line) == 2 and line[0].isdecimal()}

    def _is_whole(self, file: io.FileIO, chunk: int, journal: Mapping[int, str]) -> bool:
        if chunk not in journal:
            return False
        start, stop = self._bounds(chunk)
        file.seek(start * self.layout.row_bytes)
        data = file.read((stop - start) * self.layout.row_bytes)
        return hashlib.sha256(data).hexdigest() == journal[chunk]


class MemoryStore:
    """The same in memory, for features that nobody will ask for again."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._values = torch.empty(layout.num_rows, *layout.shape, dtype=layout.dtype)

    def fill(self, compute: Callable[[int, int], Tensor], progress: Callable[[int], None]) -> int:
        """Have everything computed; returns how many rows."""
        for start in range(0, self.layout.num_rows, self.layout.chunk_rows):
            stop = min(start + self.layout.chunk_rows, self.layout.num_rows)
            self._values[start:stop] = compute(start, stop)
            progress(stop)
        return self.layout.num_rows

    def wait(self) -> None:
        """Nobody else fills it."""

    def rows(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """The features of some rows: (len(indices), *shape)."""
        return self._values[torch.from_numpy(indices)]


def make_room(root: Path, needed: int, budget: int, keep: frozenset[str]) -> None:
    """Remove the stores not used for longest until `needed` more bytes fit into the budget of all stores together.

    Args:
        root: the folder of all stores.
        needed: bytes that are about to be written.
        budget: bytes that all stores may have.
        keep: names of the stores that this run needs.
    """
    stores = []
    for about in root.glob(f"*/{_ABOUT}"):
        with suppress(OSError):
            stores.append((about.stat().st_mtime, (about.parent / _VALUES).stat().st_size, about.parent))
    used = sum(size for _, size, _ in stores)
    for _, size, folder in sorted(stores):
        if used + needed <= budget:
            return
        if folder.name not in keep and _remove(folder):
            used -= size


def _remove(folder: Path) -> bool:
    """Remove a store that nobody is filling; who reads it keeps what is open."""
    try:
        with FileLock(folder / _LOCK).acquire(timeout=0):
            (folder / _ABOUT).unlink(missing_ok=True)  # first: without it nothing in the folder counts
    except (Timeout, OSError):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True
