"""A run's own test pictures on its page: thumbnails, what the network went by, and what lies in each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from saccade.data.cells import printable
from saccade.data.pack import Pack
from saccade.data.packing import Work
from saccade.engine import choose_device, num_cores
from saccade.errors import SaccadeError
from saccade.evaluation.evaluate import reopen_pictures
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork
from saccade.use.figures import thumbnail
from saccade.use.heatmaps import Question, heat_maps
from saccade.use.report_tables import WIDEST_MATRIX

_MOST_MISTAKES = 24
_HEAT_SIDE = 160
_CELL_SIDE = 96
_MOST_IN_CELL, _MOST_IN_ALL_CELLS = 8, 180

Row = Mapping[str, str]


class Mistake(NamedTuple):
    """A test picture that was named wrongly; `image` and `heat` are data URIs, None where there is nothing to show."""

    name: str
    true: str
    predicted: str
    probability: float
    image: str | None
    heat: str | None = None


class Mistakes(NamedTuple):
    """The most confident mistakes, and a sentence about their pictures and about their heat where there is one."""

    total: int
    shown: tuple[Mistake, ...]
    remark: str
    heat: str = ""


class CellPicture(NamedTuple):
    """A picture of a cell of the confusion matrix, and how likely the network found what it said."""

    name: str
    probability: float
    image: str


class Cell(NamedTuple):
    """A cell of the confusion matrix: its place, its classes, how many pictures lie in it, and some of them."""

    row: int
    column: int
    true: str
    predicted: str
    total: int
    shown: tuple[CellPicture, ...]


class Seen(NamedTuple):
    """A run's pictures, where they could be found again: `rows` by the name that predictions.csv has."""

    trained: TrainedNetwork
    pack: Pack
    rows: Mapping[str, int]


def look_again(run: RunFolder, trained: TrainedNetwork) -> tuple[Seen | None, str]:
    """Find the run's pictures where they lay, and a sentence where a reader must know something about them."""
    work = Work(num_cores(), strict=False, progress=lambda done, total: None)
    try:
        pack, rows, _ = reopen_pictures(run, trained, None, work)
    except SaccadeError as error:
        return None, f"They are listed without their pictures: {error.what} ({error.where})."
    seen = Seen(trained, pack, {printable(pack.names[row]): row for row in rows.tolist()})
    if pack.fingerprint != run.data_report["fingerprint"]:
        remark = "The pictures, or the library that decodes them, have changed since: this is what is there now."
        return seen, remark
    return seen, ""


def find_mistakes(predictions: Sequence[Row], seen: Seen | None, remark: str) -> Mistakes:
    """The most confident ones first, each with its picture and what in it spoke for the answer.

    Args:
        predictions: rows of predictions.csv.
        seen: the pictures, where they are still there.
        remark: of `look_again`.
    """
    wrong = sorted((row for row in predictions if not _is_right(row)), key=lambda row: -float(row["probability"]))
    shown = wrong[:_MOST_MISTAKES]
    there = [row for row in shown if seen and row["path"] in seen.rows]
    images = {row["path"]: _image(seen, row["path"]) for row in there} if seen else {}
    heat, words = _heat(there, seen) if seen and there else ({}, "")
    mistakes = (
        Mistake(path, row["label"], row["predicted"], float(row["probability"]), images.get(path), heat.get(path))
        for row in shown
        for path in [row["path"]]
    )
    return Mistakes(len(wrong), tuple(mistakes), remark if wrong else "", words)


def fill_cells(predictions: Sequence[Row], class_names: Sequence[str], seen: Seen | None) -> tuple[Cell, ...]:
    """The pictures of the cells of the confusion matrix: at most 8 of a cell and 180 of all.

    Mistakes come first, the most confident ones of a cell before the others, and every cell has its first picture
    before any has its second. What room is left shows right answers, the least sure ones first.

    Args:
        predictions: rows of predictions.csv.
        class_names: K names, in the order of the matrix; above 30 there is no matrix and no cell.
        seen: the pictures, where they are still there; without them there is no cell.
    """
    if seen is None or len(class_names) > WIDEST_MATRIX:
        return ()
    place = {printable(name): index for index, name in enumerate(class_names)}
    cells: dict[tuple[int, int], list[Row]] = {}
    for row in predictions:
        key = (place.get(printable(row["label"]), -1), place.get(printable(row["predicted"]), -1))
        if min(key) >= 0:
            cells.setdefault(key, []).append(row)
    for (true, predicted), rows in cells.items():
        rows.sort(key=lambda row: float(row["probability"]) * (1 if true == predicted else -1))
    order = sorted(cells, key=lambda key: (key[0] == key[1], -len(cells[key]), key))
    num_shown = _shares({key: sum(row["path"] in seen.rows for row in cells[key]) for key in order})
    return tuple(
        Cell(*key, class_names[key[0]], class_names[key[1]], len(cells[key]), _some(cells[key], num_shown[key], seen))
        for key in sorted(cells)
        if num_shown[key]
    )


def size_before(pack: Pack, row: int) -> tuple[int, int] | None:
    """Width and height of a picture that was squashed into a square; None where it kept its proportions."""
    look = pack.looks[row]
    return (int(look["width"]), int(look["height"])) if pack.preparation.fit == "squash" else None


def _is_right(row: Row) -> bool:
    return row["label"] == row["predicted"]


def _image(seen: Seen, path: str) -> str:
    row = seen.rows[path]
    return thumbnail(seen.pack.images[row], size_before(seen.pack, row))


def _heat(rows: Sequence[Row], seen: Seen) -> tuple[dict[str, str], str]:
    """What spoke for the answers, as data URIs by name, and what a reader must know about that."""
    seen.trained.network.to(choose_device("auto"))
    squares = [np.asarray(seen.pack.images[seen.rows[row["path"]]]) for row in rows]
    try:
        found = list(heat_maps(seen.trained, squares, Question(), [row["predicted"] for row in rows]))
    except (SaccadeError, torch.OutOfMemoryError) as error:
        reason = error.what if isinstance(error, SaccadeError) else "memory does not suffice"
        return {}, f"There are no heat maps: {reason}."
    sizes = [size_before(seen.pack, seen.rows[row["path"]]) for row in rows]
    images = {
        row["path"]: thumbnail(each.over(_HEAT_SIDE), size) for row, each, size in zip(rows, found, sizes, strict=True)
    }
    words = (
        f"Beside each picture: what spoke for the answer (Grad-CAM, {found[0].source}), from dark (nothing) to bright "
        "(the most in this picture)."
    )
    return images, words


def _shares(there: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    """How many pictures each cell shows: one after the other, mistakes before right answers."""
    shown, left = dict.fromkeys(there, 0), _MOST_IN_ALL_CELLS
    for is_right in (False, True):
        for _ in range(_MOST_IN_CELL // 2 if is_right else _MOST_IN_CELL):
            for key in (key for key in there if (key[0] == key[1]) == is_right):
                if left and shown[key] < there[key]:
                    shown[key], left = shown[key] + 1, left - 1
    return shown


def _some(rows: Sequence[Row], num: int, seen: Seen) -> tuple[CellPicture, ...]:
    chosen = [row for row in rows if row["path"] in seen.rows][:num]
    return tuple(CellPicture(row["path"], float(row["probability"]), _small(seen, row["path"])) for row in chosen)


def _small(seen: Seen, path: str) -> str:
    row = seen.rows[path]
    return thumbnail(seen.pack.images[row], size_before(seen.pack, row), _CELL_SIDE)
