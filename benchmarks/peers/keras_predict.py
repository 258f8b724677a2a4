"""Prediction in Keras as its guides write it: FOLDER -> a csv.

    python benchmarks/peers/keras_predict.py FOLDER ROWS.csv [--batch-size 32]

image_dataset_from_directory, keras.applications.ResNet50 with random weights, model.predict.
"""

from __future__ import annotations

import argparse
import csv
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from keras.applications.resnet50 import ResNet50, preprocess_input


def main() -> None:
    """Predict and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("rows")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    pictures = keras.utils.image_dataset_from_directory(
        options.folder, labels=None, image_size=(224, 224), batch_size=options.batch_size, shuffle=False
    )
    keras.utils.set_random_seed(0)
    network = ResNet50(weights=None, classes=10)
    shares = network.predict(pictures.map(preprocess_input), verbose=0)
    with open(options.rows, "w", newline="") as file:  # noqa: PTH123
        writer = csv.writer(file)
        writer.writerow(["path", "class", "probability"])
        for path, row in zip(pictures.file_paths, shares, strict=True):
            writer.writerow([path, int(row.argmax()), f"{row.max():.6f}"])


if __name__ == "__main__":
    main()
