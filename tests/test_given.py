"""Pictures handed over in Python, all the way through training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import saccade


def _halves(num_pictures: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey pictures, the upper or the lower half of which is light."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_pictures) % 2
    images = rng.integers(0, 80, (num_pictures, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[14 * label : 14 * label + 14] += 150
    return images, labels


@pytest.mark.parametrize("by_part", [False, True])
def test_train_on_arrays_gives_a_run_that_can_be_judged_again(tmp_path: Path, by_part: bool) -> None:
    pictures = {"train": _halves(80, 0), "test": _halves(20, 1)} if by_part else _halves(100, 0)
    run = saccade.train(pictures, model="cnn1", epochs=3, device="cpu", project=tmp_path, quiet=True)
    assert run.path.name.startswith("arrays-")
    assert run.metrics["test"]["num_pictures"] == len(run.folder.predictions) >= 15  # look-alikes stay together
    again = run.evaluate(device="cpu")
    assert again.accuracy == run.metrics["test"]["accuracy"] > 0.9
    assert run.evaluate(_halves(30, 2), device="cpu").accuracy > 0.9
    assert "without their pictures" not in run.report().read_text()
