"""From a network and labelled pictures to numbers about it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saccade.data.batches import Batches
from saccade.data.cells import printable
from saccade.data.listing import TEST, UNKNOWN_LABEL
from saccade.data.pack import Pack, open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sources.named import WORDS
from saccade.data.sources.open import open_pictures
from saccade.errors import DataError, LabelError
from saccade.evaluation.looks import SeveralLooks
from saccade.metrics import Evaluation
from saccade.models.catalogue import find_entry
from saccade.models.network import side_of
from saccade.recipe import Looks
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork

EVALUATION_BATCH = 128


class Rows(NamedTuple):
    """Some pictures of a pack and what to call them: train, val, test or all."""

    pack: Pack
    rows: npt.NDArray[np.int64]
    part: str


class Classifying(Protocol):
    """A network, or what follows the frozen part of one."""

    def eval(self) -> object:
        """Switch to inference mode."""

    def __call__(self, images: Tensor) -> Tensor:
        """What the batches hold -> logits (N, K)."""


class ShownBatch(Protocol):
    """A batch on its device."""

    @property
    def images(self) -> Tensor:
        """Pictures, or what the frozen stages gave for them."""


class Shown(Protocol):
    """All pictures of a part, in the order of their rows."""

    def epoch(self, epoch: int) -> Iterable[ShownBatch]:
        """Batch by batch."""


class Judge(NamedTuple):
    """Who looks, and what at."""

    network: Classifying
    batches: Shown


@torch.no_grad()
def logits_of(network: Classifying, batches: Iterable[ShownBatch]) -> npt.NDArray[np.float64]:
    """Logits (N, K) of every picture, in the order of the batches."""
    network.eval()
    return np.concatenate([network(batch.images).cpu().double().numpy() for batch in batches])


def evaluate(trained: TrainedNetwork, chosen: Rows, device: torch.device, looks: Looks = "none") -> Evaluation:
    """What a network says about labelled pictures.

    Args:
        trained: its class names decide what the labels mean; the pack's are compared with them by name.
        chosen: which pictures.
        device: where the network already is.
        looks: how often at each picture; what the answers are worth is then that of several looks.

    Raises:
        LabelError: the pictures show a class that the network does not know.
        DataError: no picture is left to judge.
    """
    pack, rows, _ = chosen
    seeing = trained.network if looks == "none" else SeveralLooks(trained.network, looks)
    size = side_of(trained.network.spec)
    batches = Batches(pack.images, pack.labels, rows, EVALUATION_BATCH, size, device)
    return evaluate_by(Judge(seeing, batches), trained, chosen)


def evaluate_by(judge: Judge, trained: TrainedNetwork, chosen: Rows) -> Evaluation:
    """The same by a judge who is at hand: his batches must be those of the chosen rows, in their order."""
    pack, rows, part = chosen
    if len(rows) == 0:
        raise DataError(f"there is no picture to evaluate in the {part} part", where=str(pack.folder))
    labels = _labels_for(trained.class_names, pack, rows)
    logits = logits_of(judge.network, judge.batches.epoch(0))
    probabilities = trained.certainty.probabilities(torch.from_numpy(logits)).numpy()
    names = tuple(pack.names[row] for row in rows.tolist())
    return Evaluation(
        part, trained.class_names, labels[rows], probabilities, names, logits, trained.certainty.temperature
    )


def _labels_for(class_names: tuple[str, ...], pack: Pack, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The pack's labels as the network counts its classes: names are compared, never numbers."""
    known = {name: index for index, name in enumerate(class_names)}
    translation = np.array([known.get(name, UNKNOWN_LABEL) for name in pack.class_names], dtype=np.int64)
    labels = translation[pack.labels]
    unknown = sorted({pack.class_names[pack.labels[row]] for row in rows.tolist() if labels[row] == UNKNOWN_LABEL})
    if unknown:
        raise LabelError(
            f"these pictures show classes the network was not trained on: {', '.join(unknown[:5])}",
            where=f"the network knows {', '.join(class_names[:5])}{' …' if len(class_names) > 5 else ''}",
            remedy="rename the class folders to the network's names, or leave those pictures out",
        )
    return labels


def known_leaks(run: RunFolder, chosen: Rows) -> npt.NDArray[np.bool_] | None:
    """(N,) which of the run's own test pictures were learned from too, as the run wrote down; None where it did not."""
    leaked = {row["path"] for row in run.predictions if row.get("leaked") == "yes"}
    if chosen.part != TEST or not leaked:
        return None
    return np.array([printable(chosen.pack.names[row]) in leaked for row in chosen.rows.tolist()], dtype=bool)


def reopen_pictures(run: RunFolder, trained: TrainedNetwork, pictures: str | Path | None, work: Work) -> Rows:
    """The pictures to judge a run by.

    Without `pictures` these are the run's own test pictures, found again where they lay; otherwise the test part
    of the pictures given, or all of them where they have no parts.

    Raises:
        DataError: the run's own pictures are no longer where they were.
    """
    source = run.data_report["source"] if pictures is None else str(pictures)
    if pictures is None and source not in WORDS and "{" not in source and not Path(source).exists():
        raise DataError(
            "the pictures this run was trained on are no longer there",
            where=source,
            remedy="name pictures to evaluate on; the results of the training's end are in metrics.json",
        )
    listing = open_pictures(source, allow_empty_class=True, data_dir=run.recipe.data_dir if source in WORDS else None)
    pack = open_pack(listing, _settings(trained), work._replace(stream=work.workers if run.recipe.stream else 0))
    if pictures is None:
        splits = run.splits
        own = np.array([splits.get(printable(name)) == TEST for name in pack.names], dtype=bool)
        return Rows(pack, pack.usable[own[pack.usable]], TEST)
    if (listing.splits == TEST).any():
        return Rows(pack, pack.usable[listing.splits[pack.usable] == TEST], TEST)
    return Rows(pack, pack.usable, "all")


def _settings(trained: TrainedNetwork) -> PackSettings:
    spec, preparation = trained.network.spec, trained.preparation
    grey = find_entry(spec.model).in_channels == 1
    return PackSettings(side_of(spec), grey, preparation.fit, preparation.rules)
