"""Prediction in the loop that PyTorch's tutorials teach: FOLDER of class folders -> a csv.

    python benchmarks/peers/plain_predict.py FOLDER ROWS.csv [--batch-size 32] [--workers 2]

ImageFolder, v2 transforms, a DataLoader with worker processes, torchvision's resnet50 with random weights, no_grad.
"""

from __future__ import annotations

import argparse
import csv

import torch
import torchvision
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Predict and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("rows")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    steps = [v2.Resize((224, 224)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    pictures = ImageFolder(options.folder, v2.Compose(steps))
    loader = DataLoader(pictures, batch_size=options.batch_size, num_workers=options.workers)
    torch.manual_seed(0)
    network = torchvision.models.resnet50(num_classes=10).eval()
    with open(options.rows, "w", newline="") as file, torch.no_grad():  # noqa: PTH123
        writer = csv.writer(file)
        writer.writerow(["path", "class", "probability"])
        names = iter(pictures.samples)
        for images, _ in loader:
            shares, classes = torch.softmax(network(images), dim=1).max(dim=1)
            for share, found in zip(shares.tolist(), classes.tolist(), strict=True):
                writer.writerow([next(names)[0], found, f"{share:.6f}"])


if __name__ == "__main__":
    main()
