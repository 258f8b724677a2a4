"""CIFAR-10 enlarged to 128 in a Keras Sequence, a cv2.resize per picture, as exercises do it; prints a line of JSON.

python benchmarks/peers/keras_sequence.py CIFAR.npz [--batches 100]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import keras
import numpy as np

BATCH, SIDE = 64, 128


class Enlarged(keras.utils.Sequence):
    """Batches of 64 pictures of 128×128 in 0..1."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        super().__init__()
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images) // BATCH

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = slice(index * BATCH, (index + 1) * BATCH)
        enlarged = np.array([cv2.resize(image, (SIDE, SIDE)) for image in self.images[chosen]])
        return enlarged.astype("float32") / 255.0, self.labels[chosen]


def main() -> None:
    """Milliseconds per batch, and how far memory grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures")
    parser.add_argument("--batches", type=int, default=100)
    options = parser.parse_args()
    with np.load(options.pictures) as arrays:
        sequence = Enlarged(arrays["images"], arrays["labels"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(5):
        sequence[index]
    began = time.perf_counter()
    for index in range(options.batches):
        sequence[index % len(sequence)]
    seconds = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"milliseconds": seconds / options.batches * 1000, "grown_mib": grown}))


if __name__ == "__main__":
    main()
