"""Make three_kinds.npz: 960 + 240 pictures of cats, dogs and horses out of cifar10.zip, enlarged to 224 pixels.

Takes a few seconds. SACCADE_SHORT makes a small file: 96 + 24 pictures of 64 pixels.
"""

import os
import zipfile
from io import BytesIO

import numpy as np
from PIL import Image

KINDS = ("cat", "dog", "horse")
SHORT = bool(os.environ.get("SACCADE_SHORT"))
SIDE, NUM_TRAIN, NUM_TEST = (64, 32, 8) if SHORT else (224, 320, 80)  # the last two: of each kind
rng = np.random.default_rng(0)


def enlarged(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """A picture of 32×32 as one of SIDE×SIDE: more pixels, and nothing more to see."""
    picture = Image.open(BytesIO(archive.read(name))).convert("RGB")
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


with zipfile.ZipFile("cifar10.zip") as archive:
    arrays: dict[str, np.ndarray] = {"class_names": np.array(KINDS)}
    for part, number in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        found = [sorted(name for name in archive.namelist() if f"/{part}/{kind}/" in name) for kind in KINDS]
        chosen = [name for names in found for name in rng.choice(names, number, replace=False)]
        order = rng.permutation(len(chosen))
        arrays[f"X_{part}"] = np.stack([enlarged(archive, chosen[row]) for row in order])
        arrays[f"y_{part}"] = np.repeat(np.arange(len(KINDS)), number)[order]
np.savez_compressed("three_kinds.npz", **arrays)
print({name: array.shape for name, array in arrays.items()})
