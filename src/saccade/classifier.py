"""A network that is ready for new pictures: from a run folder, a published set of weights, or an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from saccade.models.certainty import Certainty
from saccade.recipe import (
    Compile,
    Looks,
    Precision,
)
from saccade.trained import TrainedNetwork
from saccade.use.answer import Answerer, Wanted
from saccade.use.explain import Explanations, method_for
from saccade.use.explain import explain as explain_pictures
from saccade.use.fast import USUAL, Speed
from saccade.use.heatmaps import Method, Question
from saccade.use.inputs import expand, named
from saccade.use.opened import device_for, open_trained
from saccade.use.predict import Picture, Prediction, Predictions


def load(
    run: str | Path,
    *,
    device: str = "auto",
    weights: Literal["best", "last"] = "best",
    precision: Precision = "float32",
    compile: Compile = "off",  # noqa: A002 - what the flag is called
    workers: int = 0,
    say: Callable[[str], None] | None = None,
) -> Classifier:
    """The classifier in a run folder; or, where there is no such folder, a published one such as `resnet50`.

    Args:
        run: a run folder, a network of the catalogue, or `timm/NAME`; the last two name ImageNet's classes. Or an
            .onnx file that `Run.export` wrote: it computes on the CPU, as it was written.
        device: auto, cpu, cuda, mps.
        weights: of a run.
        precision: float32, tf32, bfloat16 or auto, the fastest that is safe here; only float32 gives the same bits
            everywhere.
        compile: off, on, or auto: where it pays. What is compiled differs in the last digits.
        workers: processes that decode pictures; 0: one per core.
        say: told where published weights come from, and their terms.

    Raises:
        RunError: there is no run there.
        ModelError: the .onnx file is not there, damaged, or not saccade's.
        WeightsError: its weights are damaged or from a newer version.
        ResourceError: published weights are not here and cannot be downloaded.
    """
    return Classifier(open_trained(run, weights, say), device, Speed(precision, compile), workers)


def _one_by_one(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    """Folders and globs become the pictures that they stand for."""
    several = [pictures] if isinstance(pictures, str | Path | np.ndarray) else list(pictures)
    return [one for each in several for one in ([each] if isinstance(each, np.ndarray) else expand([each]))]


class Classifier:
    """A trained network, ready for new pictures.

    Args:
        trained: out of a run folder, or published.
        device: auto, cpu, cuda, mps.
        speed: what may be given up for it.
        workers: processes that decode pictures; 0: one per core.

    Attributes:
        answerer: what answers; it holds the processes that decode, which end with it or with its `close`.
    """

    def __init__(self, trained: TrainedNetwork, device: str = "auto", speed: Speed = USUAL, workers: int = 0) -> None:
        self.device = device_for(trained, device)
        self._trained = trained
        self.answerer = Answerer(trained, self.device, speed, workers)

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the network's outputs."""
        return self._trained.class_names

    @property
    def certainty(self) -> Certainty:
        """The temperature of its probabilities, and when it is "not sure"."""
        return self._trained.certainty

    def predict(
        self,
        pictures: Picture | Iterable[Picture],
        *,
        top: int = 3,
        min_accuracy: float | None = None,
        tta: Looks = "none",
    ) -> Predictions:
        """Name what pictures show.

        Args:
            pictures: a path, a folder, a glob, a zip or tar, a table with a column of paths, a uint8 array (H, W),
                (H, W, 1) or (H, W, 3), or several of them.
            top: how many classes to name.
            min_accuracy: that answers should have, 0..1; those below the confidence that follows from it are not
                sure. None as the run was trained with; 0: all are sure.
            tta: how often to look at a picture: none (once), flip (also at its mirror), shifts (also moved by a pixel).

        Returns:
            A prediction per picture; one that cannot be read has no guesses and a reason.

        Raises:
            UsageError: an accuracy is asked for, and nothing is known from which a threshold could follow.
            ArchiveError, TableError: an archive or a table that was named cannot be read.
        """
        return Predictions(self.predict_iter(pictures, top=top, min_accuracy=min_accuracy, tta=tta))

    def predict_iter(
        self,
        pictures: Picture | Iterable[Picture],
        *,
        top: int = 3,
        min_accuracy: float | None = None,
        tta: Looks = "none",
    ) -> Generator[Prediction]:
        """The same for any number of pictures in constant memory: each is taken, and answered, when its turn comes.

        Args:
            pictures: as for `predict`; also a generator without end.
            top, min_accuracy, tta: likewise.

        Yields:
            A prediction per picture, in order; a few dozen pictures are read ahead of it.

        Raises:
            UsageError, ArchiveError, TableError: as `predict`.
        """
        return self.answerer.stream(named(pictures), Wanted(top, min_accuracy, tta))

    def explain(
        self,
        pictures: Picture | Iterable[Picture] = (),
        *,
        method: Method | None = None,
        stage: str | None = None,
        class_name: str | None = None,
    ) -> Explanations:
        """Show where in pictures the network finds what it names, or what its stages make of them.

        Args:
            pictures: as for `predict`; the method `filters` looks at none.
            method: gradcam, occlusion, features (the maps of a stage), filters (of the first layer). None for gradcam,
                or for occlusion where the network is in an .onnx file, which can do no other.
            stage: for gradcam and features; None for the deepest whose map has at least 5 × 5 places.
            class_name: that the heat is about; None for the one that the network names.

        Returns:
            A drawn explanation per picture; one that cannot be read has no image and a reason. `save(folder)` writes
            them as PNG.

        Raises:
            UsageError: there is no such method, class or stage, the stage gives no map, or an .onnx file cannot do it.
        """
        question = Question(method_for(self._trained, method), stage, class_name)
        return Explanations(explain_pictures(self._trained, _one_by_one(pictures), question))

    def __repr__(self) -> str:
        spec = self._trained.network.spec
        return f"Classifier({spec.model}, {spec.image_size} pixels, {len(self.class_names)} classes, {self.device})"
