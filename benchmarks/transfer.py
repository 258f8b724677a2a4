"""Transfer learning in saccade beside its peers: the same pictures, batch size and epochs, the same machine, in turns.

    make bench-peers                                            installs the peers in .venv-peers, then runs this
    python benchmarks/transfer.py [--only a,c] [--quick] [--output results.json]

Three classes (cats, dogs, horses) of pictures of 224×224: 768 to learn from, 192 to watch, 24 to judge by.

a   vgg16, the head alone on a frozen backbone                   Keras' fit
b   the same on augmented pictures, five views of each           Keras' fit with its Random layers in tf.data
c   vgg16, block5_conv3 and the head                             Keras' fit
d   as a                                                         Keras: predict() once, then the head on what came out
e   resnet18, layer4 and the head                                a float32 loop in plain PyTorch with a DataLoader

Seconds are those of a whole process, from its start to the judgement of the test part. Only the epochs of a, b, c and e
are shortened for the peer: some are measured and multiplied, its warm-up is not counted. Where others use the machine
too, "cores used" tells how much a side was held up, and the ratio of CPU seconds roughly how it would be without them.
The vgg16 of both sides has random weights (nothing is downloaded): its accuracy means nothing, its seconds do.
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
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from saccade.threads import calm_threads

calm_threads()  # before torch, as the command does

from peers.animals import SIDE, SOURCES, write_pictures
from peers.machine import machine
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.models.weights import save_network
from saccade.pipeline import Place, train
from saccade.presets import make_recipe

PEERS = Path(__file__).parent / "peers"
HEAD = "128,64,32"
# The peers' optimizer and constant rate, no early stopping; what is left is how the work is done.
SAME = {"optimizer": "adam", "weight_decay": 0.0, "schedule": "constant", "patience": 0, "solve_head": False}
SAME |= {"device": "cpu", "seed": 0}
VGG16 = {**SAME, "model": "vgg16", "head": HEAD}


class Sizes(NamedTuple):
    """How much is done: pictures of each class to learn from and watch, epochs, and epochs measured of the peer."""

    pictures: int
    epochs: int
    epochs_e: int
    peer_epochs: int


FULL = Sizes(320, 50, 20, 2)
QUICK = Sizes(20, 2, 2, 1)


@dataclass(frozen=True)
class Measurement:
    """One comparison.

    Attributes:
        title: in words.
        target: the ratio that saccade wants to reach.
        peer: the script in peers/ and its mode, if it has any.
        preset: saccade's recipe.
        changes: its fields.
        whole_peer: the peer runs all its epochs, nothing is multiplied.
    """

    title: str
    target: float
    peer: tuple[str, ...]
    preset: str
    changes: dict[str, Any]
    whole_peer: bool = False


FEATURES = {**VGG16, "learning_rate": 1e-3}
MEASUREMENTS = {
    "a": Measurement(
        "vgg16, head alone, against Keras' fit",
        60,
        ("keras_vgg16.py", "features"),
        "features",
        {**FEATURES, "augment": "none"},
    ),
    "b": Measurement(
        "vgg16, head alone, augmented (5 views), against Keras' fit",
        20,
        ("keras_vgg16.py", "augment"),
        "features",
        {**FEATURES, "augment": "strong", "views": 5},
    ),
    "c": Measurement(
        "vgg16, block5_conv3 and head, against Keras' fit",
        20,
        ("keras_vgg16.py", "finetune"),
        "finetune",
        {**VGG16, "train": "block5_conv3", "augment": "none", "learning_rate": 1e-4},
    ),
    "d": Measurement(
        "vgg16, head alone, against Keras' predict() once",
        2.5,
        ("keras_vgg16.py", "predict"),
        "features",
        {**FEATURES, "augment": "none"},
        whole_peer=True,
    ),
    "e": Measurement(
        "resnet18, layer4 and head, against a plain PyTorch loop",
        2.5,
        ("plain_resnet18.py",),
        "finetune",
        {**SAME, "model": "resnet18", "image_size": SIDE, "train": "layer4", "augment": "none", "learning_rate": 1e-4},
    ),
}


class Bench(NamedTuple):
    """What all measurements share: how much, on which files, and the flags."""

    sizes: Sizes
    pictures: Path
    weights: dict[str, str]
    options: argparse.Namespace


def prepare(options: argparse.Namespace, folder: Path) -> Bench:
    """Write the pictures, and weights to start from: a vgg16 with He weights; the resnet18 is at hand."""
    sizes = QUICK if options.quick else FULL
    if options.epochs:
        sizes = sizes._replace(epochs=options.epochs, epochs_e=min(options.epochs, FULL.epochs_e))
    pictures, vgg16 = folder / "animals.npz", folder / "vgg16.safetensors"
    write_pictures(options.data, sizes.pictures, pictures)
    save_network(vgg16, build_network(NetworkSpec("vgg16", 3, SIDE, 3, HEAD), seed=1), {})
    return Bench(sizes, pictures, {"vgg16": str(vgg16), "resnet18": str(options.resnet18.resolve())}, options)


def ours(request: dict[str, Any]) -> None:
    """saccade's side, in a process of its own: one run, and a line of JSON about it."""
    with tempfile.TemporaryDirectory() as project:
        run = train(make_recipe(request["preset"], request["changes"]), request["pictures"], Place(Path(project)))
        about = {
            "seconds_by_stage": run.metrics["seconds"],
            "accuracy": run.metrics["test"]["accuracy"],
            "loss": run.results[-1]["train_loss"],
            "epochs": len(run.results),
            "log": run.log_path.read_text(encoding="utf-8").splitlines(),
        }
    print(json.dumps(about))


def call(command: list[str], cache: Path) -> dict[str, Any]:
    """The line of JSON that a process ended with, its seconds, and those that the cores worked for it."""
    began, cpu_before = time.perf_counter(), cpu_seconds()
    done = subprocess.run(command, env={**os.environ, "SACCADE_CACHE": str(cache)}, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    cpu = cpu_seconds() - cpu_before
    return {"seconds": seconds, "cpu_seconds": cpu, **json.loads(done.stdout.splitlines()[-1])}


def cpu_seconds() -> float:
    """Of all processes that this one started and that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_ours(measurement: Measurement, epochs: int, bench: Bench) -> dict[str, Any]:
    """The whole run, with a fresh cache."""
    changes = {
        **measurement.changes,
        "weights": bench.weights[str(measurement.changes["model"])],
        "epochs": epochs,
        "batch_size": bench.options.batch_size,
        "precision": bench.options.precision,
    }
    request = {"preset": measurement.preset, "changes": changes, "pictures": str(bench.pictures)}
    with tempfile.TemporaryDirectory(dir=bench.pictures.parent) as cache:
        return call([sys.executable, __file__, "--ours", json.dumps(request)], Path(cache))


def measure_peer(measurement: Measurement, epochs: int, bench: Bench) -> dict[str, Any]:
    """The peer's process; where only some epochs were measured, `seconds` has them multiplied."""
    script, *mode = measurement.peer
    keras = script.startswith("keras")
    python = str(bench.options.peers_python) if keras else sys.executable
    done = epochs if measurement.whole_peer else min(bench.sizes.peer_epochs, epochs)
    command = [python, str(PEERS / script), *mode, str(bench.pictures), "--epochs", str(done)]
    command += ["--batch-size", str(bench.options.batch_size)]
    command += [] if keras else ["--weights", bench.weights["resnet18"]]
    found = call(command, bench.pictures.parent)
    if measurement.whole_peer:
        return found
    rest = found["seconds"] - sum(found["epochs"]) - found.get("warm_up", 0.0)
    seconds = rest + epochs * statistics.mean(found["epochs"])
    longer = seconds / found["seconds"]
    return {**found, "measured": found["seconds"], "seconds": seconds, "cpu_seconds": found["cpu_seconds"] * longer}


def in_words(found: dict[str, Any]) -> str:
    """Where the seconds went, or what they were multiplied from."""
    if "seconds_by_stage" in found:
        stages = ", ".join(f"{name} {value:,.1f}" for name, value in found["seconds_by_stage"].items())
        return f"the whole run ({stages})"
    if "predicting" in found:
        speed = found["predicted"] / found["predicting"]
        return (
            f"all measured (predict() {found['predicting']:,.1f}, {speed:.1f} pictures/s; fit {found['fitting']:,.1f})"
        )
    each = ", ".join(f"{value:,.1f}" for value in found["epochs"])
    speed = found["pictures_per_epoch"] / statistics.mean(found["epochs"])
    return f"scaled from epochs of {each} ({speed:.1f} pictures/s with validation)"


def compare(letter: str, bench: Bench) -> dict[str, Any]:
    """One measurement, in turns, printed as it goes."""
    measurement = MEASUREMENTS[letter]
    epochs = bench.sizes.epochs_e if letter == "e" else bench.sizes.epochs
    print(f"\n{letter}. {measurement.title}; {epochs} epochs, batch {bench.options.batch_size}")
    rounds = []
    for _ in range(bench.options.rounds):
        turn = {}
        for side, measure in (("saccade", measure_ours), ("peer", measure_peer)):
            load = os.getloadavg()[0]
            found = turn[side] = {"load_before": round(load, 2), **measure(measurement, epochs, bench)}
            words = f"{in_words(found)}; load {load:.1f}, {found['cpu_seconds'] / found['seconds']:.1f} cores used"
            print(f"   {side:8}{found['seconds']:9,.1f} s  {words}", flush=True)
        rounds.append(turn)
    ratios = {
        name: [turn["peer"][name] / turn["saccade"][name] for turn in rounds] for name in ("seconds", "cpu_seconds")
    }
    ratio, of_cpu = (statistics.median(values) for values in ratios.values())
    verdict = "reached" if ratio >= measurement.target else "missed"
    spread = f"{min(ratios['seconds']):.1f} to {max(ratios['seconds']):.1f} in {len(rounds)} rounds"
    words = f"target {measurement.target:g}: {verdict} ({spread}; of CPU seconds {of_cpu:.1f})"
    print(f"   {'ratio':8}{ratio:9,.1f}    {words}", flush=True)
    about = {"title": measurement.title, "target": measurement.target}
    return {**about, "ratio": ratio, "ratio_of_cpu_seconds": of_cpu, "rounds": rounds}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(MEASUREMENTS), help="letters, with commas between")
    parser.add_argument("--quick", action="store_true", help="60 pictures, two epochs: a smoke test, no measurement")
    parser.add_argument("--epochs", type=int, help="50 (at most 20 of them for e)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1, help="measure so often, in turns; the median ratio counts")
    parser.add_argument("--precision", default="auto", help="of saccade's side: auto, float32 or bfloat16")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder of the zips")
    parser.add_argument("--resnet18", type=Path, default=Path("../shared/weights/resnet18_tiny64.safetensors"))
    parser.add_argument("--peers-python", type=Path, default=Path(".venv-peers/bin/python"))
    parser.add_argument("--output", type=Path, help="all figures as JSON")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(MEASUREMENTS):
        parser.error(f"--only knows {', '.join(MEASUREMENTS)}, not {', '.join(sorted(unknown))}")
    needed = [options.data / name for name, _ in SOURCES] + [options.resnet18, options.peers_python]
    if missing := sorted({str(path) for path in needed if not path.exists()}):
        parser.error(f"not there: {', '.join(missing)} (`make bench-peers` installs the peers)")
    return options


def main() -> None:
    """Measure and print."""
    options = parse(sys.argv[1:])
    about = machine()
    print(f"{about['processor']}, {about['cores']} cores ({', '.join(about['instructions'])})")
    print(f"load {', '.join(f'{value:.1f}' for value in about['load'])}; {about['versions']}")
    print("vgg16 has random weights on both sides: seconds count here, not its accuracy")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = prepare(options, Path(folder))
        for letter in options.only:
            results[letter] = compare(letter, bench)
    print("\n" + "\n".join(f"{key}  {one['ratio']:6.1f}  (target {one['target']:g})" for key, one in results.items()))
    if options.output:
        options.output.write_text(json.dumps({"machine": about, "results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        ours(json.loads(sys.argv[2]))
    else:
        main()
