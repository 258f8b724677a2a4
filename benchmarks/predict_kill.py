"""Predict many small files while the process is killed, and compare the csv with that of an undisturbed prediction.

    python benchmarks/predict_kill.py [--files 100000] [--kills 3] [--signal KILL]

`saccade predict RUN FOLDER --output ROWS --resume --sort path` is begun again and again, and killed at a random moment
after it has done more than before, until it was killed often enough; then it may finish. The csv must be the same to
the byte as that of one process in peace: as many rows as files, none twice, none missing. Exit code 1 where it is not.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.presets import make_recipe
from saccade.runs import RunFolder, TrainedNetwork

SIDE = 16


def main() -> int:
    """Make the files, predict twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM", "INT"])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run = _random_run(folder)
        _write_files(folder / "files", options.files)
        command = [sys.executable, "-m", "saccade", "predict", str(run), str(folder / "files"), "--sort", "path"]
        calm, killed = folder / "calm.csv", folder / "killed.csv"
        began = time.perf_counter()
        subprocess.run([*command, "--output", str(calm)], check=True)
        print(
            f"undisturbed: {options.files / (time.perf_counter() - began):,.0f} files/s, start-up counted", flush=True
        )
        hits = _killed([*command, "--output", str(killed), "--resume"], killed, options)
        paths = [row["path"] for row in csv.DictReader(killed.open(newline="", encoding="utf-8"))]
        same = killed.read_bytes() == calm.read_bytes()
    good = same and hits == options.kills and len(paths) == len(set(paths)) == options.files and paths == sorted(paths)
    print(f"{hits} × SIG{options.signal}: {len(paths):,} rows, {len(set(paths)):,} different, sorted by path; ", end="")
    print("the same bytes" if same else "OTHER BYTES", "as undisturbed")
    return 0 if good else 1


def _killed(command: list[str], output: Path, options: argparse.Namespace) -> int:
    parts, rng = output.with_name(f"{output.name}.parts"), random.Random(options.seed)  # noqa: S311
    num_shards, hits = -(-options.files // 512), 0
    while hits < options.kills:
        until = (hits + rng.random()) / options.kills * num_shards
        process = subprocess.Popen(command)
        while process.poll() is None and len(list(parts.glob("rows-*.jsonl"))) < until:
            time.sleep(0.01)
        time.sleep(rng.random() / 10)
        process.send_signal(getattr(signal, f"SIG{options.signal}"))
        code = process.wait()
        hits += code != 0
        if code == 0:
            return hits
        print(f"killed with {len(list(parts.glob('rows-*.jsonl')))} of {num_shards} shards done", flush=True)
    subprocess.run(command, check=True)
    return hits


def _random_run(folder: Path) -> Path:
    run = RunFolder.create(folder, "run")
    names = ("a", "b", "c")
    run.write_classes(names)
    run.write_recipe(make_recipe("scratch", {"model": "lenet5"}))
    network = build_network(NetworkSpec("lenet5", 3, 32), seed=0).eval()
    run.save_weights("best", TrainedNetwork(network, names, Preparation(SIDE, 3, "squash", DecodeRules())))
    return run.path


def _write_files(folder: Path, num_files: int) -> None:
    """Small PNGs, a thousand to a folder; each hundredth is cut short."""
    rng = np.random.default_rng(0)
    for number in range(num_files):
        path = folder / f"{number // 1000:04}" / f"{number:07}.png"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path, compress_level=1)
        if number % 100 == 7:
            os.truncate(path, 300)


if __name__ == "__main__":
    sys.exit(main())
