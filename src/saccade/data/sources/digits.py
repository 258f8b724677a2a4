"""The digits that come with scikit-learn: 1,797 grey pictures of 8x8, always there, also without a network."""

from __future__ import annotations

import hashlib

import numpy as np
from sklearn.datasets import load_digits

from saccade.data.listing import UNASSIGNED
from saccade.data.sources.array_pixels import NamedArray
from saccade.data.sources.assemble import Origin, Part, assemble
from saccade.data.sources.labelled import Labelled

_WHITE = 16  # each pixel counts the dark points among 16


def read_digits() -> Labelled:
    """All 1,797 digits, in no part; the values 0..16 become 0..255."""
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / _WHITE)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    stamp = hashlib.sha256(images.tobytes() + labels.tobytes()).digest()
    part = Part(UNASSIGNED, NamedArray("digits", images), NamedArray("digits labels", labels))
    return assemble([part], Origin("digits", stamp))
