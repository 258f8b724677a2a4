"""What a network says about a picture: the record, several of them, and a line for people."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from saccade.data.cells import printable
from saccade.data.listing import FileItem
from saccade.data.prepare import prepare, prepare_pixels
from saccade.data.sources.read import read_item
from saccade.errors import PictureError
from saccade.trained import TrainedNetwork
from saccade.use.squares import Pixels, as_picture

Picture = str | Path | Pixels


class Guess(NamedTuple):
    """A class and how likely the network finds it, 0..1."""

    class_name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What the network says about one picture.

    Attributes:
        name: the path, or `picture 3` for an array.
        guesses: the most likely classes, best first; empty when the picture could not be read.
        reason: "" or the reason code why it could not be read.
        detail: the same in words.
        sure: whether the most likely class may be taken for the answer: its probability reaches the run's threshold.
    """

    name: str
    guesses: tuple[Guess, ...]
    reason: str = ""
    detail: str = ""
    sure: bool = True

    @property
    def class_name(self) -> str | None:
        """The most likely class, sure or not, or None when the picture could not be read."""
        return self.guesses[0].class_name if self.guesses else None

    @property
    def probability(self) -> float | None:
        """Of the most likely class."""
        return self.guesses[0].probability if self.guesses else None

    def __str__(self) -> str:
        """As the command prints it: `photo.jpg  cat 97.1%  dog 2.9%`."""
        return in_words(self)

    def to_json(self) -> dict[str, object]:
        """As plain values; in place of `sure` there is `reason` when the picture could not be read."""
        guesses = [guess._asdict() for guess in self.guesses]
        trouble = {"reason": self.reason, "detail": printable(self.detail)} if self.reason else {"sure": self.sure}
        return {"path": printable(self.name), "guesses": guesses, **trouble}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Prediction:
        """Read again what `to_json` wrote; the name in its printable form."""
        guesses = tuple(Guess(guess["class_name"], guess["probability"]) for guess in values["guesses"])
        trouble = str(values.get("reason", "")), str(values.get("detail", ""))
        return cls(str(values["path"]), guesses, *trouble, sure=bool(values.get("sure", True)))


class Predictions(Sequence[Prediction]):
    """A prediction per picture, in the order in which they were given."""

    def __init__(self, predictions: Iterable[Prediction]) -> None:
        self._all = tuple(predictions)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: int) -> Prediction:  # type: ignore[override]  # no slices: nobody needs them
        return self._all[index]

    def __repr__(self) -> str:
        return "\n".join(in_words(prediction) for prediction in self._all)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(printable(p.name))}</td><td>{html.escape(_answer(p))}</td>"
            f"<td>{'' if p.probability is None else f'{p.probability:.1%}'}</td></tr>"
            for p in self._all
        )
        return f"<table><tr><th>picture</th><th>class</th><th>probability</th></tr>{rows}</table>"


def in_words(prediction: Prediction) -> str:
    """A line for the screen: `photo.jpg  cat 97.1%  dog 2.9%`; one that is not sure says so before its guesses."""
    name = on_one_line(prediction.name)
    if prediction.reason:
        return f"{name}  cannot be used: {prediction.reason} ({on_one_line(prediction.detail)})"
    guesses = "  ".join(f"{guess.class_name} {guess.probability:.1%}" for guess in prediction.guesses)
    return f"{name}  {guesses}" if prediction.sure else f"{name}  not sure: {guesses}"


def on_one_line(text: str) -> str:
    """The text with line breaks and signs that command a terminal written out as \\n and \\x1b."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in printable(text)
    )


def _answer(prediction: Prediction) -> str:
    if prediction.class_name is None:
        return prediction.detail
    return prediction.class_name if prediction.sure else f"not sure: {prediction.class_name}?"


def read_square(named: tuple[str, Picture], trained: TrainedNetwork) -> Pixels | PictureError:
    """A picture, with what to call it, as the square that the network was trained on; or why it cannot be read.

    Raises:
        ArrayError: an array is not a picture.
    """
    name, picture = named
    if isinstance(picture, np.ndarray):
        return prepare_pixels(as_picture(picture, name), trained.preparation)
    try:
        return prepare(read_item(FileItem(name, Path(picture))), name, trained.preparation).pixels
    except PictureError as error:
        return error
