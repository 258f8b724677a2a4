"""Whether an exported file answers as the network does, picture by picture; and what it costs where it may not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from saccade.data.augment import enlarge
from saccade.errors import DataError, ExportError
from saccade.models.network import side_of
from saccade.trained import TrainedNetwork
from saccade.use.export_pictures import Pixels, Sample

Probabilities = npt.NDArray[np.float64]
Row = npt.NDArray[np.float32]
Answers = Callable[[Pixels], npt.NDArray[np.float32]]
"""uint8 pictures of one size -> probabilities (N, K)."""

_REMEDY = "no file was written; try another --format, without --half, or report it with the name of the network"
_CHUNK, _BATCH = 16, 64
_TIMED, _TIMED_BATCH = 5, 16


class Bound(NamedTuple):
    """How far probabilities may be apart, and the lead of the most likely class below which labels may differ."""

    probability: float
    lead: float


# float32: what a different order of sums may do. Including the resizing: a grey level here and there.
WITHOUT_RESIZING = Bound(1e-4, 0.0)
WITH_RESIZING = Bound(0.01, 0.02)


class Reference(NamedTuple):
    """What the package says: the pictures' names, their squares (N, side, side, C), and probabilities (N, K)."""

    names: list[str]
    squares: Pixels
    probabilities: Probabilities


@dataclass(frozen=True)
class Difference:
    """How far a file is from the network over some pictures.

    Attributes:
        num_pictures: that were compared.
        largest: difference of a probability.
        same_labels: share of pictures with the same most likely class.
    """

    num_pictures: int
    largest: float
    same_labels: float


class Runs(NamedTuple):
    """How a file is run: on prepared squares (N, side, side, C), and on pictures (N, H, W, 3)."""

    without_resizing: Answers
    including_resizing: Answers


@dataclass(frozen=True)
class Parity:
    """What came of trying a file on pictures.

    Attributes:
        real: whether these were pictures of the run; else they were made up.
        without_resizing: fed with squares that the package prepared.
        including_resizing: fed with the pictures as they were decoded.
        in_full: fed with large JPEGs decoded in full, which the package reduces while decoding; None: there were none.
    """

    real: bool
    without_resizing: Difference
    including_resizing: Difference
    in_full: Difference | None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class Bounds(NamedTuple):
    """Of both steps; None: nothing is refused but numbers that are not finite."""

    without_resizing: Bound | None
    including_resizing: Bound | None


def try_out(trained: TrainedNetwork, samples: Iterable[Sample], runs: Runs, bounds: Bounds, *, real: bool) -> Parity:
    """Run a file on pictures, a few at a time.

    Args:
        trained: on the CPU; what it says is right.
        samples: any number of pictures.
        runs: the file.
        bounds: what it must keep to.
        real: whether the samples are pictures of the run.

    Raises:
        ExportError: a bound is broken; it names the step, the picture and the difference.
        DataError: there is no picture.
    """
    steps: tuple[list[Difference], ...] = ([], [], [])
    left = iter(samples)
    while chunk := list(islice(left, _CHUNK)):
        reference = reference_of(trained, chunk)
        found = runs.without_resizing(reference.squares)
        steps[0].append(compare("without resizing", reference, found, bounds.without_resizing))
        each = (runs.including_resizing(sample.pixels[None])[0] for sample in chunk)
        steps[1].append(compare("including resizing", reference, each, bounds.including_resizing))
        for place, sample in enumerate(chunk):
            if sample.in_full is not None:
                one = Reference([sample.name], reference.squares, reference.probabilities[place : place + 1])
                steps[2].append(compare("decoded in full", one, runs.including_resizing(sample.in_full[None]), None))
    if not steps[0]:
        raise DataError("there is no picture to try the file on")
    return Parity(real, _merged(steps[0]), _merged(steps[1]), _merged(steps[2]) if steps[2] else None)


def _merged(parts: Sequence[Difference]) -> Difference:
    total = sum(part.num_pictures for part in parts)
    same = sum(part.same_labels * part.num_pictures for part in parts) / total
    return Difference(total, max(part.largest for part in parts), same)


@torch.no_grad()
def probabilities_of(trained: TrainedNetwork, squares: Pixels) -> Probabilities:
    """The package's own answer, float32 on the CPU: squares uint8 (N, side, side, C) -> (N, K)."""
    found = []
    for start in range(0, len(squares), _BATCH):
        images = torch.from_numpy(np.array(squares[start : start + _BATCH])).permute(0, 3, 1, 2)
        logits = trained.network(enlarge(images, side_of(trained.network.spec)))
        found.append(trained.certainty.probabilities(logits).numpy())
    return np.concatenate(found)


def enlarged(trained: TrainedNetwork, squares: Pixels) -> Pixels:
    """What the network is shown: (N, side, side, C) -> (N, C, S, S)."""
    images = torch.from_numpy(np.array(squares)).permute(0, 3, 1, 2)
    return np.ascontiguousarray(enlarge(images, side_of(trained.network.spec)).numpy())


def reference_of(trained: TrainedNetwork, samples: Sequence[Sample]) -> Reference:
    """What the package says about the samples' squares."""
    squares = np.stack([sample.square for sample in samples])
    names = [sample.name for sample in samples]
    return Reference(names, squares, probabilities_of(trained, squares))


def compare(
    step: str, reference: Reference, found: Iterable[npt.NDArray[np.floating]], bound: Bound | None
) -> Difference:
    """Hold a file's probabilities against the package's.

    Args:
        step: what was done, for the message: "without resizing", "including resizing".
        reference: the package's.
        found: the file's, (K,) a picture, in the same order.
        bound: None: only numbers that are not finite are refused.

    Raises:
        ExportError: the bound is broken; it names the step, the picture and the difference.
    """
    differences, same = [], []
    for name, expected, given in zip(reference.names, reference.probabilities, found, strict=True):
        if not np.isfinite(given).all():
            raise ExportError(f"{step} the file gives numbers that are not finite", where=name, remedy=_REMEDY)
        difference = float(np.abs(given - expected).max())
        first, second = np.sort(expected)[::-1][:2]
        is_same = int(given.argmax()) == int(expected.argmax())
        too_far = bound is not None and difference > bound.probability
        flipped = bound is not None and not is_same and (bound.lead == 0 or first - second > bound.lead)
        if bound is not None and (too_far or flipped):
            said = f"probabilities differ by {difference:.2g}, where {bound.probability:g} is allowed"
            label = f"; the label too, with a lead of {first - second:.2g}" if not is_same else ""
            raise ExportError(
                f"{step} the file does not answer as the network does: {said}{label}", where=name, remedy=_REMEDY
            )
        differences.append(difference)
        same.append(is_same)
    return Difference(len(same), max(differences), float(np.mean(same)))


def milliseconds(answers: Callable[[Pixels], object], squares: Pixels) -> float:
    """Per picture, in batches of 16, with the threads of the process: the median of five."""
    batch = np.resize(squares, (_TIMED_BATCH, *squares.shape[1:]))
    answers(batch)
    taken = []
    for _ in range(_TIMED):
        began = time.perf_counter()
        answers(batch)
        taken.append(time.perf_counter() - began)
    return 1000 * median(taken) / _TIMED_BATCH
