"""Pictures in, what a network says about them out: decoded in parallel, in batches, in constant memory, in order.

`predict`, the Python API and the server all ask an `Answerer`, so the same picture has the same answer in all three.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from itertools import groupby, islice
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor

from saccade.data.children import Children, Task
from saccade.data.prepare import prepare_pixels
from saccade.engine import num_cores
from saccade.errors import PictureError, UsageError
from saccade.recipe import Looks
from saccade.trained import TrainedNetwork
from saccade.use.fast import USUAL, FastNetwork, Speed
from saccade.use.inputs import ArrayItem, Named
from saccade.use.onnx_file import OnnxAnswers, OnnxNetwork
from saccade.use.predict import Guess, Prediction
from saccade.use.squares import Pixels, Readable, as_picture, read_squares

_SECONDS = 60.0  # a picture may take to be read and decoded; the largest that is accepted takes about five
_AT_ONCE = 8  # pictures a child is given
_GATHERED = 32  # pictures that are decoded before a batch is filled up: what cannot be read takes no place in one


class Wanted(NamedTuple):
    """What is asked about every picture.

    Attributes:
        top: how many classes to name, at most all of them.
        min_accuracy: that answers should have, 0..1, or they are not sure; None as the run was trained with.
        tta: how often to look at a picture: none (once), flip, shifts.
    """

    top: int = 3
    min_accuracy: float | None = None
    tta: Looks = "none"


PLAIN = Wanted()


class Answerer:
    """A trained network that answers about pictures; the processes that decode are kept from call to call.

    Args:
        trained: in inference mode.
        device: where it computes; it is moved there.
        speed: what may be given up for it.
        workers: processes that decode, 0: as many as there are cores; started when they are needed.

    One call at a time: it is not for several threads at once.
    """

    def __init__(self, trained: TrainedNetwork, device: torch.device, speed: Speed = USUAL, workers: int = 0) -> None:
        self.trained = trained
        self.device = device
        self.speed = speed
        trained.network.to(device).eval()
        self._network: FastNetwork | OnnxAnswers | None = None
        self._children = Children(workers or num_cores())
        self._end = weakref.finalize(self, _close, self._children)

    @property
    def network(self) -> FastNetwork | OnnxAnswers:
        """What computes; made when it is first needed."""
        if self._network is None:
            network = self.trained.network
            self._network = (
                OnnxAnswers(network) if isinstance(network, OnnxNetwork) else FastNetwork(network, self.speed)
            )
        return self._network

    def answer(self, pictures: Iterable[Named], wanted: Wanted = PLAIN) -> list[Prediction]:
        """A prediction per picture, in order.

        Args:
            pictures: what to call each, and where it is: `inputs.named` for paths and arrays, `Named(name,
                Encoded(name, data))` for the bytes of a file.
            wanted: what is asked.

        Raises:
            UsageError: `top` is below 1, or there is no threshold for the accuracy.
            ArrayError: an array is not a picture.
        """
        return list(self.stream(pictures, wanted))

    def stream(self, pictures: Iterable[Named], wanted: Wanted = PLAIN) -> Generator[Prediction]:
        """The same for any number of pictures, in constant memory: each is taken when its turn comes."""
        if wanted.top < 1:
            raise UsageError(f"at least one class must be named, got top={wanted.top}", where="top")
        certainty = self.trained.certainty
        if wanted.min_accuracy is not None:
            certainty = certainty.demanding(wanted.min_accuracy)
        trained = self.trained._replace(certainty=certainty)
        return self._stream(pictures, trained, wanted)

    def pairs(self, pictures: Iterable[Named], wanted: Wanted = PLAIN) -> Iterator[tuple[Named, Prediction]]:
        """As `stream`, each prediction beside what it is about."""
        taken: deque[Named] = deque()

        def noted() -> Iterator[Named]:
            for picture in pictures:
                taken.append(picture)
                yield picture

        for prediction in self.stream(noted(), wanted):
            yield taken.popleft(), prediction

    def close(self) -> None:
        """End the processes that decode. Without it they end with the object."""
        self._end()

    def _stream(self, pictures: Iterable[Named], trained: TrainedNetwork, wanted: Wanted) -> Generator[Prediction]:
        decoded = self._decoded(pictures)
        while chunk := list(islice(decoded, max(_GATHERED, self._network.batch if self._network else 0))):
            good = [square for _, square in chunk if not isinstance(square, PictureError)]
            ranked: Iterator[tuple[Guess, ...]] = iter(())
            if good:
                ranked = _ranked(self.network.logits(good, wanted.tta), trained, wanted.top)
            for name, square in chunk:
                if isinstance(square, PictureError):
                    yield Prediction(name, (), square.reason, square.what)
                else:
                    guesses = next(ranked)
                    yield Prediction(name, guesses, sure=guesses[0].probability >= trained.certainty.threshold)

    def _decoded(self, pictures: Iterable[Named]) -> Iterator[tuple[str, Pixels | PictureError]]:
        """The name and the square of each; no more are taken ahead than the processes have in hand."""
        names: deque[str] = deque()

        def items() -> Iterator[Readable | ArrayItem]:
            for name, item in pictures:
                names.append(name)
                yield item

        for kind, run in groupby(items(), key=lambda item: isinstance(item, ArrayItem)):
            for square in self._of_arrays(run) if kind else self._of_files(run):
                yield names.popleft(), square

    def _of_arrays(self, items: Iterable[Readable | ArrayItem]) -> Iterator[Pixels | PictureError]:
        for item in items:
            if isinstance(item, ArrayItem):
                yield prepare_pixels(as_picture(item.pixels, item.name), self.trained.preparation)

    def _of_files(self, items: Iterable[Readable | ArrayItem]) -> Generator[Pixels | PictureError]:
        run = partial(read_squares, preparation=self.trained.preparation)
        task: Task[Readable, Pixels | PictureError] = Task(run, _lost, _SECONDS)
        return self._children.stream(task, (item for item in items if _is_readable(item)), _AT_ONCE)


def _is_readable(item: Readable | ArrayItem) -> TypeGuard[Readable]:
    return not isinstance(item, ArrayItem)


def _lost(item: Readable) -> PictureError:
    what = f"decoding it crashed its process, or took longer than {_SECONDS:g} seconds"
    return PictureError("decoder_crashed", what, where=item.name)


def _close(children: Children) -> None:
    children.__exit__(None, None, None)


def _ranked(logits: Tensor, trained: TrainedNetwork, top: int) -> Iterator[tuple[Guess, ...]]:
    # In the order of the logits, equals in the order of their classes: no temperature changes that.
    best = logits.sort(dim=1, descending=True, stable=True).indices[:, :top]
    # A row at a time: a softmax over many rows may add in another order than over one.
    shares = torch.cat([trained.certainty.probabilities(row[None]) for row in logits]).gather(1, best)
    for indices, values in zip(best.tolist(), shares.tolist(), strict=True):
        yield tuple(Guess(trained.class_names[index], share) for index, share in zip(indices, values, strict=True))
