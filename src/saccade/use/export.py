"""A run's network in a form that others run; handed over only when it answers as the network does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.errors import DataError, UsageError
from saccade.models.network import side_of
from saccade.runs import RunFolder
from saccade.screen import Screen
from saccade.trained import TrainedNetwork
from saccade.use.export_card import licence_of
from saccade.use.export_graph import Whole, graph_of
from saccade.use.export_onnx import as_int8, joined, onnx_parts
from saccade.use.export_parity import (
    WITH_RESIZING,
    WITHOUT_RESIZING,
    Answers,
    Bounds,
    Parity,
    Runs,
    enlarged,
    milliseconds,
    probabilities_of,
    try_out,
)
from saccade.use.export_pictures import (
    Found,
    Pixels,
    Sample,
    evenly,
    find_pictures,
    made_up,
    samples_of,
    training_squares,
)
from saccade.use.export_torch import as_pt2, open_pt2
from saccade.use.exported import Exported, Share
from saccade.use.onnx_file import CARD_FORMAT, OnnxCard, PrecisionName, open_session, run_session
from saccade.whole import whole_file

Format = Literal["onnx", "pt2"]
# Pictures that a file is tried on, that its accuracy is counted on, and that int8 takes its ranges from.
_TRIED, _JUDGED, _CALIBRATING = 256, 2000, 256
_FLOAT32 = Bounds(WITHOUT_RESIZING, WITH_RESIZING)
_ROUNDED = Bounds(None, None)
_BAD_LOSS = 0.01  # of accuracy, that is warned of


class Wish(NamedTuple):
    """What to write.

    Attributes:
        format: onnx or pt2.
        precision: of weights and sums; inputs and outputs have the same types in all.
        output: the file; None for one in the run folder.
    """

    format: Format = "onnx"
    precision: PrecisionName = "float32"
    output: Path | None = None


class _Subject(NamedTuple):
    """The network, its run and, where they are still there, its pictures."""

    run: RunFolder
    trained: TrainedNetwork
    found: Found | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, S, S) of what the network is shown."""
        side = side_of(self.trained.network.spec)
        return (self.trained.preparation.channels, side, side)

    def samples(self) -> Iterable[Sample]:
        """What the file is tried on."""
        preparation = self.trained.preparation
        return made_up(preparation) if self.found is None else samples_of(self.found, preparation, _TRIED)

    def judging(self) -> tuple[Pixels, npt.NDArray[np.int64]] | None:
        """Squares and labels of test pictures."""
        if self.found is None:
            return None
        rows = evenly(self.found.rows, _JUDGED)
        return np.array(self.found.pack.images[rows]), self.found.labels[rows]


def export_run(run: RunFolder, wish: Wish, screen: Screen) -> Exported:
    """Write a run's best weights as one file whose input is the picture, and prove that it answers as they do.

    Args:
        run: a finished training.
        wish: the form.
        screen: told what was found; the file appears under its name when all is well.

    Raises:
        ExportError: the network has no such form, or the file does not answer as it does; nothing is written.
        DataError: int8 was asked for and the run's pictures are gone.
        UsageError: form and precision do not go together.
        MissingExtraError: a library is not installed.
    """
    if wish.format == "pt2" and wish.precision == "int8":
        raise UsageError("a .pt2 file is not made int8", where="--int8", remedy="--format onnx")
    trained = run.load()
    trained.network.cpu().eval()
    subject = _Subject(run, trained, _pictures(run, trained, wish, screen))
    whole = graph_of(trained, half=wish.precision == "float16")
    path = wish.output or default_path(run, wish)
    exported = (_export_pt2 if wish.format == "pt2" else _export_onnx)(subject, whole, wish._replace(output=path))
    if exported.loss > _BAD_LOSS:
        screen.warn(f"{wish.precision} costs {exported.loss:.1%} of test accuracy")
    return exported


def default_path(run: RunFolder, wish: Wish) -> Path:
    """model.onnx, model-int8.onnx, model-float16.pt2, ... in the run folder."""
    kind = "" if wish.precision == "float32" else f"-{wish.precision}"
    return run.path / f"model{kind}.{wish.format}"


def run_hash(run: RunFolder) -> str:
    """The SHA-256 of the best weights' file: which model an answer came from."""
    with run.best_path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pictures(run: RunFolder, trained: TrainedNetwork, wish: Wish, screen: Screen) -> Found | None:
    try:
        return find_pictures(run, trained)
    except DataError as error:
        if wish.precision == "int8":
            remedy = "put them back there, or use --half, which needs none"
            what = f"int8 takes its ranges from the run's pictures, and {error.what}"
            raise DataError(what, where=error.where, remedy=remedy) from None
        screen.warn(f"{error.what} ({error.where}): the file is tried on pictures that are made up instead")
        return None


def _export_pt2(subject: _Subject, whole: Whole, wish: Wish) -> Exported:
    facts = _card(subject, wish)
    runs = open_pt2(data := as_pt2(whole, facts.metadata()))
    parity = _try(subject, runs, wish)
    shares = _shares(subject, runs.without_resizing)
    speeds = _speeds(subject, {"pt2": runs.including_resizing})
    _write(wish, data)
    return Exported(_place(wish), parity, *shares, len(data) / 1e6, speeds)


def _export_onnx(subject: _Subject, whole: Whole, wish: Wish) -> Exported:
    parts, speeds = onnx_parts(whole, subject.shape), {}
    if wish.precision == "int8" and subject.found is not None:
        plain = open_session(joined(parts, {}).SerializeToString(), "ONNX float32")
        speeds["ONNX float32"] = _of_session(plain)
        squares = training_squares(subject.run, subject.found, _CALIBRATING)
        parts = parts._replace(answer=as_int8(parts.answer, enlarged(subject.trained, squares)))
    session = open_session(joined(parts, {}).SerializeToString(), "the ONNX model")
    second = open_session(parts.answer.SerializeToString(), "the ONNX model")
    answers = _of_session(second)
    runs = Runs(lambda squares: answers(enlarged(subject.trained, squares)), _of_session(session))
    parity, shares = _try(subject, runs, wish), _shares(subject, runs.without_resizing)
    facts = _card(subject, wish)
    for name, share in zip(("before", "after"), shares, strict=True):
        facts.checked[name] = None if share is None else share._asdict()
    facts.checked["parity"] = parity.to_json()
    data = joined(parts, facts.metadata()).SerializeToString()
    speeds[f"ONNX {wish.precision}"] = runs.including_resizing
    _write(wish, data)
    return Exported(_place(wish), parity, *shares, len(data) / 1e6, _speeds(subject, speeds))


def _of_session(session: Any) -> Answers:
    return lambda pictures: run_session(session, pictures, "probabilities")


def _try(subject: _Subject, runs: Runs, wish: Wish) -> Parity:
    bounds = _FLOAT32 if wish.precision == "float32" else _ROUNDED
    return try_out(subject.trained, subject.samples(), runs, bounds, real=subject.found is not None)


def _shares(subject: _Subject, answers: Answers) -> tuple[Share | None, Share | None]:
    judging = subject.judging()
    if judging is None:
        return None, None
    squares, labels = judging
    before = probabilities_of(subject.trained, squares).argmax(axis=1)
    after = answers(squares).argmax(axis=1)
    first, second = (Share(int((each == labels).sum()), len(labels)) for each in (before, after))
    return first, second


def _speeds(subject: _Subject, others: dict[str, Answers]) -> dict[str, float]:
    sample = next(iter(subject.samples()))
    picture = np.repeat(sample.square, 3, axis=2) if sample.square.shape[2] == 1 else sample.square
    torch_takes = milliseconds(lambda squares: probabilities_of(subject.trained, squares), sample.square[None])
    return {name: milliseconds(each, picture[None]) for name, each in others.items()} | {"torch": torch_takes}


def _card(subject: _Subject, wish: Wish) -> OnnxCard:
    trained = subject.trained
    return OnnxCard(
        format=CARD_FORMAT,
        written_by=version("saccade"),
        model=trained.network.spec.model,
        class_names=list(trained.class_names),
        image_size=side_of(trained.network.spec),
        preparation=trained.preparation.to_json(),
        certainty=trained.certainty.to_json(),
        run_hash=run_hash(subject.run),
        licence=licence_of(subject.run).note,
        precision=wish.precision,
        checked={},
        mean=trained.network.normalise.mean.flatten().tolist(),
    )


def _place(wish: Wish) -> Path:
    if wish.output is None:
        raise ValueError("the place is chosen before anything is written")
    return wish.output


def _write(wish: Wish, data: bytes) -> None:
    with whole_file(_place(wish)) as partial:
        partial.write_bytes(data)
