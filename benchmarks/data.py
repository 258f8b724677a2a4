"""Pictures to batches: decoding, augmenting, enlarging, beside torchvision, kornia and a Keras Sequence, in turns.

    make bench-data                                        installs the peers in .venv-peers, then runs this
    python benchmarks/data.py [--only a,b,c] [--quick] [--peers-python PYTHON] [--output results.json]

a   a folder of pictures to normalised float batches of 224×224, against ImageFolder + v2 transforms + DataLoader with
    two workers: cats_and_dogs_small, and 12-megapixel photographs (real ones, enlarged): the first epoch, from nothing,
    and every later one
b   augmentation `standard` and normalisation on one thread, per picture: at 224 and at 32, against torchvision v2 on
    one picture at a time, and kornia on batches
c   CIFAR-10 enlarged to 128, batches of 64 in float, on one thread, against cv2.resize per picture in a Keras Sequence;
    and how far memory grows in one pass over 50,000 pictures

Sides take turns, and each measurement is the best of its rounds: others may use the machine. Both sides of (a) find
their files in the disk cache of the system; imports are not counted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from saccade.threads import calm_threads

calm_threads()  # before torch, as the command does

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from peers.imagefolder import MEAN, STD
from peers.machine import machine
from saccade.data.augment import Augmentation, augment, draw_all
from saccade.data.batches import Batches
from saccade.data.colour_jitter import Jitter
from saccade.data.decode import DecodeRules
from saccade.data.pack import open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sources.open import open_pictures
from saccade.engine import keep_memory, num_cores
from saccade.models.network import Normalise
from saccade.recipe import STRENGTHS

PEERS = Path(__file__).parent / "peers"
CPU = torch.device("cpu")
SIZES = ((224, 64), (32, 256))  # side, batch
LARGE = (4032, 3024)
LEAST_SECONDS = 0.5  # of short measurements: others may use the machine


class Sizes(NamedTuple):
    """How much is done."""

    small: int  # pictures of cats_and_dogs_small
    large: int  # photographs of 12 megapixels
    rounds: int
    batches: int  # of CIFAR


FULL = Sizes(4000, 300, 3, 781)
QUICK = Sizes(200, 12, 1, 50)


NORMALISE = Normalise(*([255 * value for value in values] for values in (MEAN, STD)))


def normalise(images: torch.Tensor) -> torch.Tensor:
    """What every network of saccade does first: float, mean 0, deviation 1."""
    with torch.no_grad():
        result: torch.Tensor = NORMALISE(images)
    return result


def write_folders(data: Path, sizes: Sizes, target: Path) -> dict[str, Path]:
    """Unpack the small pictures, and enlarge some of them to 12 megapixels: a folder per class."""
    with zipfile.ZipFile(data / "cats_and_dogs_small.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        names = names[:: max(1, len(names) // sizes.small)]
        for name in names:
            path = target / "small" / Path(name).parent.name / f"{Path(name).parent.parent.name}-{Path(name).name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
        for number, name in enumerate(names[:: max(1, len(names) // sizes.large)][: sizes.large]):
            path = target / "large" / ("even" if number % 2 == 0 else "odd") / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(io.BytesIO(archive.read(name))) as image:
                image.convert("RGB").resize(LARGE, Image.Resampling.LANCZOS).save(path, quality=90)
    return {"small": target / "small", "large": target / "large"}


def saccade_epochs(folder: Path, epochs: int) -> list[float]:
    """Seconds of every epoch, the first from nothing."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SACCADE_CACHE"] = cache
        seconds, began = [], time.perf_counter()
        work = Work(num_cores(), strict=False, progress=lambda done, total: None)
        pack = open_pack(open_pictures(folder), PackSettings(224, False, "squash", DecodeRules()), work)
        batches = Batches(pack.images, pack.labels, pack.usable, 32, 224, CPU, 0, Augmentation())
        for epoch in range(1, epochs + 1):
            for batch in batches.epoch(epoch):
                normalise(batch.images)
            seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
        return seconds


def run_peer(python: str, script: str, *arguments: str) -> Any:
    """The line of JSON that a peer prints."""
    found = subprocess.run([python, str(PEERS / script), *arguments], capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(f"{script} failed:\n{found.stderr}")
    return json.loads(found.stdout.splitlines()[-1])


def measure_a(options: argparse.Namespace, sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Folders to batches."""
    results = {}
    for name, pictures in write_folders(options.data, sizes, folder).items():
        ours: list[list[float]] = []
        theirs: list[list[float]] = []
        for _ in range(min(2, sizes.rounds)):
            ours.append(saccade_epochs(pictures, 4))
            theirs.append(run_peer(sys.executable, "imagefolder.py", str(pictures), "--epochs", "2")["seconds"])
        first = min(run[0] for run in ours), min(run[0] for run in theirs)
        later = min(min(run[1:]) for run in ours), min(min(run) for run in theirs)
        results[f"{name}, first epoch"] = _ratio(*first, 1.4 if name == "small" else 4)
        results[f"{name}, later epochs"] = _ratio(*later, 10)
    return results


def measure_b(options: argparse.Namespace, sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Augmentation, milliseconds per picture on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ours, single, kornia = ({side: float("inf") for side, _ in SIZES} for _ in range(3))
    for _ in range(sizes.rounds):
        for side, batch in SIZES:
            ours[side] = min(ours[side], _standard_of_batches(side, batch))
            single[side] = min(single[side], _standard_of_pictures(side))
        found = run_peer(options.peers_python, "kornia_batches.py", "--repeats", "10")
        kornia = {side: min(kornia[side], found[str(side)]) for side, _ in SIZES}
    torch.set_num_threads(threads)
    results = {}
    for (side, _), least, least_kornia in zip(SIZES, (3, 20), (1.5, 3), strict=True):
        results[f"{side} px, torchvision v2 per picture"] = _ratio(ours[side], single[side], least)
        results[f"{side} px, kornia per batch"] = _ratio(ours[side], kornia[side], least_kornia)
    return results


def _standard_of_batches(side: int, batch: int) -> float:
    far = STRENGTHS["standard"]
    jitter = Jitter(far["brightness"], far["contrast"], far["saturation"])
    standard = Augmentation(far["flip"], far["shift"], far["rotation"], far["zoom"], jitter=jitter)
    images = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)

    def once(number: int) -> None:
        draws = draw_all(batch, standard, 0, number)
        normalise(augment(images, draws, standard, side).contiguous(memory_format=torch.channels_last))

    return _best(once, 8) / batch


def _standard_of_pictures(side: int) -> float:
    far = STRENGTHS["standard"]
    scale, shift = (1 - far["zoom"], 1 + far["zoom"]), (far["shift"], far["shift"])
    steps = v2.Compose(
        [
            v2.RandomHorizontalFlip(far["flip"]),
            v2.RandomAffine(far["rotation"], shift, scale, interpolation=InterpolationMode.BILINEAR),
            v2.ColorJitter(far["brightness"], far["contrast"], far["saturation"]),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    images = torch.randint(0, 256, (16, 3, side, side), dtype=torch.uint8)
    return _best(lambda number: [steps(image) for image in images] and None, 8) / len(images)


def _best(once: Callable[[int], None], repeats: int) -> float:
    """Milliseconds of the fastest of some repeats, after one that does not count; more of them where they are short."""
    seconds: list[float] = []
    while len(seconds) <= repeats or sum(seconds) < LEAST_SECONDS:
        began = time.perf_counter()
        once(len(seconds))
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:]) * 1000


def measure_c(options: argparse.Namespace, sizes: Sizes, folder: Path) -> dict[str, Any]:
    """CIFAR-10 at 128, milliseconds per batch, and how far memory grows."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images, labels = _cifar(options.data, sizes.batches * 64)
    np.savez(folder / "cifar.npz", images=images, labels=labels)
    ours = theirs = float("inf")
    grown: tuple[float, float] = 0.0, 0.0
    for _ in range(sizes.rounds):
        batches = Batches(images, labels, np.arange(len(labels)), 64, 128, CPU)
        before, seen, began = _peak(), 0, time.perf_counter()
        for batch in batches.epoch(0):
            seen += len(normalise(batch.images))
        ours = min(ours, (time.perf_counter() - began) / batches.num_batches * 1000)
        found = run_peer(
            options.peers_python, "keras_sequence.py", str(folder / "cifar.npz"), "--batches", str(sizes.batches)
        )
        theirs = min(theirs, found["milliseconds"])
        grown = max(grown[0], _peak() - before), max(grown[1], found["grown_mib"])
    torch.set_num_threads(threads)
    result = _ratio(ours, theirs, 5)
    return {"CIFAR-10 at 128, per batch of 64": result | {"grown_mib": [round(value, 1) for value in grown]}}


def _cifar(data: Path, most: int) -> tuple[np.ndarray, np.ndarray]:
    with zipfile.ZipFile(data / "cifar10.zip") as archive:
        names = sorted(name for name in archive.namelist() if "/train/" in name and name.endswith(".png"))[:most]
        images = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names])
    return images, np.arange(len(images), dtype=np.int64) % 10


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _ratio(ours: float, theirs: float, target: float) -> dict[str, Any]:
    return {"saccade": round(ours, 4), "peer": round(theirs, 4), "ratio": round(theirs / ours, 2), "target": target}


def main() -> None:
    """Measure what was asked for, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="a,b,c")
    parser.add_argument("--quick", action="store_true", help="a few pictures, to see that it works")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--peers-python", default=".venv-peers/bin/python")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    keep_memory()
    measures = {"a": measure_a, "b": measure_b, "c": measure_c}
    results: dict[str, Any] = {"machine": machine()}
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measures[name](options, QUICK if options.quick else FULL, Path(folder))
        for title, row in results[name].items():
            unit = "s" if name == "a" else "ms"
            more = f"  memory grew by {row['grown_mib']} MiB" if "grown_mib" in row else ""
            print(
                f"{name}  {title:44} saccade {row['saccade']:>9.4f} {unit}  peer {row['peer']:>9.4f} {unit}  "
                f"{row['ratio']:>6.2f} times (target {row['target']}){more}",
                flush=True,
            )
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
