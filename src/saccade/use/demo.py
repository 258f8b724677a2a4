"""What `saccade demo` shows at its end: a few digits that the network never saw, drawn in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from saccade.data.listing import TEST
from saccade.data.sources.open import open_pictures
from saccade.engine import choose_device
from saccade.runs import RunFolder
from saccade.use.answer import Answerer
from saccade.use.inputs import named
from saccade.use.predict import Prediction
from saccade.use.squares import Pixels

_SHADES = " ░▒▓█"


class Shown(NamedTuple):
    """A digit, what its owner says it is, and what the network says."""

    pixels: Pixels
    truth: str
    prediction: Prediction


def demo_digits(run: RunFolder, how_many: int) -> Iterator[Shown]:
    """Some of the test digits of a run on `digits`."""
    listing = open_pictures("digits")
    splits = run.splits
    tests = [index for index, item in enumerate(listing.items) if splits[item.name] == TEST]
    chosen = np.linspace(0, len(tests) - 1, how_many).astype(int)
    device = choose_device("auto")
    answerer = Answerer(run.load(), device)
    for index in (tests[position] for position in chosen):
        if listing.array is not None:
            pixels = listing.array[index]
            truth = listing.class_names[listing.labels[index]]
            yield Shown(pixels, truth, answerer.answer(named(pixels))[0])


def draw_digit(pixels: Pixels) -> str:
    """A grey picture (H, W, 1) in block characters, two per pixel."""
    levels = pixels[:, :, 0].astype(int) * (len(_SHADES) - 1) // 255
    return "\n".join("  " + "".join(_SHADES[level] * 2 for level in row) for row in levels)
