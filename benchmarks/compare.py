"""A comparison whose runs share packs and frozen features, beside the same runs each by itself.

    python benchmarks/compare.py [--seeds 3] [--recipes scratch,features,finetune,finetune+augment] [--apart]

Photographs of cats and dogs, resnet18 at 96 pixels. Shared: one `saccade compare`, from an empty cache to the table.
With --apart, afterwards every run of it as a command of its own, with an empty cache and --no-prefix-cache: what
separate scripts would compute. Printed: seconds, processor seconds, the ratio and the table.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple

from peers.machine import machine


class Spent(NamedTuple):
    """Seconds on the clock, and of the processor."""

    wall: float
    cpu: float


def spend(arguments: list[str], cache: Path) -> tuple[Spent, str]:
    """Run one command of saccade with this cache; what it took, and what it printed."""
    before, began = _cpu(), time.perf_counter()
    command = [sys.executable, "-m", "saccade", *arguments, "--quiet"]
    done = subprocess.run(command, env={**os.environ, "SACCADE_CACHE": str(cache)}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return Spent(time.perf_counter() - began, _cpu() - before), done.stdout


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", default="../shared/data/cats_and_dogs_small.zip")
    parser.add_argument("--weights", default="../shared/weights/resnet18_tiny64.safetensors")
    parser.add_argument("--recipes", default="scratch,features,finetune,finetune+augment")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--apart", action="store_true", help="measure the separate runs too")
    options = parser.parse_args()
    about = machine()
    print(f"{about['processor']}, {about['cores']} cores; load {about['load'][0]:.1f}; {about['versions']}", flush=True)
    common = [options.pictures, "--model", "resnet18", "--image-size", "96"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = ["--recipe", options.recipes, "--seeds", str(options.seeds), "--weights", options.weights]
        shared, table = spend(["compare", *common, *asked, "--project", str(folder / "a")], folder / "shared")
        print(f"{table}\nshared: {shared.wall:,.0f} s, {shared.cpu:,.0f} of the processor", flush=True)
        if not options.apart:
            return
        apart = Spent(0.0, 0.0)
        for recipe, seed in product(options.recipes.split(","), range(options.seeds)):
            weights = [] if recipe == "scratch" else ["--weights", options.weights]
            own = ["--recipe", recipe, "--seed", str(seed), "--split-seed", "0", "--no-prefix-cache", *weights]
            one, _ = spend(["train", *common, *own, "--project", str(folder / "b")], folder / f"{recipe}-{seed}")
            print(f"   {recipe}, seed {seed}: {one.wall:,.0f} s", flush=True)
            apart = Spent(apart.wall + one.wall, apart.cpu + one.cpu)
        print(f"apart: {apart.wall:,.0f} s, {apart.cpu:,.0f} of the processor")
        seconds, processor = apart.wall / shared.wall, apart.cpu / shared.cpu
        print(f"ratio {seconds:.2f} of seconds, {processor:.2f} of processor seconds (target 3)")


if __name__ == "__main__":
    main()
