"""Any number of pictures predicted into one file, which can be killed at any moment and go on.

Beside `predictions.csv` lies, while it is made, a folder `predictions.csv.parts`: `listing.jsonl`, what is to be
predicted; `rows-000000.jsonl`, ..., a shard of the answers each, which has its name only when it is whole; and
`manifest.json`, what was asked. When all shards are there the file is put together, under its name only when it is
whole, and the folder is removed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from saccade.errors import DataError, UsageError
from saccade.locking import locked
from saccade.screen import QuietScreen, Screen
from saccade.use.answer import PLAIN, Answerer, Wanted
from saccade.use.copy_to import Sorter
from saccade.use.inputs import Named
from saccade.use.model_hash import model_hash
from saccade.use.predict import Prediction
from saccade.use.predict_listing import Listed, read_listing, write_listing
from saccade.use.predict_output import Output, Summary
from saccade.use.predict_rows import check_format, in_order, line_of, write_rows
from saccade.use.predict_share import Share
from saccade.whole import whole_file

SHARD = 512  # pictures: what a kill costs at most, per process
_FORMAT = 1
ALONE = (Share(), QuietScreen())
_TOLD = 16  # pictures between two looks at the bar


def predict_into(
    answerer: Answerer,
    pictures: Iterable[Named],
    output: Output,
    wanted: Wanted = PLAIN,
    beside: tuple[Share, Screen] = ALONE,
) -> Summary:
    """Predict pictures into a file with exactly one row each, in memory that does not grow with their number.

    Args:
        answerer: the network.
        pictures: what `inputs.listed` and `inputs.lines_of` give; only the leading process takes them.
        output: where to, and whether it goes on.
        wanted: what is asked about each.
        beside: which of several processes this is, and where it talks.

    Returns:
        What became of them; empty in processes that do not lead.

    Raises:
        UsageError: the file has no suffix that is known; something unfinished lies there and is not to go on, or is to
            and something else is asked now.
        ResourceError: another process is at it.
        OSError: the disk refuses; the shards that are whole stay.
    """
    share, screen = beside
    check_format(output.path)
    job = _Job(output, wanted, answerer, share, screen)
    with ExitStack() as stack:
        if share.leads:
            job.parts.mkdir(exist_ok=True)
            stack.enter_context(locked(job.parts / "lock", "predicting into this file"))
            stack.callback(job.tidy)
            job.begin(pictures)
        share.meet()
        job.work()
        share.meet()
        return job.finish() if share.leads else Summary()


def parts_of(path: Path) -> Path:
    """The folder of an unfinished prediction."""
    return path.with_name(path.name + ".parts")


class _Job:
    """One file in the making."""

    def __init__(self, output: Output, wanted: Wanted, answerer: Answerer, share: Share, screen: Screen) -> None:
        self.parts = parts_of(output.path)
        self._output, self._wanted, self._answerer = output, wanted, answerer
        self._share, self._screen = share, screen
        self._top = min(wanted.top, len(answerer.trained.class_names))

    def begin(self, pictures: Iterable[Named]) -> None:
        """Write the listing and the manifest; or look whether they still are what is asked."""
        asked, before = self._asked(), self._manifest()
        if before and not self._output.resume:
            self._check_loss(before)
            before = {}
        if not before:  # what lies there belongs to nothing
            self._clear()
        listed = write_listing(self.parts / ("listing.now" if before else "listing.jsonl"), pictures)
        if before:
            (self.parts / "listing.now").unlink()
            self._compare(before, asked, listed)
            self._screen.say(f"going on: {self._num_done():,} of {self._num_shards(before):,} shards are done")
            return
        manifest = {"asked": asked, "num_pictures": listed.num_pictures, "listing": listed.sha256, "shard": SHARD}
        with whole_file(self.parts / "manifest.json") as partial:
            partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")

    def work(self) -> None:
        """Predict the shards of this process that are not whole yet."""
        total = self._manifest()["num_pictures"]
        numbers = [number for number in range(-(-total // SHARD)) if self._share.has(number)]
        open_ones = {number for number in numbers if not self._shard(number).is_file()}
        done = sum(min(SHARD, total - number * SHARD) for number in numbers if number not in open_ones)
        listed = enumerate(read_listing(self.parts / "listing.jsonl"))
        todo = (picture for row, picture in listed if row // SHARD in open_ones)
        mine = sum(min(SHARD, total - number * SHARD) for number in numbers)
        with (
            self._screen.bar("predicting", mine) as bar,
            closing(self._answerer.stream(todo, self._wanted)) as predictions,
        ):
            for number in sorted(open_ones):
                size = min(SHARD, total - number * SHARD)
                with whole_file(self._shard(number)) as partial, partial.open("w", encoding="utf-8") as file:
                    for prediction in islice(predictions, size):
                        file.write(line_of(prediction))
                        done += 1
                        if done % _TOLD == 0:
                            bar(done, f"{done:,} of {mine:,}")

    def finish(self) -> Summary:
        """Put the file together, and copy pictures where that was asked for."""
        summary = Summary()
        manifest = self._manifest()
        if self._output.copy_to is not None:
            summary.num_copied = self._copy(self._output.copy_to, manifest["num_pictures"])
        with closing(in_order(self._lines(manifest), self._output.sort, self.parts)) as rows:
            write_rows(self._output.path, map(summary.count, rows), self._top)
        self._clear()
        return summary

    def tidy(self) -> None:
        """Leave a folder only where it holds what would have to be done again."""
        if not self._num_done():
            shutil.rmtree(self.parts, ignore_errors=True)

    def _copy(self, folder: Path, total: int) -> int:
        """In the order of the input. What is copied is written down before, so that a restart copies nothing twice."""
        sorter = Sorter(folder, self._answerer.trained.class_names)
        journal = self.parts / "copied.jsonl"
        first, num_copied = _copied_until(journal)
        predictions = (Prediction.from_json(json.loads(line)) for line in self._lines(self._manifest()))
        pairs = zip(read_listing(self.parts / "listing.jsonl"), predictions, strict=True)
        with journal.open("a", encoding="utf-8") as file, self._screen.bar("copying", total) as bar:
            for row, (picture, prediction) in enumerate(pairs):
                if row < first:
                    continue

                def announce(target: Path, row: int = row) -> None:
                    file.write(json.dumps([row, str(target)]) + "\n")
                    file.flush()

                sorter.place(picture, prediction, announce)
                bar(row + 1, f"{row + 1:,} of {total:,}")
        return num_copied + sorter.num_copied

    def _lines(self, manifest: dict[str, Any]) -> Iterator[str]:
        for number in range(self._num_shards(manifest)):
            with self._shard(number).open(encoding="utf-8") as file:
                yield from file

    def _shard(self, number: int) -> Path:
        return self.parts / f"rows-{number:06}.jsonl"

    def _num_shards(self, manifest: dict[str, Any]) -> int:
        return -(-int(manifest["num_pictures"]) // int(manifest["shard"]))

    def _num_done(self) -> int:
        return sum(1 for _ in self.parts.glob("rows-*.jsonl"))

    def _manifest(self) -> dict[str, Any]:
        """Empty where none was written yet."""
        try:
            return dict(json.loads((self.parts / "manifest.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DataError(
                f"the manifest of an unfinished prediction is damaged ({error})",
                where=str(self.parts),
                remedy="remove this folder and begin anew",
            ) from error

    def _asked(self) -> dict[str, Any]:
        """All that decides a row."""
        speed = self._answerer.speed
        return {
            "format": _FORMAT,
            "saccade": version("saccade"),
            "model": model_hash(self._answerer.trained),
            "top": self._top,
            "min_accuracy": self._wanted.min_accuracy,
            "tta": self._wanted.tta,
            "precision": speed.precision,
            "compile": speed.compile,
        }

    def _compare(self, before: dict[str, Any], asked: dict[str, Any], listed: Listed) -> None:
        other = [name for name, value in asked.items() if before["asked"].get(name) != value]
        if before["shard"] != SHARD:
            other.append("size of shards")
        if before["listing"] != listed.sha256:
            other.append(f"pictures ({before['num_pictures']:,} then, {listed.num_pictures:,} now)")
        if other:
            raise UsageError(
                f"what was interrupted was something else; not the same: {', '.join(other)}",
                where=str(self.parts),
                remedy="run the very same command, or leave out --resume and remove this folder to begin anew",
            )

    def _check_loss(self, before: dict[str, Any]) -> None:
        """To begin anew must be meant where much would be lost."""
        if done := self._num_done():
            raise UsageError(
                f"an interrupted prediction lies there, {done:,} of {self._num_shards(before):,} shards are done",
                where=str(self.parts),
                remedy="go on with it: --resume; or remove this folder to begin anew",
            )

    def _clear(self) -> None:
        (self.parts / "manifest.json").unlink(missing_ok=True)  # first: without it the rest belongs to nothing
        for path in self.parts.iterdir():
            if path.name != "lock":
                path.unlink()


def _copied_until(journal: Path) -> tuple[int, int]:
    """The first row that is still to be copied, and how many pictures were."""
    if not journal.is_file():
        return 0, 0
    last, target, num_copied, whole = -1, "", 0, 0
    with journal.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break  # killed while it was written: the copy did not have its name yet
            row, target = json.loads(line)
            num_copied += row != last
            last, whole = row, whole + len(line)
    os.truncate(journal, whole)
    if last < 0:
        return 0, 0
    return (last + 1, num_copied) if Path(target).exists() else (last, num_copied - 1)
