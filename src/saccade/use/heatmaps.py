"""Heat maps of pictures as arrays and as PNG: the door for whoever shows heat beside something else (page, server)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saccade.data.augment import enlarge
from saccade.errors import UsageError
from saccade.models.network import Network, side_of
from saccade.trained import TrainedNetwork
from saccade.use.border import border_shares
from saccade.use.heat import Heat, Window, batch_size, corners_of, grad_cam, occlusion
from saccade.use.sheets import CELL, Pixels, heat_over, png
from saccade.use.stage_maps import choose_stage

Method = Literal["gradcam", "occlusion", "features", "filters"]
METHODS: tuple[Method, ...] = ("gradcam", "occlusion", "features", "filters")
HEAT_METHODS = METHODS[:2]
# The covering square is a fifth of the side and moves by half of itself: about a hundred places.
_WINDOW_SHARE = 5
_Seek = Callable[[Tensor, Tensor | None], Heat]


@dataclass(frozen=True)
class Question:
    """What is asked about pictures.

    Attributes:
        method: gradcam, occlusion, features or filters.
        stage: to look at; None for the one that `stage_maps.choose_stage` finds. Occlusion and filters need none.
        class_name: that the heat is about; None for the one that the network names.

    Raises:
        UsageError: there is no such method, or it looks at no stage.
    """

    method: Method = "gradcam"
    stage: str | None = None
    class_name: str | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            near = difflib.get_close_matches(self.method, METHODS, n=1)
            remedy = f"{f'did you mean {near[0]}? ' if near else ''}There are {', '.join(METHODS)}"
            raise UsageError(f"there is no method {self.method!r}", where="--method", remedy=remedy)
        if self.stage is not None and self.method in ("occlusion", "filters"):
            remedy = "leave out --stage, or use --method gradcam or features"
            raise UsageError(
                f"the method {self.method} looks at no stage", where=f"--stage {self.stage}", remedy=remedy
            )


class HeatMap(NamedTuple):
    """Where one picture speaks for one class.

    Attributes:
        pixels: uint8 (S, S, C), what the network was given.
        heat: float32 (h, w): of a stage, or per pixel of what the network sees; see `heat.Heat`.
        class_name: that it is about.
        probability: of that class, 0..1.
        predicted: the class that the network names.
        source: what the heat is from, in words: `layer3_1, 6×6 places`.
    """

    pixels: Pixels
    heat: npt.NDArray[np.float32]
    class_name: str
    probability: float
    predicted: str
    source: str

    @property
    def border_share(self) -> float | None:
        """Share of the heat in the outer tenth of the picture on each side, 0..1; None without any heat."""
        share = float(border_shares(self.heat[None])[0])
        return None if np.isnan(share) else share

    def over(self, side: int = CELL) -> Pixels:
        """The heat over the picture: uint8 (s, s, 3), s at least `side`."""
        return heat_over(self.pixels, self.heat, side)

    def png(self, side: int = CELL) -> bytes:
        """The same as the bytes of a PNG."""
        return png(self.over(side))

    def to_json(self) -> dict[str, object]:
        """As plain values, without the arrays."""
        return {
            "class": self.class_name,
            "probability": self.probability,
            "predicted": self.predicted,
            "source": self.source,
            "border_share": self.border_share,
        }


def heat_maps(
    trained: TrainedNetwork, squares: Sequence[Pixels], question: Question, classes: Sequence[str] | None = None
) -> Iterator[HeatMap]:
    """Heat for pictures that are squares already, one after the other and in bounded memory.

    Args:
        trained: on whatever device.
        squares: uint8 (side, side, C), as `data.prepare` or a pack gives them.
        question: gradcam or occlusion.
        classes: what each heat map is about; None for the question's class or, without one, the predicted.

    Raises:
        UsageError: there is no such class or stage, or the stage gives no map.
    """
    network = trained.network
    names = list(classes) if classes is not None else [question.class_name] * len(squares)
    labels = [class_number(trained, name) for name in names if name is not None]
    seek, source = _seeker(network, question)
    for start in range(0, len(squares), batch_size(network)):
        some = squares[start : start + batch_size(network)]
        chosen = torch.tensor(labels[start : start + len(some)]) if labels else None
        found = seek(as_batch(network, some), chosen)
        shares = trained.certainty.probabilities(found.logits).gather(1, found.classes[:, None])[:, 0].tolist()
        of = zip(found.classes.tolist(), shares, found.logits.argmax(dim=1).tolist(), strict=True)
        for pixels, heat, (label, share, first) in zip(some, found.maps, of, strict=True):
            name, predicted = trained.class_names[label], trained.class_names[first]
            yield HeatMap(pixels, heat.numpy(), name, share, predicted, source)


def class_number(trained: TrainedNetwork, name: str) -> int:
    """Where a class stands among the network's outputs.

    Raises:
        UsageError: it knows no such class; the nearest name is given.
    """
    if name in trained.class_names:
        return trained.class_names.index(name)
    near = difflib.get_close_matches(name, trained.class_names, n=1, cutoff=0.4)
    known = ", ".join(trained.class_names[:10]) + (" …" if len(trained.class_names) > 10 else "")
    remedy = f"{f'did you mean {near[0]}? ' if near else ''}It knows {known}"
    raise UsageError(f"the network knows no class {name!r}", where="--class", remedy=remedy)


def as_batch(network: Network, squares: Sequence[Pixels]) -> Tensor:
    """Squares as the network takes them: uint8 (N, C, S, S) on its device."""
    images = torch.from_numpy(np.stack(squares)).to(network.normalise.mean.device).permute(0, 3, 1, 2)
    return enlarge(images, side_of(network.spec))


def occlusion_window(network: Network) -> Window:
    """The square that covers a place, for this network."""
    side = max(1, round(side_of(network.spec) / _WINDOW_SHARE))
    return Window(side, max(1, side // 2))


def num_looks(network: Network) -> int:
    """How often occlusion looks at a picture with a place covered: at most 121 times, whatever its size."""
    return len(corners_of(side_of(network.spec), occlusion_window(network)))


def _seeker(network: Network, question: Question) -> tuple[_Seek, str]:
    """How to find the heat, and what it is from, in words."""
    if question.method not in HEAT_METHODS:
        raise UsageError(
            f"the method {question.method} gives no heat", where="--method", remedy="use gradcam or occlusion"
        )
    if question.method == "occlusion":
        window = occlusion_window(network)
        covered = f"a grey square of {window.side}×{window.side} pixels at {num_looks(network)} places"
        return lambda images, classes: occlusion(network, images, window, classes), covered
    at = choose_stage(network, question.stage)
    places = f"{at.stage}, {at.side}×{at.side} places"
    return lambda images, classes: grad_cam(network, images, at, classes), places
