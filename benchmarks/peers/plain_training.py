"""Training in the float32 loop that PyTorch's tutorials teach; prints a line of JSON: pictures/s of every epoch.

    python benchmarks/peers/plain_training.py alexnet|resnet18 FOLDER [--epochs 2] [--batch-size 64] [--workers 2]

ImageFolder, v2 transforms, a DataLoader with worker processes that stay, Adam. alexnet: the published network with
BatchNorm at 128. resnet18: torchvision's, at 224.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDES = {"alexnet": 128, "resnet18": 224}


def alexnet(num_classes: int) -> nn.Module:
    """96 11×11/4, 256 5×5, 384, 384, 256 3×3, each ReLU then BatchNorm; pools 3/2; 4096, 4096 with dropout."""
    rows = ((3, 96, 11, 4, 0, True), (96, 256, 5, 1, 2, True), (256, 384, 3, 1, 1, False))
    rows += ((384, 384, 3, 1, 1, False), (384, 256, 3, 1, 1, True))
    layers: list[nn.Module] = []
    for inside, outside, kernel, stride, padding, pool in rows:
        layers += [nn.Conv2d(inside, outside, kernel, stride, padding), nn.ReLU(), nn.BatchNorm2d(outside)]
        layers += [nn.MaxPool2d(3, 2)] if pool else []
    dense = [nn.LazyLinear(4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()]
    network = nn.Sequential(*layers, nn.Flatten(), *dense, nn.Linear(4096, num_classes))
    network(torch.zeros(2, 3, 128, 128))
    return network


def penalty(network: nn.Module, case: str) -> torch.Tensor:
    """AlexNet's L2 of 1e-4 on convolutions 2 to 5."""
    convs = [each.weight for each in network.modules() if isinstance(each, nn.Conv2d)][1:]
    return 1e-4 * sum(weight.square().sum() for weight in convs) if case == "alexnet" else torch.zeros(())


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=SIDES)
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    side = SIDES[options.case]
    steps = [v2.Resize((side, side)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    pictures = ImageFolder(options.folder, v2.Compose(steps))
    loader = DataLoader(
        pictures,
        options.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    classes = len(pictures.classes)
    network = alexnet(classes) if options.case == "alexnet" else torchvision.models.resnet18(num_classes=classes)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    speeds = []
    for _ in range(options.epochs):
        began, seen = time.perf_counter(), 0
        for images, labels in loader:
            loss = F.cross_entropy(network(images), labels) + penalty(network, options.case)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(labels)
        speeds.append(seen / (time.perf_counter() - began))
    print(json.dumps({"pictures_per_second": speeds, "loss": loss.item(), "versions": {"torch": torch.__version__}}))


if __name__ == "__main__":
    main()
