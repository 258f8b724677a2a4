"""Pictures that are decoded whenever they are asked for: what stands for a pack's pixels where none are kept."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from saccade.data.listing import Item, RowItem, StoredItem
from saccade.data.prepare import Preparation, prepare, prepare_pixels
from saccade.data.sources.read import read_item
from saccade.errors import PictureError

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

_AHEAD = 2  # batches that are being decoded while one is learned from


class Streamed:
    """To be indexed like `Pack.images`: by a row, a slice or an array of rows; the pixels are the same to the bit.

    Threads decode, and not processes as when a pack is built: whatever could crash a decoder has been left out then.

    Args:
        items: of the listing.
        array: that its items are rows of, where they are.
        sums: SHA-256 of every picture as it was seen first, hexadecimal; "" of one that cannot be used. Such rows
            are zeros, as in a pack.
        preparation: how a picture becomes pixels.
        num_threads: that decode.
    """

    def __init__(
        self,
        items: Sequence[Item],
        array: Pixels | None,
        sums: Sequence[str],
        preparation: Preparation,
        num_threads: int,
    ) -> None:
        self._items, self._array, self._sums, self._preparation = items, array, sums, preparation
        self._num_threads = num_threads
        self._threads: ThreadPoolExecutor | None = None
        self._asked: dict[int, Future[Pixels]] = {}

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, side, side, C)."""
        side = self._preparation.side
        return len(self._items), side, side, self._preparation.channels

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, rows: int | slice | Rows) -> Pixels:
        """uint8 (side, side, C), or (B, side, side, C) for several rows.

        Raises:
            PictureError: a picture is no longer there, or no longer what it was.
        """
        if isinstance(rows, int | np.integer):
            return self._of(int(rows))
        wanted = (np.arange(len(self))[rows] if isinstance(rows, slice) else rows).tolist()
        found = [self._asked.pop(row) if row in self._asked else self._ask(row) for row in wanted]
        pixels = np.empty((len(wanted), *self.shape[1:]), dtype=np.uint8)
        for place, each in enumerate(found):
            pixels[place] = each.result()
        return pixels

    def ahead(self, batches: Iterable[Rows], seen: Callable[[Rows], Rows]) -> Iterator[Rows]:
        """The same batches; while one is worked on, the pictures of the next ones are decoded.

        Args:
            batches: rows.
            seen: of a batch, the rows that will be asked for.
        """
        waiting: deque[Rows] = deque()
        try:
            for rows in batches:
                self._asked |= {row: self._ask(row) for row in seen(rows).tolist() if row not in self._asked}
                waiting.append(rows)
                if len(waiting) > _AHEAD:
                    yield waiting.popleft()
            yield from waiting
        finally:  # who asked may have turned away
            for future in self._asked.values():
                future.cancel()
            self._asked.clear()

    def _ask(self, row: int) -> Future[Pixels]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._num_threads, thread_name_prefix="decoding")
        return self._threads.submit(self._of, row)

    def _of(self, row: int) -> Pixels:
        item = self._items[row]
        if not self._sums[row]:
            return np.zeros(self.shape[1:], dtype=np.uint8)
        if not isinstance(item, RowItem):
            return self._decoded(item, self._sums[row])
        if self._array is None:
            raise ValueError("items that are rows need the array they are rows of")
        return prepare_pixels(self._array[item.row], self._preparation)

    def _decoded(self, item: StoredItem, expected: str) -> Pixels:
        try:
            data = read_item(item)
            if hashlib.sha256(data).hexdigest() != expected:
                raise PictureError("changed", "the file is no longer what it was when it was looked at first")
            return prepare(data, item.name, self._preparation).pixels
        except PictureError as error:
            remedy = "put it back as it was and go on with --resume; without --stream pictures are needed only once"
            raise PictureError(error.reason, error.what, where=item.name, remedy=remedy) from error
