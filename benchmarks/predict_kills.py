"""Predict many small files while the process is killed, and compare the csv with that of an undisturbed prediction.

    python benchmarks/predict_kills.py [--files 100000] [--kills 3] [--sort path] [--signal KILL]

A small network is trained on the embedded digits, and digits with noise are written as small PNGs, each hundredth cut
short. `saccade predict RUN FOLDER --output ROWS --sort path` gives one csv in peace. The same command with `--resume`
is begun again and again, and killed at a random moment after it has done more than before, until it was killed often
enough; then it may finish. The csv must be the same to the byte: as many rows as files, none twice, none missing,
sorted as asked, and nothing else left behind. Exit code 1 where it is not. Processor seconds are those of a process and
of the children it waited for; of killed ones there are none.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SHARD = 512  # pictures, as in saccade.use.predict_job
_PER_FOLDER = 1000
_CUT = 60  # bytes that are left of a file that is cut short


def main() -> int:
    """Make the files, predict twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--sort", default="path", choices=["input", "path", "confidence"])
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM", "INT"])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    print(
        f"saccade {version('saccade')}, torch {version('torch')}, pillow {version('pillow')}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["SACCADE_CACHE"] = str(folder / "cache")
        saccade = [sys.executable, "-m", "saccade"]
        training = ["train", "digits", "--model", "cnn1", "--recipe", "scratch", "--epochs", "1", "--quiet"]
        subprocess.run([*saccade, *training, "--project", str(folder), "--name", "run"], check=True)
        began = time.perf_counter()
        write_files(folder / "files", options.files)
        print(f"{options.files:,} files written in {time.perf_counter() - began:.0f} s", flush=True)
        words = ["predict", str(folder / "run"), str(folder / "files"), "--sort", options.sort, "--quiet"]
        return _twice([*saccade, *words], folder, options)


def write_files(folder: Path, num_files: int) -> None:
    """Digits with noise as small PNGs (16 x 16, grey), a thousand to a folder; each hundredth is cut short."""
    rng, digits = np.random.default_rng(0), load_digits().images
    for number in range(num_files):
        path = folder / f"{number // _PER_FOLDER:04}" / f"{number:07}.png"
        if number % _PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        digit = np.kron(digits[number % len(digits)] * 13, np.ones((2, 2)))
        noisy = (digit + rng.integers(0, 48, digit.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path, compress_level=1)
        if number % 100 == 7:
            os.truncate(path, _CUT)


def _twice(command: list[str], folder: Path, options: argparse.Namespace) -> int:
    calm, killed = folder / "calm.csv", folder / "killed.csv"
    _timed([*command, "--output", str(calm)], "undisturbed")
    began = time.perf_counter()
    hits = _killed([*command, "--output", str(killed), "--resume"], killed, options)
    print(f"from the first start to the csv, {hits} kills: {time.perf_counter() - began:.1f} s", flush=True)
    with killed.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    paths, unread = [row["path"] for row in rows], sum(bool(row["reason"]) for row in rows)
    same, alone = killed.read_bytes() == calm.read_bytes(), not killed.with_name("killed.csv.parts").exists()
    ordered = _is_ordered(rows, options.sort)
    print(
        f"{hits} × SIG{options.signal}: {len(paths):,} rows, {len(set(paths)):,} different, {unread:,} of them "
        f"unreadable, {'sorted' if ordered else 'NOT SORTED'} by {options.sort}, "
        f"{'the same bytes' if same else 'OTHER BYTES'} as undisturbed"
    )
    whole = len(paths) == len(set(paths)) == options.files and unread == len(range(7, options.files, 100))
    return 0 if same and alone and ordered and whole and hits == options.kills else 1


def _is_ordered(rows: list[dict[str, str]], sort: str) -> bool:
    if sort == "confidence":
        keys = [-float(row["probability_1"] or -1) for row in rows]
        return keys == sorted(keys)
    paths = [row["path"] for row in rows]  # written in that order, too
    return paths == sorted(paths)


def _timed(command: list[str], what: str) -> None:
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)  # of it and of the children it waited for
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{what}: exit code {process.returncode}")
    print(
        f"{what}: {time.perf_counter() - began:.1f} s, {used.ru_utime + used.ru_stime:.1f} processor seconds, "
        f"start-up counted; largest process {used.ru_maxrss / 1024:.0f} MiB",
        flush=True,
    )


def _killed(command: list[str], output: Path, options: argparse.Namespace) -> int:
    """Begin and kill until it was hit often enough; the last process may finish."""
    parts, rng = output.with_name(f"{output.name}.parts"), random.Random(options.seed)  # noqa: S311
    num_shards, hits = -(-options.files // SHARD), 0
    while hits < options.kills:
        until, began = (hits + rng.random()) / options.kills * num_shards, time.perf_counter()
        process = subprocess.Popen(command)
        while process.poll() is None and len(list(parts.glob("rows-*.jsonl"))) < until:
            time.sleep(0.01)
        time.sleep(rng.random() / 10)
        process.send_signal(getattr(signal, f"SIG{options.signal}"))
        if process.wait() == 0:  # too late: it was done
            return hits
        hits, num_done = hits + 1, len(list(parts.glob("rows-*.jsonl")))
        seconds = time.perf_counter() - began
        print(f"killed after {seconds:.1f} s with {num_done} of {num_shards} shards done", flush=True)
    _timed(command, "the rest")
    return hits


if __name__ == "__main__":
    sys.exit(main())
