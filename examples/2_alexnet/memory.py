"""What it costs to enlarge CIFAR-10 to 128×128 pixels: a batch at a time, as saccade does, or all pictures at once.
Needs cifar10.zip and 4 GB of memory; a few minutes. Prints each way's greatest resident memory in MB."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import saccade

SIDE, NUM_TRAIN = 128, 50_000


def batch_by_batch() -> None:
    """A training in which every batch is enlarged when it is needed; saccade's pack has 32×32 bytes per channel."""
    settings = {"model": "alexnet_bn", "recipe": "scratch", "image_size": SIDE, "batch_size": 128, "epochs": 1}
    fast = {"precision": "bfloat16", "layout": "channels_last", "compile": "off", "fraction": 0.05, "val_share": 0.02}
    saccade.train("cifar10.zip", name="memory", **settings, **fast)


def at_once() -> None:
    """All training pictures enlarged, as bytes; a network takes floats, which are four times as large."""
    large = np.empty((NUM_TRAIN, SIDE, SIDE, 3), dtype=np.uint8)
    pictures = np.random.default_rng(0).integers(0, 256, (NUM_TRAIN, 32, 32, 3), np.uint8)
    for picture, small in zip(large, pictures, strict=True):
        picture[:] = np.asarray(Image.fromarray(small).resize((SIDE, SIDE)))


if len(sys.argv) > 1:
    {"batch_by_batch": batch_by_batch, "at_once": at_once}[sys.argv[1]]()
else:
    values = {"picture_small_bytes": 32 * 32 * 3, "picture_large_bytes": SIDE * SIDE * 3}
    for way in ("batch_by_batch", "at_once"):
        with subprocess.Popen([sys.executable, __file__, way]) as process:  # noqa: S603
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
        values[f"{way}_mb"] = round(usage.ru_maxrss / 1024)
        print(f"{way}: {values[f'{way}_mb']:,} MB")
    Path("runs/memory.json").write_text(json.dumps(values), encoding="utf-8")
