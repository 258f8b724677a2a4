"""Time to accuracy on CIFAR-10: `saccade train --recipe sprint`, beside the published AlexNet run in Keras.

    python benchmarks/sprint.py --peers-python .venv-peers/bin/python [--seeds 0,1,2] [--quick]

Each seed is the ordinary command in a process of its own, on all 50,000 training pictures (--val-share 0: nothing is
set aside, and nothing but the training pictures is looked at before the end); the 10,000 test pictures are judged once.
The pack is made before and not counted, as Keras is given decoded pictures too. Before and after the seeds Keras trains
its network on a sample; what 30 epochs of 50,000 pictures cost there is worked out from the faster of the two.

Wall seconds mean something on a quiet machine only; seconds of the processor, which count what both cores did, are less
easily disturbed, so both ratios are printed. Keras is charged for its epochs alone, without start and evaluation, so
the ratio that counts is that of the trainings; the one with everything of ours stands beside it. --quick trains for
two epochs, for the second target. --keras FILE measures Keras alone and writes its speed down, for exercise 2.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from peers.machine import machine
from saccade.data.cache import cache_folder
from saccade.data.pack import Pack

PEERS = Path(__file__).parent / "peers"
EPOCHS, NUM_PICTURES = 30, 50_000  # of the published run
SAMPLE = 3_200
QUICK = ["--epochs", "2", "--small-first", "20,28"]
TARGETS = {False: (0.94, 25), True: (0.81, 100)}  # accuracy, and how many times cheaper


class Seed(NamedTuple):
    """One run: accuracies 0..1; seconds of the clock for training and for all, of the processor for all."""

    plain: float
    tta: float
    training: float
    wall: float
    cpu: float


def run_seed(seed: int, options: argparse.Namespace, project: Path) -> Seed:
    """The ordinary command."""
    command = [sys.executable, "-m", "saccade", "train", str(options.pictures), "--recipe", "sprint"]
    command += [
        "--model",
        "sprint",
        "--val-share",
        "0",
        "--seed",
        str(seed),
        "--project",
        str(project),
        "--name",
        f"seed{seed}",
        "--quiet",
    ]
    command += [*(QUICK if options.quick else []), *options.more.split()]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    metrics = json.loads((project / f"seed{seed}" / "metrics.json").read_text(encoding="utf-8"))
    cpu = sum(getattr(after, kind) - getattr(before, kind) for kind in ("ru_utime", "ru_stime"))
    seconds = metrics["seconds"]
    return Seed(
        metrics["test"]["accuracy"], metrics["test_tta"]["accuracy"], seconds["training"], sum(seconds.values()), cpu
    )


def keras(python: str, sample: Path) -> tuple[float, float]:
    """Pictures per second of the clock and of the processor: the difference of three epochs and of one."""

    def fit(epochs: int) -> dict[str, Any]:
        command = [python, str(PEERS / "keras_training.py"), "alexnet", str(sample), "--epochs", str(epochs)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))

    one, three = fit(1), fit(3)
    return max(three["pictures_per_second"][1:]), 2 * SAMPLE / (three["cpu_seconds"] - one["cpu_seconds"])


def take_sample(pack: Pack, target: Path) -> None:
    """Pictures for Keras, evenly spaced."""
    rows = np.linspace(0, len(pack.labels) - 1, SAMPLE).astype(int)
    np.savez(target, images=np.asarray(pack.images[rows]), labels=pack.labels[rows])


def prepare(options: argparse.Namespace, folder: Path) -> Path:
    """Decode once before anything is timed; returns the sample for Keras."""
    from saccade.pipeline import pack_ahead
    from saccade.presets import make_recipe

    sample = folder / "sample.npz"
    take_sample(pack_ahead(make_recipe("sprint", {}), options.pictures), sample)
    return sample


def main() -> int:
    """Measure and print; 1 where the accuracy or the ratio of the processor's seconds is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, default=Path("../shared/data/cifar10.zip"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--peers-python", default=".venv-peers/bin/python")
    parser.add_argument("--quick", action="store_true", help="two epochs: the target of 81 %%")
    parser.add_argument("--keras", type=Path, help="measure Keras alone and write its speed into this file, as JSON")
    parser.add_argument("--more", default="", help="further flags of saccade train, for trying things")
    options = parser.parse_args()
    print(json.dumps(machine()), f"cache {cache_folder()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        sample = prepare(options, Path(folder))
        rates = [keras(options.peers_python, sample)]
        if options.keras:
            options.keras.write_text(json.dumps({"per_second": rates[0][0], "per_processor_second": rates[0][1]}))
            return 0
        seeds = []
        print("| seed | plain | several looks | training s | all s | processor s |", flush=True)
        print("| --- | --- | --- | --- | --- | --- |", flush=True)
        for seed in map(int, options.seeds.split(",")):
            seeds.append(found := run_seed(seed, options, Path(folder)))
            times = f"{found.training:.0f} | {found.wall:.0f} | {found.cpu:.0f}"
            print(f"| {seed} | {found.plain:.2%} | {found.tta:.2%} | {times} |", flush=True)
        rates.append(keras(options.peers_python, sample))
    return conclude(seeds, rates, quick=options.quick)


def conclude(seeds: list[Seed], rates: list[tuple[float, float]], *, quick: bool) -> int:
    """Means and ratios against the targets."""
    clock, processor = (EPOCHS * NUM_PICTURES / max(column) for column in zip(*rates, strict=True))
    plain, tta = (statistics.mean(getattr(seed, name) for seed in seeds) for name in ("plain", "tta"))
    training, wall, cpu = (
        statistics.mean(getattr(seed, name) for seed in seeds) for name in ("training", "wall", "cpu")
    )
    print(f"mean of {len(seeds)}: plain {plain:.2%}, several looks {tta:.2%}; all {wall:.0f} s, processor {cpu:.0f} s")
    print(f"Keras, {EPOCHS} epochs: {clock:.0f} s of the clock, {processor:.0f} s of the processor")
    print(
        f"ratio: {clock / training:.1f} by the clock, training against training; {clock / wall:.1f} with our start and "
        f"evaluation, {processor / cpu:.1f} of the processor's seconds with them"
    )
    accuracy, ratio = TARGETS[quick]
    print(f"wanted: {accuracy:.0%} at {ratio}; load {os.getloadavg()[0]:.1f}")
    return int(tta < accuracy or clock / training < ratio)


if __name__ == "__main__":
    sys.exit(main())
