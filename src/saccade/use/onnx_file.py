"""A network in an ONNX file that saccade wrote: read again, checked, and used like one out of a run folder."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from saccade.data.prepare import Preparation
from saccade.errors import MissingExtraError, ModelError, ResourceError
from saccade.evaluation.looks import SeveralLooks
from saccade.models.certainty import Certainty
from saccade.models.network import Network, NetworkSpec
from saccade.recipe import Looks
from saccade.trained import TrainedNetwork

SUFFIX = ".onnx"
# The key of the metadata under which everything stands; further keys repeat single facts for other tools.
CARD_KEY = "saccade"
CARD_FORMAT = 1
_MOST_BYTES = 2**31  # of a protobuf
_MOST_AT_ONCE, _MOST_VALUES = 64, 2**26  # pictures, and values of them, that are run at once

PrecisionName = Literal["float32", "float16", "int8"]


class OnnxCard(BaseModel):
    """The metadata of a file: what its writer knew. A stranger's file must not make us allocate without bound."""

    model_config = ConfigDict(extra="ignore", strict=True)

    format: int
    written_by: str = Field(max_length=100)
    model: str = Field(max_length=200)
    class_names: list[str] = Field(min_length=2, max_length=1_000_000)
    image_size: int = Field(ge=1, le=4096)
    preparation: dict[str, Any]
    certainty: dict[str, Any]
    run_hash: str = Field(max_length=64)
    licence: str = Field(max_length=10_000)
    precision: PrecisionName
    checked: dict[str, Any]
    # What the network subtracts, per channel, in 0..255: the grey that covers places. Older files are without.
    mean: list[float] | None = Field(None, min_length=1, max_length=3)

    def metadata(self) -> dict[str, str]:
        """As the file's metadata: the whole under one key, and what other tools look for under keys of their own."""
        certainty = self.certainty
        return {
            CARD_KEY: json.dumps(self.model_dump(), sort_keys=True, ensure_ascii=True),
            "class_names": json.dumps(self.class_names, ensure_ascii=True),
            "image_size": str(self.image_size),
            "fit": str(self.preparation["fit"]),
            "temperature": repr(certainty["temperature"]),
            # Below it the answer is "not sure"; nothing reaches inf.
            "threshold": "inf" if certainty["threshold"] is None else repr(certainty["threshold"]),
            "run_hash": self.run_hash,
            "licence": self.licence,
            "precision": self.precision,
        }


class OnnxNetwork(Network):
    """What predicts out of an ONNX file, with the surface of a network: squares in, logits out, on the CPU.

    It has no stages, learns nothing, cannot be copied or compiled, and is explained by occlusion alone.

    Args:
        session: of onnxruntime.
        spec: its image_size is the side of the prepared square; the file enlarges it itself.
        sha256: of the file; it stands for the weights wherever these are compared.
    """

    def __init__(self, session: Any, spec: NetworkSpec, sha256: bytes) -> None:
        super().__init__(spec, nn.Sequential(), nn.Identity())
        self._session = session
        self.register_buffer("sha256", torch.tensor(list(sha256), dtype=torch.uint8))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, side, side) in 0..255 -> logits (N, K), float32, on the CPU."""
        pictures = images.detach().cpu().round().to(torch.uint8).permute(0, 2, 3, 1)
        pictures = pictures.expand(*pictures.shape[:3], 3)  # grey as RGB
        return torch.from_numpy(run_session(self._session, pictures.contiguous().numpy(), "logits"))


class OnnxAnswers:
    """What `fast.FastNetwork` is for other networks: a picture at a time, so that each always has the same bits.

    Args:
        network: out of a file.

    Attributes:
        batch: pictures that are computed at once.
    """

    batch = 1

    def __init__(self, network: OnnxNetwork) -> None:
        self._network = network

    @torch.no_grad()
    def logits(self, squares: Sequence[npt.NDArray[np.uint8]], looks: Looks = "none") -> Tensor:
        """Squares uint8 (side, side, C), N of them, as they were prepared -> logits (N, K), float32."""
        seeing = SeveralLooks(self._network, looks)
        return torch.cat([seeing(torch.from_numpy(np.array(square[None])).permute(0, 3, 1, 2)) for square in squares])


class OnnxFile(NamedTuple):
    """A file that was opened: its network and all that is needed to use it, its metadata, the hash of its bytes."""

    trained: TrainedNetwork
    card: OnnxCard
    sha256: str


def names_an_onnx_file(run: str | Path) -> bool:
    """Whether a word of the command line stands for such a file."""
    return str(run).lower().endswith(SUFFIX) and not Path(run).is_dir()


def open_onnx(path: Path) -> OnnxFile:
    """Read a file that `saccade export` wrote.

    Raises:
        ModelError: it is missing, damaged, not saccade's, newer than this version, or contradicts itself.
        MissingExtraError: onnxruntime is not installed.
    """
    try:
        if path.stat().st_size >= _MOST_BYTES:
            raise ModelError("the file is larger than 2 GiB, which no ONNX file in one piece is", where=str(path))
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError("there is no such file", where=str(path), remedy="saccade export RUN writes one") from None
    except OSError as error:
        raise ResourceError(f"the file cannot be read: {error.strerror}", where=str(path)) from None
    session = open_session(data, str(path))
    card = _card_of(session.get_modelmeta().custom_metadata_map, str(path))
    try:
        preparation, certainty = Preparation.from_json(card.preparation), Certainty.from_json(card.certainty)
        _check_preparation(preparation, card.image_size)
        mean = _mean_of(card, preparation.channels)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the file does not say how to prepare pictures: {error}", where=str(path)) from None
    _check_outline(session, len(card.class_names), str(path))
    spec = NetworkSpec(card.model, len(card.class_names), preparation.side, preparation.channels)
    sha256 = hashlib.sha256(data)
    network = OnnxNetwork(session, spec, sha256.digest()).eval()
    network.normalise.set(mean, [1.0] * len(mean))  # the file normalises; this is the grey that covers a place
    trained = TrainedNetwork(network, tuple(card.class_names), preparation, certainty)
    return OnnxFile(trained, card, sha256.hexdigest())


def open_session(model: bytes, where: str) -> Any:
    """onnxruntime on the CPU, with as many threads as torch has; nothing but the given bytes is read.

    Raises:
        ModelError: they are no network that it can run.
        MissingExtraError: it is not installed.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Its threads sleep where they would wait for each other in a loop, and leave the cores to those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no parent of their own
        what = f"this is no ONNX file that can be run: {str(error).splitlines()[0][:200]}"
        raise ModelError(what, where=where, remedy="write it again: saccade export RUN") from None


def run_session(session: Any, pictures: npt.NDArray[np.uint8], output: str) -> npt.NDArray[np.float32]:
    """One output for uint8 pictures of one size, in batches that fit the memory; the first input is fed."""
    name = session.get_inputs()[0].name
    size = min(_MOST_AT_ONCE, max(1, _MOST_VALUES // max(1, pictures[:1].size)))
    found = [
        session.run([output], {name: pictures[start : start + size]})[0] for start in range(0, len(pictures), size)
    ]
    return np.concatenate(found)


def onnxruntime() -> Any:
    """The library, on demand.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError:
        what = "onnxruntime is not installed, and it runs ONNX files"
        raise MissingExtraError(what, remedy="pip install 'saccade[export]'") from None


def _card_of(metadata: dict[str, str], where: str) -> OnnxCard:
    if CARD_KEY not in metadata:
        raise ModelError(
            "this ONNX file does not say what its classes are and how it wants pictures: saccade did not write it",
            where=where,
            remedy="export a run: saccade export RUN",
        )
    try:
        values = json.loads(metadata[CARD_KEY])
        if isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] > CARD_FORMAT:
            raise ModelError(
                f"the file has format {values['format']}, this saccade knows {CARD_FORMAT}",
                where=where,
                remedy="install a newer saccade",
            )
        return OnnxCard.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"the file's metadata is damaged: {place}: {first['msg']}", where=where) from None
    except ValueError:
        raise ModelError("the file's metadata is damaged: it is no JSON", where=where) from None


def _check_preparation(preparation: Preparation, image_size: int) -> None:
    right = (
        isinstance(preparation.side, int)
        and 1 <= preparation.side <= image_size
        and preparation.channels in (1, 3)
        and preparation.fit in ("squash", "crop", "pad")
        and 1 <= preparation.rules.max_pixels <= 10**12
        and math.isfinite(preparation.rules.min_side)
    )
    if not right:
        raise ValueError(f"side {preparation.side}, channels {preparation.channels}, fit {preparation.fit}")


def _mean_of(card: OnnxCard, channels: int) -> list[float]:
    mean = [127.5] * channels if card.mean is None else card.mean
    if len(mean) != channels or not all(0 <= value <= 255 for value in mean):
        raise ValueError(f"mean {mean} for {channels} channels")
    return mean


def _check_outline(session: Any, num_classes: int, where: str) -> None:
    given = session.get_inputs()
    outputs = {each.name: each.shape for each in session.get_outputs()}
    fits = len(given) == 1 and given[0].type == "tensor(uint8)" and list(given[0].shape[3:]) == [3]
    if not fits or not {"probabilities", "class", "logits"} <= set(outputs) or outputs["logits"][1] != num_classes:
        raise ModelError(
            f"the file does not take pictures or does not answer for its {num_classes} classes: it was changed",
            where=where,
            remedy="write it again: saccade export RUN",
        )
