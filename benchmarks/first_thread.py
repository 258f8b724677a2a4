"""cnn1 on MNIST: saccade's whole run beside the loop that PyTorch's tutorials teach, in one process, in turns.

    python benchmarks/first_thread.py [--mnist ../shared/data/mnist] [--epochs 1] [--rounds 3]

The peer reads the same pictures with a Dataset that applies ToImage, ToDtype and Normalize of torchvision's v2
transforms to each one, through a DataLoader without worker processes (with them it was slower on such small pictures:
--peer-workers tries it). Same network, same initial weights, batch size, optimizer and number of pictures. Printed:
pictures per second of training alone, for each round, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

from saccade.threads import calm_threads

calm_threads()  # before torch: both sides get the same threads

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from saccade.data.sources.open import open_pictures
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.pipeline import Place, train
from saccade.presets import make_recipe

NUM_TRAIN = 48_000


class Digits(Dataset[tuple[torch.Tensor, int]]):
    """The pictures one by one, as tutorials have it."""

    def __init__(self, folder: Path) -> None:
        listing = open_pictures(folder)
        assert listing.array is not None
        chosen = np.flatnonzero(listing.splits != "test")[:NUM_TRAIN]
        self.images, self.labels = listing.array[chosen], listing.labels[chosen]
        self.transform = v2.Compose(
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.1307], [0.3081])]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image: torch.Tensor = self.transform(self.images[index])
        return image, int(self.labels[index])


def peer(digits: Digits, batch_size: int, epochs: int, workers: int) -> float:
    """Pictures per second of a plain loop."""
    network = build_network(NetworkSpec("cnn1", 10, 28, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    loader = DataLoader(digits, batch_size=batch_size, shuffle=True, num_workers=workers)
    network.train()
    began = time.perf_counter()
    for _ in range(epochs):
        for images, labels in loader:
            loss = F.cross_entropy(network.head(network.stages(images)), labels)  # normalised by the transform
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
    return epochs * len(digits) / (time.perf_counter() - began)


def ours(folder: Path, batch_size: int, epochs: int, seed: int) -> tuple[float, float, float]:
    """Pictures per second of training, seconds of the whole run, and test accuracy."""
    changes = {"model": "cnn1", "epochs": epochs, "batch_size": batch_size, "seed": seed, "device": "cpu"}
    with tempfile.TemporaryDirectory() as project:
        began = time.perf_counter()
        run = train(make_recipe("scratch", changes), folder, Place(Path(project)))
        seconds = time.perf_counter() - began
        speed = statistics.mean(row["pictures_per_second"] for row in run.results)
        return speed, seconds, run.metrics["test"]["accuracy"]


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, default=Path("../shared/data/mnist"))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-workers", type=int, default=0)
    options = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load}, torch {torch.__version__}"
    )
    digits = Digits(options.mnist)
    for batch_size in (64, 10):
        speeds: dict[str, list[float]] = {"saccade": [], "plain loop": []}
        for round_number in range(options.rounds):
            speed, seconds, accuracy = ours(options.mnist, batch_size, options.epochs, round_number)
            speeds["saccade"].append(speed)
            speeds["plain loop"].append(peer(digits, batch_size, options.epochs, options.peer_workers))
            print(
                f"batch {batch_size}, round {round_number + 1}: saccade {speed:,.0f} pictures/s (the whole run "
                f"{seconds:.1f} s, test accuracy {accuracy:.2%}), plain loop {speeds['plain loop'][-1]:,.0f} pictures/s"
            )
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        print(f"batch {batch_size}: ratio of the medians {medians['saccade'] / medians['plain loop']:.1f}")


if __name__ == "__main__":
    main()
