"""How large the gradients are that reach early stages: with and without shortcuts, BatchNorm, auxiliary classifiers.
Needs cifar10.zip; some minutes on one core. Draws gradients.svg and shortcuts.svg, writes runs/gradients.json."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from drawing import draw_gradients, draw_losses
from torch import Tensor, nn

from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.pipeline import pack_ahead
from saccade.presets import make_recipe

STEPS = 3 if os.environ.get("SACCADE_SHORT") else 120
BATCH, SIDE, RATE, AUXILIARY_WEIGHT = 64, 16, 0.05, 0.3
Shares = dict[str, float]


class NoShortcut(nn.Module):
    """In place of an identity or a projection: nothing is added."""

    def forward(self, x: Tensor) -> Tensor:
        """Zero."""
        return x.new_zeros(())


def made(model: str, side: int, *, shortcuts: bool = True, batch_norm: bool = True) -> Network:
    """A network of the catalogue without some of its parts, and with the first weights that torch gives a layer."""
    torch.manual_seed(0)
    network = build_network(NetworkSpec(model, 10, side), 0)
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
        if hasattr(module, "downsample") and not shortcuts:
            module.downsample = NoShortcut()
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and not batch_norm:
                setattr(module, name, nn.Identity())
    return network.train()


def gradients(network: Network, loss: Tensor) -> Shares:
    """By stage, the length of the gradient as a share of the length of the weights, convolutions alone."""
    loss.backward()
    found = {}
    for name, stage in network.stages.named_children():
        weights = [each for each in stage.parameters() if each.ndim == 4 and each.grad is not None]
        if weights:
            length = torch.cat([each.grad.flatten() for each in weights]).norm()
            found[name] = float(length / torch.cat([each.detach().flatten() for each in weights]).norm())
    return found


def batch(number: int, side: int) -> tuple[Tensor, Tensor]:
    """Training pictures at a side, uint8, and their classes."""
    rows = np.random.default_rng(number).choice(TRAIN, BATCH, replace=False)
    images = torch.from_numpy(np.asarray(PACK.images[np.sort(rows)])).permute(0, 3, 1, 2)
    labels = torch.from_numpy(PACK.labels[np.sort(rows)])
    return F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True), labels


def losses(network: Network) -> list[float]:
    """Of the first updates with momentum, a batch each."""
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, nesterov=True)
    found = []
    for number in range(STEPS):
        images, labels = batch(number, SIDE)
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


PACK = pack_ahead(make_recipe("scratch", {"model": "lenet5"}), "cifar10.zip")
TRAIN = np.array([row for row, name in enumerate(PACK.names) if "/train/" in name])
figures = Path("figures")
figures.mkdir(exist_ok=True)

found: dict[str, Shares] = {}
images, labels = batch(0, 32)
for words, parts in {
    "plain": {"shortcuts": False, "batch_norm": False},
    "plain, BatchNorm": {"shortcuts": False},
    "shortcuts": {"batch_norm": False},
    "shortcuts, BatchNorm": {},
}.items():
    network = made("resnet34_cifar", 32, **parts)
    found[words] = gradients(network, F.cross_entropy(network(images), labels))
large, labels = batch(0, 96)
for words, weight in {"googlenet, one loss": 0.0, "googlenet, three losses": AUXILIARY_WEIGHT}.items():
    network = made("googlenet", 96, batch_norm=False)
    outputs = network.training_outputs(large)
    loss = F.cross_entropy(outputs.logits, labels)
    loss = loss + weight * sum(F.cross_entropy(each, labels) for each in outputs.auxiliary.values())
    found[words] = gradients(network, loss)
for words, shares in found.items():
    first, *_, last = shares.values()
    print(f"{words}: {first:.1e} at the first stage, {last:.1e} at the last")
draw_gradients(found, figures)

learned = {
    words: losses(made("resnet34_cifar", SIDE, shortcuts=shortcuts))
    for words, shortcuts in {"with shortcuts": True, "without": False}.items()
}
draw_losses(learned, figures)
Path("runs").mkdir(exist_ok=True)
Path("runs/gradients.json").write_text(json.dumps({"gradients": found, "losses": learned}), encoding="utf-8")
