"""New pictures in, class names and probabilities out; one answer per picture, errors included."""

from __future__ import annotations

import glob
import html
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from saccade.data.augment import enlarge
from saccade.data.cells import printable, write_csv
from saccade.data.listing import FileItem
from saccade.data.prepare import prepare, prepare_pixels
from saccade.data.sources.read import read_item
from saccade.errors import ArrayError, PictureError, UsageError
from saccade.models.network import side_of
from saccade.runs import TrainedNetwork

BATCH = 64
Pixels = npt.NDArray[np.uint8]
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

    def to_json(self) -> dict[str, object]:
        """As plain values; in place of `sure` there is `reason` when the picture could not be read."""
        guesses = [guess._asdict() for guess in self.guesses]
        trouble = {"reason": self.reason, "detail": printable(self.detail)} if self.reason else {"sure": self.sure}
        return {"path": printable(self.name), "guesses": guesses, **trouble}


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


def predict(
    trained: TrainedNetwork, pictures: Iterable[Picture], device: torch.device, top: int = 3
) -> Iterator[Prediction]:
    """Predict any number of pictures in constant memory.

    Args:
        trained: in inference mode, on `device`.
        pictures: paths, or uint8 arrays (H, W), (H, W, 1) or (H, W, 3) in 0..255.
        device: where the network is.
        top: how many classes to name, at most all of them.

    Yields:
        Exactly one prediction per picture, in order; a picture that cannot be read gives its reason.

    Raises:
        UsageError: `top` is below 1.
        ArrayError: an array is not a picture.
    """
    if top < 1:
        raise UsageError(f"at least one class must be named, got top={top}", where="top")
    named = (_named(picture, number) for number, picture in enumerate(pictures, start=1))
    with ThreadPoolExecutor(max_workers=4) as pool:
        while chunk := list(islice(named, BATCH)):
            prepared = list(pool.map(lambda pair: read_square(pair, trained), chunk))
            yield from _predict_chunk(trained, [name for name, _ in chunk], prepared, device, top)


def expand(paths: Sequence[str | Path]) -> Iterator[str]:
    """The pictures that files, folders and globs stand for; a path that is not there stays, to get its own row.

    Folders are walked in plain string order; names that begin with a dot are left out.
    """
    for path in paths:
        text = str(path)
        found: Iterable[str] = (text,)
        if Path(text).is_dir():
            found = _walk(Path(text))
        elif not Path(text).exists() and glob.has_magic(text):
            found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (an absolute glob)
        # A folder without files and a glob that fits none keep a row of their own: nothing disappears.
        yield from list(found) or (text,)


def in_words(prediction: Prediction) -> str:
    """A line for the screen: `photo.jpg  cat 97.1%  dog 2.9%`; one that is not sure says so before its guesses."""
    name = printable(prediction.name)
    if prediction.reason:
        return f"{name}  cannot be used: {prediction.reason} ({printable(prediction.detail)})"
    guesses = "  ".join(f"{guess.class_name} {guess.probability:.1%}" for guess in prediction.guesses)
    return f"{name}  {guesses}" if prediction.sure else f"{name}  not sure: {guesses}"


def write_predictions(path: Path, predictions: Sequence[Prediction], top: int) -> None:
    """A CSV with exactly one row per picture: path, class and probability of the best `top`, sure or not, reason."""
    top = min(top, max((len(prediction.guesses) for prediction in predictions), default=1) or 1)
    ranks = range(1, top + 1)
    header = ["path", *(f"{what}_{rank}" for rank in ranks for what in ("class", "probability"))]
    header += ["sure", "reason", "detail"]
    write_csv(path, header, (_row(prediction, top) for prediction in predictions))


def _row(prediction: Prediction, top: int) -> list[str]:
    cells = [cell for guess in prediction.guesses for cell in (guess.class_name, f"{guess.probability:.6f}")]
    empty = [""] * (2 * top - len(cells))
    sure = "" if prediction.reason else "yes" if prediction.sure else "no"
    return [prediction.name, *cells, *empty, sure, prediction.reason, prediction.detail]


def _answer(prediction: Prediction) -> str:
    if prediction.class_name is None:
        return prediction.detail
    return prediction.class_name if prediction.sure else f"not sure: {prediction.class_name}?"


def _named(picture: Picture, number: int) -> tuple[str, Picture]:
    return (f"picture {number}" if isinstance(picture, np.ndarray) else str(picture), picture)


def read_square(named: tuple[str, Picture], trained: TrainedNetwork) -> Pixels | PictureError:
    """A picture, with what to call it, as the square that the network was trained on; or why it cannot be read.

    Raises:
        ArrayError: an array is not a picture.
    """
    name, picture = named
    if isinstance(picture, np.ndarray):
        return prepare_pixels(_as_picture(picture, name), trained.preparation)
    try:
        return prepare(read_item(FileItem(name, Path(picture))), name, trained.preparation).pixels
    except PictureError as error:
        return error


def _as_picture(array: npt.NDArray[np.uint8], name: str) -> Pixels:
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype != np.uint8:
        raise ArrayError(
            f"a picture is uint8 (H, W), (H, W, 1) or (H, W, 3), got {array.dtype} {array.shape}",
            where=name,
            remedy="scale to 0..255 and convert with .astype(np.uint8)",
        )
    return pixels


@torch.no_grad()
def _predict_chunk(
    trained: TrainedNetwork,
    names: Sequence[str],
    prepared: Sequence[Pixels | PictureError],
    device: torch.device,
    top: int,
) -> Iterator[Prediction]:
    good = [pixels for pixels in prepared if not isinstance(pixels, PictureError)]
    ranked: Iterator[tuple[Guess, ...]] = iter(())
    if good:
        images = torch.from_numpy(np.stack(good)).to(device).permute(0, 3, 1, 2)
        logits = trained.network(enlarge(images, side_of(trained.network.spec))).cpu()
        # In the order of the logits, equals in the order of their classes: no temperature changes that.
        best = logits.sort(dim=1, descending=True, stable=True).indices[:, :top]
        values = trained.certainty.probabilities(logits).gather(1, best)
        ranked = (
            tuple(Guess(trained.class_names[index], share) for index, share in zip(indices, shares, strict=True))
            for indices, shares in zip(best.tolist(), values.tolist(), strict=True)
        )
    threshold = trained.certainty.threshold
    for name, pixels in zip(names, prepared, strict=True):
        if isinstance(pixels, PictureError):
            yield Prediction(name, (), pixels.reason, pixels.what)
        else:
            guesses = next(ranked)
            yield Prediction(name, guesses, sure=guesses[0].probability >= threshold)


def _walk(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir(), key=lambda found: found.name):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield str(path)
