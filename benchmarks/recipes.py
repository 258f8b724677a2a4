"""The five ways of training side by side on real photographs: the table of docs/transfer.md.

Every recipe runs with the same pictures and splits, once per seed, each in a fresh cache of kept features, so that its
seconds are those of a first run; decoding is done before and not counted. Accuracy is that of the test pictures; the
interval is Wilson's for one seed's number of pictures at the mean accuracy, since all seeds judge the same pictures.

    python benchmarks/recipes.py --weights ../shared/weights/resnet18_tiny64.safetensors
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from saccade.threads import calm_threads

calm_threads()

import torch

from saccade.data.pack import cache_folder
from saccade.metrics import wilson
from saccade.pipeline import Place, train
from saccade.presets import make_recipe

RECIPES = ("scratch", "features", "finetune", "finetune+augment", "full")


class Row(NamedTuple):
    """A recipe on all seeds: test accuracies, how many pictures were judged, seconds."""

    recipe: str
    accuracies: list[float]
    num_pictures: int
    seconds: list[float]

    def in_words(self) -> str:
        """A line of a Markdown table."""
        mean = statistics.mean(self.accuracies)
        low, high = wilson(round(mean * self.num_pictures), self.num_pictures)
        each = ", ".join(f"{accuracy:.1%}" for accuracy in self.accuracies)
        return (
            f"| {self.recipe} | {mean:.1%} | {low:.1%} to {high:.1%} | {each} | {statistics.median(self.seconds):.0f} |"
        )


def measure(recipe: str, options: argparse.Namespace) -> Row:
    """Run one recipe with every seed."""
    accuracies, seconds, num_pictures = [], [], 0
    for seed in range(options.seeds):
        shutil.rmtree(cache_folder() / "features", ignore_errors=True)
        changes: dict[str, object] = {"model": options.model, "image_size": options.image_size, "seed": seed}
        if recipe != "scratch":
            changes["weights"] = str(options.weights)
        with tempfile.TemporaryDirectory() as project:
            began = time.perf_counter()
            run = train(make_recipe(recipe, changes), options.pictures, Place(Path(project)))
            seconds.append(time.perf_counter() - began)
            accuracies.append(run.metrics["test"]["accuracy"])
            num_pictures = run.metrics["test"]["num_pictures"]
    return Row(recipe, accuracies, num_pictures, seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, default=Path("../shared/data/cats_and_dogs_small.zip"))
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights/resnet18_tiny64.safetensors"))
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=",".join(RECIPES))
    options = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load}, torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as project:
        os.environ["SACCADE_CACHE"] = cache
        # Decode once before anything is timed.
        warm = {"model": options.model, "image_size": options.image_size, "epochs": 1, "weights": str(options.weights)}
        train(make_recipe("features", warm), options.pictures, Place(Path(project)))
        print("| recipe | mean | 95 % interval | seeds | seconds (median) |", flush=True)
        print("| --- | --- | --- | --- | --- |", flush=True)
        for recipe in options.only.split(","):
            print(measure(recipe, options).in_words(), flush=True)


if __name__ == "__main__":
    main()
