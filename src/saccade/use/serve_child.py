"""The process that holds the network of a server: it loads, tries and runs it, and ends when its parent does.

A process of its own, so that a crash, a kill for want of memory or a new version of the weights costs the server
nothing but this process. Both talk as data/child.py describes.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from saccade.data.child import receive, send
from saccade.engine import choose_device, describe_device, num_cores
from saccade.errors import ModelError, ResourceError, SaccadeError, UsageError, ran_out
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork
from saccade.use.answer import Answerer, Wanted
from saccade.use.heatmaps import HEAT_METHODS, Question, as_batch, heat_maps, num_looks
from saccade.use.inputs import ArrayItem, Named
from saccade.use.onnx_file import names_an_onnx_file, open_onnx
from saccade.use.serve_messages import Answer, AskAnswers, AskHeat, Facts, HeatPicture, Refused, Source, Squares

_HEAT_SIDE = 448
_LONGEST_HEAT = 20.0  # seconds: all others wait meanwhile
_IN_WORDS: Mapping[str, str] = MappingProxyType({"gradcam": "Grad-CAM", "occlusion": "occlusion"})
AnswerMany = Callable[[Squares, int], list[Answer]]


class Loaded(NamedTuple):
    """A network that was tried: what is said of it, and how to ask it."""

    facts: Facts
    answer: AnswerMany
    heat: Callable[[AskHeat], HeatPicture]


def main() -> None:
    """Load what the parent names, say what it is, and answer until the parent ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # these reach the whole group; the parent decides
        signal.signal(number, signal.SIG_IGN)
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the messages
    torch.set_num_threads(num_cores())
    try:
        loaded = load(receive(sys.stdin.buffer))
        send(outgoing, loaded.facts)
        while True:
            send(outgoing, _result(loaded, receive(sys.stdin.buffer)))
    except (EOFError, BrokenPipeError):
        return
    except SaccadeError as error:
        send(outgoing, Refused(error))


def load(source: Source) -> Loaded:
    """Load a run, or a file that was exported, and try it on a grey picture.

    Raises:
        SaccadeError: there is no run, its weights are damaged, or what it answers are no probabilities.
    """
    device = choose_device(source.device)
    trained, facts = _open_file(Path(source.path)) if names_an_onnx_file(source.path) else _open_run(source.path)
    answerer = Answerer(trained, device)
    facts = facts._replace(device=describe_device(device), unit=answerer.network.batch)
    loaded = Loaded(facts, partial(_answer, answerer), partial(_heat, trained, facts.methods))
    try_out(loaded)
    return loaded


def _open_run(path: str) -> tuple[TrainedNetwork, Facts]:
    run = RunFolder.open(path)
    model = file_hash(run.best_path)
    trained = run.load()
    if file_hash(run.best_path) != model:
        raise ModelError("the weights changed while they were read", where=str(run.best_path), remedy="try again")
    facts = _facts(trained, model, run.best_path)
    return trained, facts._replace(name=run.path.resolve().name, report_path=str(run.report_path.resolve()))


def _open_file(path: Path) -> tuple[TrainedNetwork, Facts]:
    found = open_onnx(path)
    return found.trained, _facts(found.trained, f"sha256:{found.sha256}", path)._replace(methods=("occlusion",))


def _facts(trained: TrainedNetwork, model: str, path: Path) -> Facts:
    threshold = trained.certainty.threshold
    return Facts(
        model=model,
        name=path.stem,
        architecture=trained.network.spec.model,
        class_names=trained.class_names,
        preparation=trained.preparation,
        threshold=None if math.isinf(threshold) else threshold,
        device="",
        methods=HEAT_METHODS,
        weights_path=str(path.resolve()),
        report_path="",
        process=os.getpid(),
        unit=1,
    )


def try_out(loaded: Loaded) -> None:
    """One grey picture through everything.

    Raises:
        ModelError: what comes out are no probabilities.
    """
    side, channels = loaded.facts.preparation.side, loaded.facts.preparation.channels
    grey = np.full((1, side, side, channels), 128, np.uint8)
    guesses = loaded.answer(grey, len(loaded.facts.class_names))[0].guesses
    total = math.fsum(share for _, share in guesses)
    if not (abs(total - 1) < 1e-6 and all(0 <= share <= 1 for _, share in guesses)):
        raise ModelError(
            f"the probabilities of a grey picture sum to {total:g}, so the weights are not used",
            where=loaded.facts.weights_path,
            remedy="train again, or restore the file from a copy",
        )


def answer_in_pieces(answer: AnswerMany, squares: Squares, top: int) -> list[Answer | SaccadeError]:
    """Answers for N pictures; where memory does not suffice for all at once, one by one, and none costs the others."""
    try:
        return list(answer(squares, top))
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
    if len(squares) > 1:
        return [found for square in squares for found in answer_in_pieces(answer, square[None], top)]
    return [ResourceError("the memory does not suffice for this picture", remedy="try again later")]


def file_hash(path: Path) -> str:
    """`sha256:` and 64 digits; of an absent file, `absent`."""
    if not path.is_file():
        return "absent"
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _result(loaded: Loaded, asked: AskAnswers | AskHeat) -> object:
    try:
        if isinstance(asked, AskHeat):
            return loaded.heat(asked)
        return answer_in_pieces(loaded.answer, asked.squares, asked.top)
    except SaccadeError as error:
        return Refused(error)
    except Exception as error:
        return Refused(SaccadeError(f"saccade has a bug: {type(error).__name__}: {error}"))


def _answer(answerer: Answerer, squares: Squares, top: int) -> list[Answer]:
    named = [Named("", ArrayItem("", square)) for square in squares]
    found = answerer.answer(named, Wanted(top))
    return [Answer(tuple((each.class_name, each.probability) for each in one.guesses), one.sure) for one in found]


def _heat(trained: TrainedNetwork, methods: Sequence[str], asked: AskHeat) -> HeatPicture:
    method = next((method for method in HEAT_METHODS if method == (asked.method or methods[0])), HEAT_METHODS[0])
    if method not in methods:
        what = "this model has no Grad-CAM: its gradients stayed behind when it was exported"
        raise UsageError(what, remedy="use method=occlusion, or serve the run folder that it was exported from")
    if method == "occlusion":
        _check_patience(trained, asked.square)
    found = next(heat_maps(trained, [asked.square], Question(method, None, asked.class_name or None)))
    return HeatPicture(found.png(_HEAT_SIDE), found.class_name, f"{_IN_WORDS[method]}, {found.source}")


def _check_patience(trained: TrainedNetwork, square: Squares) -> None:
    """Refuse what would hold up all others: one look is timed, and occlusion takes about a hundred."""
    began = time.perf_counter()
    with torch.no_grad():
        trained.network(as_batch(trained.network, [square]))
    seconds = num_looks(trained.network) * (time.perf_counter() - began)
    if seconds > _LONGEST_HEAT:
        raise UsageError(
            f"covering the picture at {num_looks(trained.network)} places would take about {seconds:.0f} seconds, "
            f"and all others would wait; {_LONGEST_HEAT:g} are allowed",
            remedy="serve the run folder and use method=gradcam, or use saccade explain",
        )


if __name__ == "__main__":
    main()
