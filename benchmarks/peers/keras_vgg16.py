"""VGG16 in Keras on three classes of pictures, as its guides teach transfer learning; prints a line of JSON.

    python benchmarks/peers/keras_vgg16.py features PICTURES.npz [--epochs 2] [--batch-size 32]

features    the head learns on a frozen backbone; every epoch takes every picture through all of it
augment     as features, on pictures turned, shifted, zoomed and mirrored anew in every epoch (in tf.data)
finetune    the head and block5_conv3 learn
predict     predict() once on all pictures, then the head learns on what came out

The backbone has random (He) weights, for nothing is downloaded here: the seconds do not depend on them. `seconds` of
every epoch include its validation; `warm_up` is one step of training and of validation before the clock of the epochs.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from keras.applications.vgg16 import VGG16, preprocess_input
from keras_clock import EpochClock
from pictures import Part, read_parts

AUTOTUNE = tf.data.AUTOTUNE
QUIETLY: dict[str, Any] = {"verbose": 0, "shuffle": False}  # the dataset shuffles


def backbone() -> keras.Model:
    """VGG16 without its top, with He weights by a fixed seed."""
    model = VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            deviation = np.sqrt(2 / np.prod(kernel.shape[:3]))
            layer.set_weights([rng.normal(0, deviation, kernel.shape).astype(np.float32), bias])
    return model


def dense_layers() -> list[layers.Layer]:
    """The head: 128, 64, 32 and three classes."""
    hidden = [layers.Dense(width, activation="relu") for width in (128, 64, 32)]
    return [layers.Flatten(), *hidden, layers.Dense(3, activation="softmax")]


def with_head(base: keras.Model, options: argparse.Namespace) -> keras.Model:
    """The backbone, frozen but for `finetune`'s stage, and the head."""
    base.trainable = options.mode == "finetune"
    for layer in base.layers:
        layer.trainable = options.mode == "finetune" and layer.name == "block5_conv3"
    model = keras.Sequential([keras.Input((224, 224, 3)), base, *dense_layers()])
    return compiled(model, 1e-4 if options.mode == "finetune" else 1e-3, options.jit)


def compiled(model: keras.Model, rate: float, jit: str) -> keras.Model:
    """The model with Adam and cross-entropy on numbers."""
    how: dict[str, Any] = {"auto": "auto", "on": True, "off": False}
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=how[jit])
    return model


def augmentation() -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """What saccade calls `strong`: mirrored, shifted by 0.2, turned by 30 degrees, zoomed by 0.2."""
    steps = keras.Sequential(
        [
            layers.RandomFlip("horizontal", seed=1),
            layers.RandomTranslation(0.2, 0.2, fill_mode="nearest", seed=2),
            layers.RandomRotation(30 / 360, fill_mode="nearest", seed=3),
            layers.RandomZoom((-0.2, 0.2), fill_mode="nearest", seed=4),
        ]
    )
    return lambda images, labels: (steps(tf.cast(images, tf.float32), training=True), labels)


def dataset(part: Part, options: argparse.Namespace, training: bool = False) -> tf.data.Dataset:
    """Batches of preprocessed pictures, prepared while the network works."""
    batches = tf.data.Dataset.from_tensor_slices((part.images, part.labels))
    if training:
        batches = batches.shuffle(len(part.labels), seed=0)
    batches = batches.batch(options.batch_size)
    if training and options.mode == "augment":
        batches = batches.map(augmentation(), num_parallel_calls=AUTOTUNE)
    batches = batches.map(lambda images, labels: (preprocess_input(tf.cast(images, tf.float32)), labels), AUTOTUNE)
    return batches.prefetch(AUTOTUNE)


def fit_whole(options: argparse.Namespace) -> dict[str, Any]:
    """features, augment and finetune: seconds per epoch of the ordinary `fit`."""
    train, val, test = read_parts(options.pictures)
    model = with_head(backbone(), options)
    batches, watched = dataset(train, options, training=True), dataset(val, options)
    began = time.perf_counter()
    model.fit(batches.take(1), validation_data=watched.take(1), **QUIETLY)
    warm_up, clock = time.perf_counter() - began, EpochClock()
    history = model.fit(batches, validation_data=watched, epochs=options.epochs, callbacks=[clock], **QUIETLY)
    _, accuracy = model.evaluate(dataset(test, options), verbose=0)
    return {
        "warm_up": warm_up,
        "epochs": clock.seconds,
        "pictures_per_epoch": len(train.labels) + len(val.labels),
        "loss": history.history["loss"][-1],
        "accuracy": accuracy,
    }


def predict_once(options: argparse.Namespace) -> dict[str, Any]:
    """predict: every picture goes through the backbone once, the head learns on what came out."""
    train, val, test = read_parts(options.pictures)
    base = backbone()
    began = time.perf_counter()
    # In one call and one dataset each, the labels are not needed here.
    found = [
        base.predict(dataset(part, options).map(lambda images, _: images), verbose=0) for part in (train, val, test)
    ]
    predicting = time.perf_counter() - began
    head = compiled(keras.Sequential([keras.Input(found[0].shape[1:]), *dense_layers()]), 1e-3, options.jit)
    fitting = {"epochs": options.epochs, "batch_size": options.batch_size, "verbose": 0}
    history = head.fit(found[0], train.labels, validation_data=(found[1], val.labels), **fitting)
    _, accuracy = head.evaluate(found[2], test.labels, verbose=0)
    return {
        "predicting": predicting,
        "fitting": time.perf_counter() - began - predicting,
        "predicted": sum(len(part.labels) for part in (train, val, test)),
        "loss": history.history["loss"][-1],
        "accuracy": accuracy,
    }


def main() -> None:
    """Do one and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["features", "augment", "finetune", "predict"])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--jit", choices=["auto", "on", "off"], default="auto", help="XLA; auto: as Keras decides")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    result = predict_once(options) if options.mode == "predict" else fit_whole(options)
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__, "numpy": np.__version__}
    print(json.dumps({**result, "versions": versions}))


if __name__ == "__main__":
    main()
