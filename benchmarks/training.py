"""Training steps in saccade beside its peers: the same pictures, batch size and arithmetic, in turns A B B A.

    make bench-training                                         installs the peers in .venv-peers, then runs this
    python benchmarks/training.py [--only alexnet,cnn1] [--rounds 1] [--output results.json]

alexnet      alexnet_bn at 128 on CIFAR-10, batch 64        Keras with a Sequence; a plain float32 PyTorch loop
resnet18     at 224 on photographs, batch 32                a plain float32 PyTorch loop
three_conv   three convolutions at 150, batch 32            Keras, pictures as one array
cnn1         one convolution on MNIST, batch 10             Keras, pictures as one array
overhead     what a step of resnet18 costs beside forward and backward, by torch's profiler

Every side is a process of its own that trains for two epochs; the pictures per second of the second one count, for the
first has compilers and caches to warm. Of saccade it is the loop that `saccade train` runs, in the mode that was timed
to be the fastest safe one here. "Of the matrix rate" is the share of what torch.mm reaches in bfloat16 on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

from saccade.threads import calm_threads

calm_threads()  # before torch, as the command does

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from peers.machine import machine
from saccade.data.augment import augmentation_of
from saccade.data.batches import Batches
from saccade.data.sources.open import open_pictures
from saccade.engine import keep_memory, threads_for
from saccade.keeping import Way
from saccade.models.catalogue import build_network
from saccade.models.heads import make_head
from saccade.models.layers import conv_relu
from saccade.models.network import Network, NetworkSpec, feature_shape
from saccade.models.summary import layer_table
from saccade.presets import make_recipe
from saccade.recipe import Recipe
from saccade.resuming import Begun
from saccade.runs import RunFolder
from saccade.screen import QuietScreen, RecordingScreen
from saccade.speed import in_best_mode
from saccade.training.loop import Beside, fit
from saccade.training.sources import Parts

PEERS = Path(__file__).parent / "peers"
VAL = 64  # pictures that watch; a share that is left out of the speed on both sides


class Case(NamedTuple):
    """One comparison: side and batch size, how many pictures, what the peers are, and the ratios wanted."""

    side: int
    batch_size: int
    num_pictures: int
    num_classes: int
    targets: dict[str, float]


CASES = {
    "alexnet": Case(128, 64, 3_200, 10, {"keras": 2.5, "plain": 2.5}),
    "resnet18": Case(224, 32, 600, 2, {"plain": 3.0}),
    "three_conv": Case(150, 32, 600, 2, {"keras": 1.3}),
    "cnn1": Case(28, 10, 10_000, 10, {"keras": 5.0}),
}


def three_conv(spec: NetworkSpec) -> Network:
    """A hand-made network that no catalogue has: 32, 64, 128 filters, each with a pool; dense 512."""
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    channels = spec.in_channels
    for number, filters in enumerate((32, 64, 128), start=1):
        blocks[f"block{number}_conv"] = conv_relu(nn.Conv2d(channels, filters, 3))
        blocks[f"block{number}_pool"] = nn.MaxPool2d(2)
        channels = filters
    stages = nn.Sequential(blocks)
    return Network(spec, stages, make_head("512:sigmoid", feature_shape(stages, spec), spec.num_classes))


def network_of(name: str, case: Case, channels: int) -> Network:
    """As saccade has it."""
    model = {"alexnet": "alexnet_bn"}.get(name, name)
    spec = NetworkSpec(model, case.num_classes, case.side, channels)
    network = three_conv(spec) if name == "three_conv" else build_network(spec)
    return network.to(memory_format=torch.channels_last)


def pictures_of(name: str, case: Case, data: Path, folder: Path) -> None:
    """The pictures as an .npz and, for ImageFolder, as files: photographs as they were taken, CIFAR-10 as PNG."""
    target = folder / f"{name}.npz"
    if name == "cnn1":
        listing = open_pictures(data / "mnist")
        assert listing.array is not None
        images = np.asarray(listing.array[: case.num_pictures])
        images = images if images.ndim == 4 else images[..., None]
        np.savez(target, images=images, labels=listing.labels[: case.num_pictures])
        return
    archive, part = ("cifar10.zip", "/train/") if name == "alexnet" else ("cats_and_dogs_small.zip", "train/")
    found, labels = [], []
    with zipfile.ZipFile(data / archive) as opened:
        names = sorted(each for each in opened.namelist() if part in each and not each.endswith("/"))
        classes = sorted({each.split("/")[-2] for each in names})
        each_class = [[each for each in names if f"/{one}/" in each] for one in classes]
        for label, of_class in enumerate(each_class):
            for member in of_class[: case.num_pictures // len(classes)]:
                path = folder / name / classes[label] / Path(member).name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(opened.read(member))
                with Image.open(path) as image:
                    picture = image.convert("RGB")
                side = 32 if name == "alexnet" else case.side
                found.append(np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR)))
                labels.append(label)
    np.savez(target, images=np.stack(found), labels=np.array(labels))


def ours(name: str, file: Path, epochs: int) -> dict[str, Any]:
    """saccade's side, in this process: the loop of `saccade train` on packed pictures."""
    keep_memory()
    case, screen = CASES[name], RecordingScreen(QuietScreen())
    way, recipe = way_of(name, file, epochs)
    with tempfile.TemporaryDirectory() as project:
        begun = Begun(RunFolder.create(Path(project), name), recipe)
        work = layer_table(way.network).multiply_adds
        with threads_for(case.batch_size * work):
            way = in_best_mode(way, recipe, begun, screen)
            history = fit(way.learner, Parts(way.train, way.val), recipe, Beside())
    rate = 6 * work * history[-1].pictures_per_second  # 2 operations forward, 4 backward for each multiply-add
    return {
        "pictures_per_second": [row.pictures_per_second for row in history],
        "loss": history[-1].train_loss,
        "parameters": sum(tensor.numel() for tensor in way.network.parameters()),
        "mode": str(getattr(way.learner, "mode", "float32")),
        "matrix_share": rate / matrix_rate(),
    }


def way_of(name: str, file: Path, epochs: int) -> tuple[Way, Recipe]:
    """Network and batches, as the pipeline makes them."""
    case = CASES[name]
    with np.load(file) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    changes = {"epochs": epochs, "batch_size": case.batch_size, "optimizer": "adam", "learning_rate": 1e-4}
    changes |= {"augment": "none", "schedule": "constant", "patience": 0, "device": "cpu"}
    recipe = make_recipe("scratch", changes).resolved()
    device, rows = torch.device("cpu"), np.arange(len(labels))
    how = (case.batch_size, case.side, device, 0)
    train = Batches(images, labels, rows, *how, augmentation_of(recipe, None))
    val = Batches(images, labels, rows[:VAL], *how)
    network = network_of(name, case, images.shape[-1])
    return Way(network, network, train, val, val), recipe


def matrix_rate() -> float:
    """Operations per second of a product of bfloat16 matrices of 2048×2048, the best of many."""
    matrix, best = torch.randn(2048, 2048).bfloat16(), float("inf")
    for _ in range(20):
        began = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best


def overhead(file: Path) -> None:
    """Print what a step costs beside forward and backward, by torch's profiler, over one epoch of resnet18."""
    keep_memory()
    way, recipe = way_of("resnet18", file, 1)
    with tempfile.TemporaryDirectory() as project:
        begun = Begun(RunFolder.create(Path(project), "overhead"), recipe)
        way = in_best_mode(way, recipe, begun, QuietScreen())
    learner = way.learner
    forward, backward = learner.training_outputs, torch.Tensor.backward

    def watched_forward(images: torch.Tensor) -> Any:
        with record_function("saccade forward"):
            return forward(images)

    def watched_backward(self: torch.Tensor, *arguments: Any, **options: Any) -> None:
        with record_function("saccade backward"):
            backward(self, *arguments, **options)

    learner.training_outputs = watched_forward  # type: ignore[method-assign]
    torch.Tensor.backward = watched_backward  # type: ignore[assignment,method-assign]
    with profile(activities=[ProfilerActivity.CPU]) as found:
        history = fit(learner, Parts(way.train, way.val), recipe, Beside())
    torch.Tensor.backward = backward  # type: ignore[method-assign]
    spent = {row.key: row.cpu_time_total / 1e6 for row in found.key_averages()}
    inside = spent["saccade forward"] + spent["saccade backward"]
    epoch = way.train.num_pictures / history[-1].pictures_per_second
    steps = way.train.num_batches
    optimizer = sum(value for key, value in spent.items() if key.startswith("Optimizer.step"))
    print(
        f"overhead  {steps} steps of resnet18 at 224, batch 32: both ways {inside / steps * 1e3:.0f} ms each, "
        f"the rest {(epoch - inside) / steps * 1e3:.1f} ms = {(epoch - inside) / epoch:.1%} "
        f"(of it the optimizer {optimizer / steps * 1e3:.1f} ms); target 3 %"
    )


def measure(side: str, name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One process; the line of JSON it ends with."""
    case, pictures = CASES[name], folder / f"{name}.npz"
    common = ["--epochs", str(options.epochs), "--batch-size", str(case.batch_size)]
    command = {
        "saccade": [sys.executable, __file__, "--ours", name, str(pictures), "--epochs", str(options.epochs)],
        "keras": [str(options.peers_python), str(PEERS / "keras_training.py"), name, str(pictures), *common],
        "plain": [sys.executable, str(PEERS / "plain_training.py"), name, str(folder / name), *common],
    }[side]
    environment = {**os.environ, "SACCADE_CACHE": str(folder / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One case, in turns, printed as it goes."""
    case = CASES[name]
    sides = ["saccade", *case.targets]
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(2 * options.rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            load = os.getloadavg()[0]
            one = measure(side, name, folder, options)
            found[side].append(one)
            speed = one["pictures_per_second"][-1]
            mode = f"  {one['mode']}, {one['matrix_share']:.0%} of the matrix rate" if side == "saccade" else ""
            print(f"{name:11}{side:9}{speed:9,.1f} pictures/s   load {load:.1f}{mode}", flush=True)
    speeds = {side: statistics.median(one["pictures_per_second"][-1] for one in found[side]) for side in sides}
    ratios = {side: speeds["saccade"] / speeds[side] for side in case.targets}
    for side, ratio in ratios.items():
        verdict = "reached" if ratio >= case.targets[side] else "missed"
        print(f"{name:11}against {side}: {ratio:.2f} (target {case.targets[side]:g}: {verdict})", flush=True)
    return {"speeds": speeds, "ratios": ratios, "targets": case.targets, "all": found}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join([*CASES, "overhead"]), help="names, with commas between")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="of A B B A")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--peers-python", type=Path, default=Path(".venv-peers/bin/python"))
    parser.add_argument("--output", type=Path, help="all figures as JSON")
    parser.add_argument("--ours", nargs=2, metavar=("CASE", "NPZ"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if not options.ours and not options.peers_python.exists():
        parser.error(f"{options.peers_python} is not there (`make bench-training` installs it)")
    return options


def main() -> None:
    """Measure and print."""
    options = parse(sys.argv[1:])
    if options.ours:
        print(json.dumps(ours(options.ours[0], Path(options.ours[1]), options.epochs)))
        return
    about = machine()
    print(f"{about['processor']}, {about['cores']} cores ({', '.join(about['instructions'])})")
    print(f"load {', '.join(f'{value:.1f}' for value in about['load'])}; {about['versions']}")
    print(f"bfloat16 matrix rate {matrix_rate() / 1e12:.2f} T operations/s")
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in [each for each in options.only if each != "overhead"]:
            pictures_of(case, CASES[case], options.data, folder)
            results[case] = compare(case, folder, options)
        if "overhead" in options.only:
            pictures_of("resnet18", CASES["resnet18"], options.data, folder)
            overhead(folder / "resnet18.npz")
    if options.output:
        options.output.write_text(json.dumps({"machine": about, "results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
