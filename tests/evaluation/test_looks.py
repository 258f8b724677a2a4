"""Several looks at a picture: their weighted mean by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saccade.evaluation.looks import SeveralLooks
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.recipe import Looks

IMAGES = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def moved(pixels: np.ndarray, step: int) -> np.ndarray:
    padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    return np.ascontiguousarray(padded[:, :, 1 - step : 33 - step, 1 - step : 33 - step])


def logits(network: nn.Module, pixels: np.ndarray) -> Tensor:
    mirror = np.ascontiguousarray(pixels[..., ::-1])
    found: Tensor = (network(torch.from_numpy(pixels)) + network(torch.from_numpy(mirror))) / 2
    return found


@pytest.mark.parametrize("looks", ["none", "flip", "shifts"])
def test_several_looks_are_the_weighted_mean_of_the_views_by_hand(looks: Looks) -> None:
    network = build_network(NetworkSpec("sprint", 4, 32)).eval()
    pixels = IMAGES.numpy()
    with torch.inference_mode():
        expected = {
            "none": network(IMAGES),
            "flip": logits(network, pixels),
            "shifts": logits(network, pixels) / 2
            + logits(network, moved(pixels, 1)) / 4
            + logits(network, moved(pixels, -1)) / 4,
        }
        found = SeveralLooks(network, looks)(IMAGES)
    torch.testing.assert_close(found, expected[looks])


def test_mirrored_picture_is_seen_as_the_picture_itself() -> None:
    seeing = SeveralLooks(build_network(NetworkSpec("sprint", 4, 32)).eval(), "flip")
    with torch.inference_mode():
        torch.testing.assert_close(seeing(IMAGES.flip(-1)), seeing(IMAGES))
