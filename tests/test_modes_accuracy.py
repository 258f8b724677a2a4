"""What a run gives up in the mode that is fastest here: nothing that could be told from the noise of seeds."""

from __future__ import annotations

import gzip
import statistics
from pathlib import Path

import numpy as np
import pytest

from saccade.pipeline import Place, train
from saccade.presets import make_recipe

SEEDS = range(4)
NUM_TRAIN, NUM_TEST = 2000, 1000
# Of the mean difference of four runs each, where accuracies scatter as they do here: about what seeds alone would give.
T_95 = 2.45  # Student's t with 6 degrees of freedom


@pytest.fixture(scope="module")
def digits(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of MNIST as arrays; the test part is given, so that all runs are judged by the same pictures."""
    folder = shared / "data" / "mnist"
    parts = {}
    for part, name, number in (("train", "train", NUM_TRAIN), ("test", "t10k", NUM_TEST)):
        images = np.frombuffer(
            gzip.decompress((folder / f"{name}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
        )
        labels = np.frombuffer(
            gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8
        )
        parts |= {f"x_{part}": images.reshape(-1, 28, 28)[:number], f"y_{part}": labels[:number]}
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, **parts)
    return path


def _accuracies(digits: Path, project: Path, precision: str, layout: str) -> list[float]:
    fields = {"model": "lenet5", "image_size": 28, "epochs": 6, "batch_size": 50, "val_share": 0.1, "split_seed": 0}
    mode = {"precision": precision, "layout": layout, "compile": "off", "device": "cpu", "workers": 1}
    runs = [
        train(make_recipe("scratch", {**fields, **mode, "seed": seed}), digits, Place(project, f"{precision}-{seed}"))
        for seed in SEEDS
    ]
    return [run.metrics["test"]["accuracy"] for run in runs]


@pytest.mark.slow
def test_bfloat16_and_channels_last_reach_the_accuracy_of_float32_within_the_noise_of_seeds(
    digits: Path, tmp_path: Path
) -> None:
    exact = _accuracies(digits, tmp_path, "float32", "contiguous")
    fast = _accuracies(digits, tmp_path, "bfloat16", "channels_last")
    assert statistics.mean(exact) > 0.9  # something was learned that could have been lost
    noise = T_95 * (statistics.variance(exact) / len(exact) + statistics.variance(fast) / len(fast)) ** 0.5
    assert abs(statistics.mean(fast) - statistics.mean(exact)) <= max(noise, 0.005), (exact, fast)
