"""The routines of training and testing, written out once by hand, beside the library's: the same losses to rounding.
Needs cifar10.zip; a minute or two."""

import copy
import json
import os
from pathlib import Path

import torch
import torch.nn.functional as F

import saccade
from saccade.making import make_pixels
from saccade.pictures import list_pictures, pack_pictures, split_pictures
from saccade.screen import QuietScreen

EPOCHS, FRACTION = (1, 1.0) if os.environ.get("SACCADE_SHORT") else (5, 0.2)


class FirstWeights(saccade.Callback):
    """Keeps the network as it was before the first update."""

    def begin(self, network: torch.nn.Module, step: int) -> None:
        self.network = copy.deepcopy(network)


def train_by_hand(network: torch.nn.Module, batches, optimizer: torch.optim.Optimizer) -> float:
    """One epoch; the mean loss of its pictures."""
    network.train()
    loss_sum = num_pictures = 0
    for images, labels, *_ in batches:
        optimizer.zero_grad()  # what the last batch left behind
        loss = F.cross_entropy(network(images), labels)  # forward
        loss.backward()  # backward: how would each weight change the loss?
        optimizer.step()  # every weight a little downhill
        loss_sum, num_pictures = loss_sum + loss.item() * len(labels), num_pictures + len(labels)
    return loss_sum / num_pictures


@torch.no_grad()
def test_by_hand(network: torch.nn.Module, batches) -> float:
    """The share of the pictures whose greatest logit is that of their class."""
    network.eval()  # dropout off, BatchNorm by what it has learned
    right = [network(images).argmax(dim=1) == labels for images, labels, *_ in batches]
    return torch.cat(right).float().mean().item()


first = FirstWeights()
settings = {"epochs": EPOCHS, "fraction": FRACTION, "val_share": 0, "learning_rate": 0.02, "weight_decay": 0}
plain = {
    "augment": "none",
    "optimizer": "sgd",
    "schedule": "constant",
    "precision": "float32",
    "patience": 0,
    "layout": "channels_last",
}
settings |= plain | {"callbacks": [first]}
run = saccade.train("cifar10.zip", model="lenet5", recipe="scratch", name="by-hand", **settings)

recipe, quiet, network = run.folder.recipe, QuietScreen(), first.network
listing = list_pictures("cifar10.zip", recipe, quiet)
shown = split_pictures(listing, pack_pictures(listing, recipe, quiet), recipe, quiet)
pixels = make_pixels(network, recipe, shown, None)  # the same pictures in the same order
optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, nesterov=True, fused=True)
losses = [train_by_hand(network, pixels.train.epoch(int(row["epoch"])), optimizer) for row in run.results]
for row, loss in zip(run.results, losses, strict=True):
    print(f"epoch {row['epoch']:.0f}: loss {loss:.6f} by hand, {row['train_loss']:.6f} by the library")
accuracy, theirs = test_by_hand(network, pixels.test.epoch(0)), run.metrics["test"]["accuracy"]
print(f"right: {accuracy:.2%} by hand, {theirs:.2%} by the library")
apart = max(abs(loss - row["train_loss"]) for row, loss in zip(run.results, losses, strict=True))
values = {"hand_loss": losses[-1], "library_loss": run.results[-1]["train_loss"], "losses_apart": apart}
values |= {"hand_accuracy": accuracy, "library_accuracy": theirs, "hand_epochs": len(losses)}
Path("runs/by-hand.json").write_text(json.dumps(values), encoding="utf-8")
