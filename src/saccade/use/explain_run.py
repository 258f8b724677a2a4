"""What a run's own test pictures show: its most confident mistakes, and a sheet of heat maps per class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.pack import Pack
from saccade.data.packing import Work
from saccade.engine import num_cores
from saccade.errors import DataError, RunError, UsageError
from saccade.evaluation.evaluate import reopen_pictures
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork
from saccade.use.border import LEAST_PICTURES, Border, judge_border
from saccade.use.explain import LEGEND, Explanation, Explanations, heat_cell
from saccade.use.heatmaps import HEAT_METHODS, HeatMap, Question, heat_maps
from saccade.use.sheets import Cell, Sheet, draw, enlarged

# Pictures per class that the border is measured on, and of all classes together.
_BORDER_PICTURES, _ALL_BORDER_PICTURES = 64, 2000
# Occlusion looks at a picture a hundred times.
_OCCLUDED_PICTURES = 16
_PER_PAGE = 24
_COLUMNS = 2

Progress = Callable[[int, int], None]


class OwnPictures(NamedTuple):
    """A run, its network, and the test pictures it was judged by: rows of a pack."""

    run: RunFolder
    trained: TrainedNetwork
    pack: Pack
    rows: npt.NDArray[np.int64]


def own_pictures(run: RunFolder, trained: TrainedNetwork) -> OwnPictures:
    """Find the run's test pictures again, where they lay.

    Raises:
        DataError: they are gone.
    """
    work = Work(num_cores(), strict=False, progress=lambda done, total: None)
    try:
        pack, rows, _ = reopen_pictures(run, trained, None, work)
    except DataError as error:
        remedy = "put them back there, or explain other pictures: saccade explain RUN PATH..."
        raise type(error)(error.what, where=error.where, remedy=remedy) from None
    if len(rows) == 0:
        raise DataError("none of the run's test pictures is there any more", where=run.data_report["source"])
    return OwnPictures(run, trained, pack, rows)


def explain_mistakes(own: OwnPictures, num: int, question: Question) -> Explanations:
    """The most confident mistakes: the picture, what speaks for the class it was taken for, and what for its own.

    Args:
        own: the run and its pictures.
        num: how many mistakes; 24 are drawn on a sheet.
        question: gradcam or occlusion; the classes are those of each mistake.

    Raises:
        UsageError: the method gives no heat, or a class was asked for.
        RunError: the run has no predictions.csv yet.
    """
    _must_be_heat(question)
    if question.class_name is not None:
        raise UsageError("mistakes are explained for both of their classes", where="--class", remedy="leave it out")
    wrong = _mistakes(own.run)
    if not wrong:
        return Explanations((), remarks=["the run made no mistake on its test pictures"])
    place = {own.pack.names[row]: row for row in own.rows.tolist()}
    there = [row for row in wrong[:num] if row["path"] in place]
    remarks = [f"{len(wrong):,} mistakes; these are the {min(num, len(wrong)):,} most confident"]
    if gone := [row["path"] for row in wrong[:num] if row["path"] not in place]:
        remarks.append(f"{len(gone)} of their pictures are gone or cannot be read any more: {', '.join(gone[:3])}")
    pages = (there[start : start + _PER_PAGE] for start in range(0, len(there), _PER_PAGE))
    found = [_mistakes_page(own, page, [place[row["path"]] for row in page], question) for page in pages]
    return Explanations(found, remarks=remarks)


def explain_classes(own: OwnPictures, per_class: int, question: Question, progress: Progress) -> Explanations:
    """A sheet per class: test pictures with their heat maps, and how much of the heat lies at the border.

    Args:
        own: the run and its pictures.
        per_class: how many pictures a sheet shows, evenly taken from the class.
        question: gradcam or occlusion; without a class each picture's heat is about what the network names.
        progress: told how many classes of how many are done.

    Raises:
        UsageError: the method gives no heat.
    """
    _must_be_heat(question)
    names = own.pack.class_names
    of_class = {name: own.rows[own.pack.labels[own.rows] == label] for label, name in enumerate(names)}
    shown = {name: rows for name, rows in of_class.items() if len(rows)}
    most = _OCCLUDED_PICTURES if question.method == "occlusion" else _BORDER_PICTURES
    measured = max(LEAST_PICTURES, min(most, _ALL_BORDER_PICTURES // len(shown)))
    sheets: list[Explanation] = []
    borders: list[Border] = []
    for number, (name, rows) in enumerate(shown.items(), start=1):
        drawn = _evenly(rows, per_class)
        some = np.union1d(drawn, _evenly(rows, measured))
        found = list(heat_maps(own.trained, [own.pack.images[row] for row in some.tolist()], question))
        border = judge_border(name, np.stack([each.heat for each in found]), len(shown))
        borders += [border] if border else []
        pictures = [(found[place], own.pack.names[some[place]]) for place in np.searchsorted(some, drawn).tolist()]
        sheets.append(_class_sheet(name, len(rows), pictures, border, question))
        progress(number, len(shown))
    return Explanations(sheets, borders)


def _must_be_heat(question: Question) -> None:
    if question.method not in HEAT_METHODS:
        remedy = "use --method gradcam or occlusion, or name single pictures"
        raise UsageError(f"sheets of test pictures show heat, not {question.method}", where="--method", remedy=remedy)


def _mistakes(run: RunFolder) -> list[dict[str, str]]:
    """Rows of predictions.csv, the most confident first."""
    rows = run.predictions
    if not rows:
        raise RunError(
            "the run has no predictions.csv: it was not judged to its end",
            where=str(run.path),
            remedy="finish it: saccade train --resume RUN",
        )
    return sorted((row for row in rows if row["label"] != row["predicted"]), key=lambda row: -float(row["probability"]))


def _mistakes_page(
    own: OwnPictures, page: Sequence[dict[str, str]], rows: Sequence[int], question: Question
) -> Explanation:
    squares = [own.pack.images[row] for row in rows]
    said = list(heat_maps(own.trained, squares, question, [row["predicted"] for row in page]))
    true = list(heat_maps(own.trained, squares, question, [row["label"] for row in page]))
    groups = [
        [
            _picture(heat, row["path"], f"is {row['label']}, taken for {row['predicted']}"),
            heat_cell(heat),
            heat_cell(own_heat),
        ]
        for row, heat, own_heat in zip(page, said, true, strict=True)
    ]
    remark = (
        f"{_how(question, said[0])}. From left: the picture, what speaks for the class it was taken for, what speaks "
        "for its own class. Each map has its own scale."
    )
    image = draw(Sheet("The most confident mistakes", remark, groups, _COLUMNS, LEGEND))
    about = [
        {"path": row["path"], "label": row["label"], **heat.to_json()} for row, heat in zip(page, said, strict=True)
    ]
    return Explanation("mistakes", "mistakes", image, {"method": question.method, "pictures": about})


def _class_sheet(
    name: str, total: int, pictures: Sequence[tuple[HeatMap, str]], border: Border | None, question: Question
) -> Explanation:
    groups = [
        [_picture(heat, path, "" if heat.predicted == name else f"taken for {heat.predicted}"), heat_cell(heat)]
        for heat, path in pictures
    ]
    remark = f"{len(pictures)} of {total:,} test pictures. {_how(question, pictures[0][0])}."
    if border:
        remark += f" Heat in the outer tenth on each side: {border.share:.0%} (spread evenly it would be 36%)."
    image = draw(Sheet(name, remark, groups, _COLUMNS, LEGEND))
    about: dict[str, object] = {
        "method": question.method,
        "class": name,
        "border": border.to_json() if border else None,
        "pictures": [{"path": path, **heat.to_json()} for heat, path in pictures],
    }
    return Explanation(name, f"sheet-{name}", image, about)


def _picture(heat: HeatMap, path: str, words: str = "") -> Cell:
    return Cell(enlarged(heat.pixels), (words, Path(path).name) if words else (Path(path).name,))


def _how(question: Question, found: HeatMap) -> str:
    return f"{'Grad-CAM' if question.method == 'gradcam' else 'Occlusion'} ({found.source})"


def _evenly(rows: npt.NDArray[np.int64], num: int) -> npt.NDArray[np.int64]:
    """At most `num` of them, evenly spaced."""
    if len(rows) <= num:
        return rows
    return rows[np.linspace(0, len(rows) - 1, num).round().astype(np.int64)]
