"""torchvision's resnet18 fine-tuned from layer4 on, in the loop that PyTorch's tutorials teach; prints a line of JSON.

    python benchmarks/peers/plain_resnet18.py PICTURES.npz --weights resnet18.safetensors [--epochs 2] [--workers 2]

float32; a Dataset over decoded pictures with torchvision's v2 transforms, a DataLoader with worker processes that stay;
the layers before layer4 need no gradients and their BatchNorm stays in inference mode, but they run in every step.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from pictures import Part, read_parts
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

LEARN = ("layer4", "fc")


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Decoded pictures one by one, as tutorials have it."""

    def __init__(self, part: Part) -> None:
        self.part = part
        statistics = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        self.transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*statistics)])

    def __len__(self) -> int:
        return len(self.part.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image: torch.Tensor = self.transform(self.part.images[index])
        return image, int(self.part.labels[index])


def build(weights: Path | None, num_classes: int) -> nn.Module:
    """resnet18 with a new fc; only layer4 and fc take gradients."""
    network = torchvision.models.resnet18(num_classes=num_classes)
    if weights:
        found = {name: value for name, value in load_file(weights).items() if not name.startswith("fc.")}
        network.load_state_dict(found, strict=False)
    for name, child in network.named_children():
        child.requires_grad_(name in LEARN)
    return network


def train_epoch(network: nn.Module, loader: DataLoader[Any], optimizer: torch.optim.Optimizer) -> float:
    """One pass with updates; returns the last loss."""
    for name, child in network.named_children():
        child.train(name in LEARN)
    for images, labels in loader:
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@torch.inference_mode()
def judge(network: nn.Module, loader: DataLoader[Any]) -> float:
    """Accuracy."""
    network.eval()
    right = [network(images).argmax(dim=1) == labels for images, labels in loader]
    return float(torch.cat(right).float().mean())


def main() -> None:
    """Train and print what every epoch took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    parts = read_parts(options.pictures)
    how: dict[str, Any] = {"batch_size": options.batch_size, "num_workers": options.workers}
    how["persistent_workers"] = options.workers > 0
    train, val, test = (DataLoader(Pictures(part), shuffle=part is parts[0], **how) for part in parts)
    network = build(options.weights, len(set(parts[0].labels.tolist())))
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-4)
    seconds = []
    for _ in range(options.epochs):
        began = time.perf_counter()
        loss = train_epoch(network, train, optimizer)
        judge(network, val)
        seconds.append(time.perf_counter() - began)
    result = {
        "epochs": seconds,
        "pictures_per_epoch": len(parts[0].labels) + len(parts[1].labels),
        "loss": loss,
        "accuracy": judge(network, test),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
