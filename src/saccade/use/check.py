"""The whole check of a collection: everything that data/ finds and, with a network, labels that look wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from saccade.data.audit import describe_pictures
from saccade.data.batches import Batches
from saccade.data.decode import DecodeRules
from saccade.data.duplicates import Duplicates, duplicates_of
from saccade.data.findings import brief, describe_looks, describe_sides
from saccade.data.listing import Listing
from saccade.data.pack import Pack, open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sides import Sides, groups_from, take_sides, units_of
from saccade.data.sources.open import open_pictures
from saccade.data.split import Draw, check_splits
from saccade.engine import num_cores
from saccade.errors import DataError, LabelError
from saccade.evaluation.suspects import Suspect, features_of, find_suspects, out_of_fold
from saccade.models.catalogue import build_network, find_entry
from saccade.models.network import Network, NetworkSpec, side_of
from saccade.models.weights import initialise
from saccade.runs import RunFolder
from saccade.screen import Screen
from saccade.use.pretrained import names_a_network

_SIDE = 128  # pixels of the pack that is made when no network says otherwise: enough to look at
_BATCH = 128
_MOST_SUSPECTS = 1000  # listed by name


class Looker(NamedTuple):
    """A network whose features tell what a picture looks like, and how it wants its pictures."""

    network: Network
    settings: PackSettings


class Asked(NamedTuple):
    """What a check was asked beside the pictures."""

    group_by: str | None = None
    seed: int = 0
    data_dir: str | None = None
    looker: Looker | None = None
    device: torch.device = torch.device("cpu")


class Checked(NamedTuple):
    """What was found, and the pictures it was found in.

    Attributes:
        parts: (N,) the part of every row of the pack, "" where it is not used.
        suspects: their `picture` is a row of the pack.
        groups: (N,) "" for a picture alone.
        report: what goes into data_report.json.
    """

    listing: Listing
    pack: Pack
    duplicates: Duplicates
    sides: Sides
    parts: npt.NDArray[np.str_]
    suspects: tuple[Suspect, ...]
    groups: tuple[str, ...]
    report: dict[str, Any]

    @property
    def warnings(self) -> list[str]:
        """Sentences about what should not be overlooked."""
        return [str(sentence) for sentence in self.report["warnings"]]


def check_pictures(pictures: str | Path, asked: Asked, screen: Screen) -> Checked:
    """Look at labelled pictures of any form that can be opened.

    Raises:
        DataError: nothing there can be used.
        SaccadeError: of listing and decoding; see errors.py.
    """
    listing = open_pictures(pictures, allow_empty_class=True, data_dir=asked.data_dir, group_by=asked.group_by)
    pack = _pack(listing, asked, screen)
    if len(pack.usable) == 0:
        raise DataError("no picture has a known class, so there is nothing to check", where=listing.source)
    groups = groups_from(pack.names, listing.groups, asked.group_by)
    screen.say("looking for copies")
    duplicates = duplicates_of(pack, num_cores())
    sides = take_sides(pack, duplicates, groups, Draw(asked.seed))
    suspects: tuple[Suspect, ...] = ()
    accuracy = 0.0
    if asked.looker is not None:
        suspects, accuracy = _suspects(pack, units_of(pack, duplicates, groups), asked.looker.network, asked.device)
    report = _report(listing, pack, duplicates, sides)
    report["suspects"] = _named(pack, suspects, accuracy) if asked.looker is not None else None
    report["warnings"] = [*_thin(pack, sides), *brief(report), *_about_outliers(report), *_about_suspects(report)]
    parts = np.full(len(pack.names), "", dtype=sides.parts.dtype)
    parts[sides.rows] = sides.parts
    return Checked(listing, pack, duplicates, sides, parts, suspects, tuple(groups), report)


def open_looker(name: str, weights: str, say: Callable[[str], None]) -> Looker:
    """The network of a run folder, or one of the catalogue with published weights or those of a file.

    Raises:
        RunError, ModelError, WeightsError: there is no such run or network, or its weights do not fit.
    """
    if not names_a_network(name):
        trained = RunFolder.open(name).load()
        preparation, network = trained.preparation, trained.network
        grey = find_entry(network.spec.model).in_channels == 1
        return Looker(network, PackSettings(side_of(network.spec), grey, preparation.fit, preparation.rules))
    entry = find_entry(name)
    network = build_network(NetworkSpec(name, 2, entry.image_size, entry.in_channels), 0)
    for line in initialise(network, weights).in_words():
        say(line)
    return Looker(network, PackSettings(entry.image_size, entry.in_channels == 1, "squash", DecodeRules()))


def _pack(listing: Listing, asked: Asked, screen: Screen) -> Pack:
    settings = asked.looker.settings if asked.looker else PackSettings(_SIDE, False, "squash", DecodeRules())
    with screen.bar("decoding", len(listing)) as bar:
        work = Work(num_cores(), False, lambda done, total: bar(done, f"{done:,} of {total:,}"))
        return open_pack(listing, settings, work)


def _report(listing: Listing, pack: Pack, duplicates: Duplicates, sides: Sides) -> dict[str, Any]:
    about = describe_pictures(pack, sides.rows, sides.parts, listing.source, list(listing.notes))
    return about | describe_looks(pack) | describe_sides(pack, duplicates, sides)


def _suspects(
    pack: Pack, units: npt.NDArray[np.str_], network: Network, device: torch.device
) -> tuple[tuple[Suspect, ...], float]:
    """The suspects by rows of the pack, and the share of all labels that was named out of fold."""
    rows = pack.usable
    batches = Batches(pack.images, pack.labels, rows, _BATCH, side_of(network.spec), device)
    features = features_of(network.to(device), batches.epoch(0))
    labels = pack.labels[rows]
    probabilities = out_of_fold(features, labels, units[rows].tolist())
    found = (each._replace(picture=int(rows[each.picture])) for each in find_suspects(probabilities, labels))
    return tuple(found), float((probabilities.argmax(axis=1) == labels).mean())


def _named(pack: Pack, suspects: Sequence[Suspect], accuracy: float) -> dict[str, Any]:
    """For data_report.json."""
    listed = [
        {
            "picture": pack.names[each.picture],
            "label": pack.class_names[each.label],
            "likely": pack.class_names[each.likely],
            "self_confidence": round(each.self_confidence, 4),
            "confidence": round(each.confidence, 4),
        }
        for each in suspects[:_MOST_SUSPECTS]
    ]
    return {"num_pictures": len(suspects), "accuracy": accuracy, "pictures": listed}


def _thin(pack: Pack, sides: Sides) -> list[str]:
    try:
        return check_splits(pack.labels[sides.rows], sides.parts, pack.class_names)
    except LabelError as error:
        return [error.what]


def _about_outliers(report: dict[str, Any]) -> list[str]:
    found = {name: about["num_pictures"] for name, about in report["outliers"].items() if about["num_pictures"]}
    if not found:
        return []
    counted = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found.items())
    return [f"pictures that stand out: {counted}"]


def _about_suspects(report: dict[str, Any]) -> list[str]:
    found = report["suspects"]
    if found is None or not found["num_pictures"]:
        return []
    return [
        f"{found['num_pictures']:,} labels look wrong to a network that names {found['accuracy']:.0%} of the pictures "
        "as they are labelled; the first on the list are the likeliest: see them before you change them"
    ]
