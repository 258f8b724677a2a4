"""Three classes of real pictures for benchmarks/transfer.py, as the .npz that exercises hand out."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

SIDE = 224
NUM_TEST = 8  # of each class
# Photographs of many sizes, and pictures of 32×32 that are enlarged: to a convolution they are all alike.
SOURCES = (("cats_and_dogs_small.zip", "cats"), ("cats_and_dogs_small.zip", "dogs"), ("cifar10.zip", "horse"))


def write_pictures(data: Path, num_train: int, target: Path) -> None:
    """Write X_train, y_train, X_val, y_val, X_test, y_test, shuffled by a fixed seed; val is a fifth.

    Args:
        data: the folder of the zips in SOURCES, whose pictures lie in folders named after their class.
        num_train: pictures of each class to learn from and to watch.
        target: an .npz; pictures uint8 (N, 224, 224, 3), labels uint8 (N,).
    """
    rng = np.random.default_rng(0)
    found = [_read_class(data / name, class_name, num_train + NUM_TEST, rng) for name, class_name in SOURCES]
    arrays: dict[str, npt.NDArray[Any]] = {}
    num_val = num_train // 5
    bounds = {"val": (0, num_val), "train": (num_val, num_train), "test": (num_train, None)}
    for part, (first, last) in bounds.items():
        images = np.concatenate([pictures[first:last] for pictures in found])
        labels = np.repeat(np.arange(len(found)), len(images) // len(found))
        order = rng.permutation(len(labels))
        arrays |= {f"X_{part}": images[order], f"y_{part}": labels[order].astype(np.uint8)}
    np.savez(target, allow_pickle=False, **arrays)


def _read_class(archive: Path, class_name: str, count: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if f"/{class_name}/" in name and not name.endswith("/"))
        return np.stack([_read_squashed(opened.read(name)) for name in rng.choice(names, count, replace=False)])


def _read_squashed(data: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return np.asarray(upright.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
