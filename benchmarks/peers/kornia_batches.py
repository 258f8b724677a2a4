"""Augmentation `standard` of a batch in kornia, on one thread; prints milliseconds per picture as JSON.

python benchmarks/peers/kornia_batches.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import time

import kornia.augmentation as K
import torch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = ((224, 64), (32, 256))  # side, batch


def main() -> None:
    """The best of some repeats, for both sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = K.AugmentationSequential(
        K.RandomHorizontalFlip(p=0.5),
        K.RandomAffine(15.0, (0.1, 0.1), (0.9, 1.1), padding_mode="border", p=1.0),
        K.ColorJitter(0.1, 0.1, 0.1, 0.0, p=1.0),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
        data_keys=["input"],
    )
    found = {}
    for side, batch in SIZES:
        images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
        seconds = []
        for _ in range(options.repeats + 1):
            began = time.perf_counter()
            with torch.no_grad():
                steps(images.float() / 255)
            seconds.append(time.perf_counter() - began)
        found[side] = min(seconds[1:]) / batch * 1000
    print(json.dumps(found))


if __name__ == "__main__":
    main()
