"""Training steps in Keras as its exercises write them; prints a line of JSON: pictures per second of every epoch.

    python benchmarks/peers/keras_training.py alexnet|three_conv|cnn1 PICTURES.npz [--epochs 2] [--batch-size 64]

alexnet      the published network with BatchNorm at 128, CIFAR-10 enlarged by cv2.resize per picture in a Sequence
three_conv   three convolutions and a dense layer on pictures of 150×150
cnn1         one convolution on MNIST

The .npz holds images uint8 (N, side, side, C) and labels. The first epoch includes the tracing of the graph.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import keras
import numpy as np
import tensorflow as tf
from keras import layers, regularizers
from keras_clock import EpochClock

SIDES = {"alexnet": 128, "three_conv": 150, "cnn1": 28}


class Enlarged(keras.utils.Sequence):
    """Batches of enlarged pictures in 0..1, in a new order every epoch."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        super().__init__()
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.order = np.random.default_rng(0).permutation(len(labels))

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        side = SIDES["alexnet"]
        enlarged = np.array([cv2.resize(image, (side, side)) for image in self.images[chosen]])
        return enlarged.astype("float32") / 255.0, self.labels[chosen]

    def on_epoch_end(self) -> None:
        """A new order."""
        self.order = np.random.default_rng(len(self.order)).permutation(self.order)


def alexnet() -> keras.Model:
    """96 11×11/4, 256 5×5, 384, 384, 256 3×3, each ReLU then BatchNorm; pools 3/2; 4096, 4096 with dropout."""
    model = keras.Sequential([keras.Input((128, 128, 3)), layers.Conv2D(96, 11, strides=4, activation="relu")])
    model.add(layers.BatchNormalization())
    model.add(layers.MaxPooling2D(3, strides=2))
    for filters, kernel, pool in ((256, 5, True), (384, 3, False), (384, 3, False), (256, 3, True)):
        decay = regularizers.l2(1e-4)
        model.add(layers.Conv2D(filters, kernel, padding="same", activation="relu", kernel_regularizer=decay))
        model.add(layers.BatchNormalization())
        if pool:
            model.add(layers.MaxPooling2D(3, strides=2))
    model.add(layers.Flatten())
    for _ in range(2):
        model.add(layers.Dense(4096, activation="relu"))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(10, activation="softmax"))
    return model


def three_conv() -> keras.Model:
    """32, 64, 128 filters of 3×3, each with a pool; dense 512 and one sigmoid unit."""
    model = keras.Sequential([keras.Input((150, 150, 3)), layers.Rescaling(1 / 255)])
    for filters in (32, 64, 128):
        model.add(layers.Conv2D(filters, 3, activation="relu"))
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    model.add(layers.Dense(512, activation="relu"))
    model.add(layers.Dense(1, activation="sigmoid"))
    return model


def cnn1() -> keras.Model:
    """conv 3×3 with 32 filters, max-pool 2, flatten, dense 10."""
    stack = [layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten()]
    return keras.Sequential([keras.Input((28, 28, 1)), *stack, layers.Dense(10, activation="softmax")])


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=SIDES)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    with np.load(options.pictures) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    model = {"alexnet": alexnet, "three_conv": three_conv, "cnn1": cnn1}[options.case]()
    loss = "binary_crossentropy" if options.case == "three_conv" else "sparse_categorical_crossentropy"
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss=loss, metrics=["accuracy"])
    clock = EpochClock()
    how = {"epochs": options.epochs, "callbacks": [clock], "verbose": 0}
    seen = len(labels) // options.batch_size * options.batch_size
    began = time.process_time()
    if options.case == "alexnet":
        history = model.fit(Enlarged(images, labels, options.batch_size), **how)
    else:
        pixels = images[:seen] if options.case == "three_conv" else images[:seen].astype("float32") / 255
        history = model.fit(pixels, labels[:seen], batch_size=options.batch_size, **how)
    result = {
        "pictures_per_second": [seen / seconds for seconds in clock.seconds],
        "cpu_seconds": time.process_time() - began,
        "loss": history.history["loss"][-1],
        "parameters": model.count_params(),
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
