"""What a server and the process that holds its network say to each other. Light: nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.prepare import Preparation
from saccade.errors import SaccadeError

Squares = npt.NDArray[np.uint8]
MEGABYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """What a server grants to whoever asks.

    Attributes:
        queue: pictures that may be on their way at once; more are told to come back.
        body_bytes: of one request.
        pictures: in one request.
        pixels: of one picture.
        connections: open at once.
        header_seconds: until a connection must have sent the head of a request, and may stay idle between two.
        read_seconds: until a request must have sent its body.
        compute_seconds: until a request that has been read must be answered.
        drain_seconds: that running requests have when the server is told to stop.
    """

    queue: int = 64
    body_bytes: int = 20 * MEGABYTE
    pictures: int = 64
    pixels: int = 50_000_000
    connections: int = 512
    header_seconds: float = 10.0
    read_seconds: float = 20.0
    compute_seconds: float = 30.0
    drain_seconds: float = 30.0


@dataclass(frozen=True)
class Options:
    """How a server is to run.

    Attributes:
        host: the address it listens on.
        port: likewise; 0 for any that is free.
        token: that requests must carry; "" for none.
        batch: pictures that the network is given at once, at most.
        wait_seconds: that the first picture of a batch waits for others.
        allow_hosts: names by which the server may be called, besides addresses and names of this machine.
        allow_origins: web pages of elsewhere that may call it (`https://shop.example`).
        device: auto, cpu, cuda, mps.
        limits: see there.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    batch: int = 32
    wait_seconds: float = 0.005
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    device: str = "auto"
    limits: Limits = field(default_factory=Limits)


class Source(NamedTuple):
    """What is served: a run folder or an exported file, and where it computes."""

    path: str
    device: str


class Facts(NamedTuple):
    """What the process says about the network that it has loaded and tried.

    Attributes:
        model: `sha256:` and the hash of the file of weights, by which answers name what gave them.
        name: of the run.
        architecture: of the network.
        class_names: in the order of its outputs.
        preparation: how a picture becomes what the network is given.
        threshold: the probability below which an answer is "not sure"; None: no answer is sure.
        device: where it computes, in words.
        methods: by which it can show where it looks, the one that is used unless another is asked for first.
        weights_path: the file whose change means a new model.
        report_path: the page about it, or "".
        process: number of the process that holds it.
        unit: pictures that it always computes together; fewer take as long.
    """

    model: str
    name: str
    architecture: str
    class_names: tuple[str, ...]
    preparation: Preparation
    threshold: float | None
    device: str
    methods: tuple[str, ...]
    weights_path: str
    report_path: str
    process: int
    unit: int


class Answer(NamedTuple):
    """What the network says about one picture: classes and probabilities, best first, and whether it is sure."""

    guesses: tuple[tuple[str, float], ...]
    sure: bool


class AskAnswers(NamedTuple):
    """Name what N pictures show: uint8 (N, side, side, C), with `top` classes each."""

    squares: Squares
    top: int


class AskHeat(NamedTuple):
    """Show where in one picture, uint8 (side, side, C), the network finds a class ("": the one it names).

    The method is gradcam, occlusion, or "" for the first that it can.
    """

    square: Squares
    method: str
    class_name: str


class HeatPicture(NamedTuple):
    """The answer: a PNG of the heat over the picture, the class it is about, and in words how it was found."""

    png: bytes
    class_name: str
    source: str


class Refused(NamedTuple):
    """An error in place of a result. It is raised by whoever asked."""

    error: SaccadeError
