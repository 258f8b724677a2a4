"""A trained network with all that is needed to use it on new pictures, and the one file that holds them together."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from saccade.data.prepare import Preparation
from saccade.errors import RunError
from saccade.models.certainty import UNCALIBRATED, Certainty
from saccade.models.network import Network
from saccade.models.weights import load_network, save_network


class TrainedNetwork(NamedTuple):
    """A network in inference mode, what its outputs mean, and how pictures are made ready for it."""

    network: Network
    class_names: tuple[str, ...]
    preparation: Preparation
    certainty: Certainty = UNCALIBRATED


def save_trained(path: Path, trained: TrainedNetwork) -> None:
    """One .safetensors file with everything; see docs/formats.md."""
    extra = {
        "class_names": list(trained.class_names),
        "preparation": trained.preparation.to_json(),
        "certainty": trained.certainty.to_json(),
    }
    save_network(path, trained.network, extra)


def load_trained(path: Path) -> TrainedNetwork:
    """What `save_trained` wrote.

    Raises:
        WeightsError: the file is missing, damaged or from a newer version.
        RunError: it does not say what its classes are.
    """
    network, extra = load_network(path)
    try:
        class_names = tuple(str(name) for name in extra["class_names"])
        preparation = Preparation.from_json(extra["preparation"])
        # Runs of before have none: their probabilities stay what they were.
        certainty = Certainty.from_json(extra["certainty"]) if "certainty" in extra else UNCALIBRATED
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"the weights do not say how to prepare pictures: {error}", where=str(path)) from None
    if len(class_names) != network.spec.num_classes:
        raise RunError(
            f"{len(class_names)} class names for a network of {network.spec.num_classes} classes", where=str(path)
        )
    return TrainedNetwork(network, class_names, preparation, certainty)
