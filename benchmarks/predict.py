"""A folder of photographs to a csv, with a resnet50 of random weights: saccade beside a Keras and a torch loop.

    make bench-predict                                  installs the peers in .venv-peers, then runs this
    python benchmarks/predict.py PHOTOGRAPHS.zip [--pictures 2000] [--rounds 2] [--only saccade,keras] [--output FILE]

The photographs of the zip are written under new names until there are as many as wanted. Each side is a command that
begins with nothing and ends with a csv, start-up counted; sides run in turns A B B A. The peers are
peers/keras_predict.py (image_dataset_from_directory, model.predict) and peers/plain_predict.py (ImageFolder, a
DataLoader). What is printed is the fastest wall time of each, the CPU seconds of that run, and the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np

from peers.machine import machine
from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.presets import make_recipe
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork
from saccade.use.export_graph import graph_of
from saccade.use.export_onnx import as_int8, joined, onnx_parts
from saccade.use.onnx_file import CARD_FORMAT, OnnxCard, PrecisionName

PEERS = Path(__file__).parent / "peers"
WANTED = 3.0  # times as fast as each peer


class Took(NamedTuple):
    """Seconds of a run: on the clock, and of all cores."""

    wall: float
    cpu: float


def main() -> int:
    """Measure and print; exit code 1 where a side did not write a row per picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2, help="each is A B C ... C B A")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--compiled", action="store_true", help="one more side: --compile on")
    parser.add_argument("--onnx", action="store_true", help="two more sides: the network as ONNX, float32 and int8")
    parser.add_argument("--only", default="", help="the sides whose name has one of these words in it: saccade,keras")
    parser.add_argument("--peers-python", type=Path, default=Path(".venv-peers/bin/python"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _write_pictures(options.photographs, folder / "pictures" / "all", options.pictures)
        wanted = options.only.split(",")
        sides = {name: side for name, side in _sides(options, folder).items() if any(word in name for word in wanted)}
        took: dict[str, list[Took]] = {name: [] for name in sides}
        for number in range(2 * options.rounds):
            for name in list(sides) if number % 2 == 0 else list(sides)[::-1]:
                took[name].append(_run(sides[name], folder / "rows.csv", options.pictures))
                print(f"{name:24} {took[name][-1].wall:8.1f} s  {took[name][-1].cpu:8.1f} s of all cores", flush=True)
    best = {name: min(runs) for name, runs in took.items()}
    _say(best, options.pictures)
    if options.output:
        about = {"machine": machine(), "pictures": options.pictures, "model": options.model, "seconds": took}
        options.output.write_text(json.dumps(about, indent=1))
    return 0


def _sides(options: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    run = _random_run(folder, options.model)
    pictures, rows = str(folder / "pictures"), str(folder / "rows.csv")
    ours = [sys.executable, "-m", "saccade", "predict", str(run), pictures, "--output", rows, "--quiet"]
    sides = {"saccade": ours, "saccade, bfloat16": [*ours, "--precision", "bfloat16"]}
    if options.compiled:
        sides["saccade, compiled"] = [*ours, "--compile", "on"]
    for precision, path in _onnx_files(run, folder) if options.onnx else ():
        sides[f"ONNX {precision}"] = [str(path) if word == str(run) else word for word in ours]
    sides["torch"] = [sys.executable, str(PEERS / "plain_predict.py"), pictures, rows]
    if options.peers_python.exists():
        sides["keras"] = [str(options.peers_python), str(PEERS / "keras_predict.py"), pictures, rows]
    else:
        print(f"{options.peers_python} is not there (`make bench-peers` installs it): no Keras loop", file=sys.stderr)
    return sides


def _random_run(folder: Path, model: str) -> Path:
    """A run folder of a network that learned nothing."""
    run = RunFolder.create(folder, "run")
    network = build_network(NetworkSpec(model, 10, 224), seed=0).eval()
    names = tuple(f"class {number}" for number in range(10))
    run.write_classes(names)
    run.write_recipe(make_recipe("scratch", {"model": model, "image_size": 224}))
    run.save_weights("best", TrainedNetwork(network, names, Preparation(224, 3, "squash", DecodeRules())))
    return run.path


def _onnx_files(path: Path, folder: Path) -> Iterator[tuple[PrecisionName, Path]]:
    """The same network as ONNX; the ranges of int8 are those of noise, which changes nothing about the time."""
    trained = RunFolder.open(path).load()
    parts = onnx_parts(graph_of(trained), (3, 224, 224))
    noise = np.random.default_rng(0).integers(0, 256, (32, 3, 224, 224), dtype=np.uint8)
    for precision, answer in (("float32", parts.answer), ("int8", as_int8(parts.answer, noise))):
        card = OnnxCard(
            format=CARD_FORMAT,
            written_by="a benchmark",
            model=trained.network.spec.model,
            class_names=list(trained.class_names),
            image_size=224,
            preparation=trained.preparation.to_json(),
            certainty=trained.certainty.to_json(),
            run_hash="",
            licence="",
            precision=precision,
            checked={},
        )
        file = folder / f"{precision}.onnx"
        file.write_bytes(joined(parts._replace(answer=answer), card.metadata()).SerializeToString())
        yield precision, file


def _write_pictures(archive: Path, folder: Path, num_pictures: int) -> None:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive) as pictures:
        names = sorted(name for name in pictures.namelist() if name.lower().endswith((".jpg", ".jpeg")))
        for number, name in zip(range(num_pictures), cycle(names), strict=False):
            (folder / f"{number:06}.jpg").write_bytes(pictures.read(name))


def _run(command: list[str], rows: Path, expected: int) -> Took:
    rows.unlink(missing_ok=True)
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    complaint = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or rows.read_text().count("\n") != expected + 1:
        sys.exit(f"{' '.join(command)} did not write {expected} rows\n{complaint.decode(errors='replace')}")
    return Took(wall, usage.ru_utime + usage.ru_stime)


def _say(best: dict[str, Took], num_pictures: int) -> None:
    print()
    for name, took in best.items():
        words = f"{name:24} {num_pictures / took.wall:8.1f} pictures/s"
        for peer in ("torch", "keras"):
            if peer in best and not name.startswith(("torch", "keras")):
                ratio, cores = best[peer].wall / took.wall, best[peer].cpu / took.cpu
                words += f"   {ratio:4.2f} × {peer} (CPU seconds {cores:4.2f} ×)"
        print(words)
    print(f"wanted: {WANTED:g} times each")


if __name__ == "__main__":
    sys.exit(main())
