"""A folder of pictures to batches as torchvision's tutorials do it; prints a line of JSON.

    python benchmarks/peers/imagefolder.py FOLDER [--epochs 2] [--batch-size 32] [--workers 2]

ImageFolder, v2 transforms (resized as Pillow pictures, which is the faster order), DataLoader. Only the time from the
first look at the folder to the last batch counts, not the imports.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Read every picture once per epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    began = time.perf_counter()
    transform = v2.Compose(
        [v2.Resize((224, 224)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    pictures = ImageFolder(options.folder, transform)
    loader = DataLoader(
        pictures, options.batch_size, shuffle=True, num_workers=options.workers, persistent_workers=True
    )
    seconds = []
    for _ in range(options.epochs):
        seen = sum(len(images) for images, _ in loader)
        assert seen == len(pictures)
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    print(json.dumps({"seconds": seconds, "pictures": len(pictures)}))


if __name__ == "__main__":
    main()
