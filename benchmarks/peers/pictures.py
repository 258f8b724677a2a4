"""The pictures of benchmarks/transfer.py, as every peer reads them. Needs numpy alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Part(NamedTuple):
    """Pictures uint8 (N, 224, 224, 3) and their labels int64 (N,)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[Any]


def read_parts(file: Path) -> tuple[Part, Part, Part]:
    """train, val and test of the .npz that animals.py wrote."""
    with np.load(file) as arrays:
        train, val, test = (
            Part(arrays[f"X_{part}"], arrays[f"y_{part}"].astype(np.int64)) for part in ("train", "val", "test")
        )
    return train, val, test
