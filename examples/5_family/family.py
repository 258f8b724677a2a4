"""Exercise 5: LeNet, AlexNet, GoogLeNet, Inception, two ResNets and DenseNet on CIFAR-10, each an hour of two cores at
most. Needs cifar10.zip; it takes hours, most for the last five. by_hand.py and gradients.py are shorter."""

import os
from pathlib import Path

from drawing import Result, draw_epochs, draw_family

import saccade
from saccade.models.summary import layer_table

SHORT = {"epochs": 1, "small_first": None} if os.environ.get("SACCADE_SHORT") else {}
(figures := Path("figures")).mkdir(exist_ok=True)

# The same for all. With BatchNorm, Muon; without, AdamW at the rate the catalogue has for them.
common = {"flip": 0.5, "flip_turns": True, "shift": 0.0625, "whole_pixels": True, "label_smoothing": 0.1}
muon = {"optimizer": "muon", "learning_rate": 0.13, "momentum": 0.6, "head_rate": 0.5, "batch_size": 500}
muon |= {"schedule": "triangle", "warmup": 0.5}
large = {"image_size": 75, "head": "gap", "head_rate": 0.1, "accumulate": 4}  # at least 75; of the head, see the page
# The first epochs see smaller pictures, which cost less: at 16 pixels a fourth of what they cost at 32.
family = {
    "lenet5": {"epochs": 30, "batch_size": 128},
    "alexnet_cifar": {"epochs": 24, "batch_size": 128},
    "googlenet_cifar": muon | {"epochs": 3, "image_size": 16},  # judged at 16 too: one epoch at 32 is all of the budget
    "inception_v3": muon | large | {"epochs": 5, "precision": "float32"},
    "resnet18_cifar": muon | {"epochs": 5, "small_first": "16,16,20,24,28"},
    "resnet32_cifar": muon | {"epochs": 24, "small_first": ",".join(["16"] * 8 + ["24"] * 4)},  # narrow: cheap epochs
    "densenet_cifar": muon | {"epochs": 7, "image_size": 16, "accumulate": 4},  # in pieces: it keeps every map
}
results = []
for model, own in family.items():
    settings = common | {"val_share": 0.02} | own | SHORT
    run = saccade.train("cifar10.zip", model=model, recipe="scratch", name=model, **settings)
    test, table = run.metrics["test"], layer_table(run.folder.load().network)
    seconds, watched = run.metrics["seconds"]["training"], [row["val_accuracy"] for row in run.results]
    costs = (table.parameters, table.multiply_adds, seconds)
    results.append(Result(model, test["accuracy"], *test["interval"], *costs, watched))
    print(f"{model}: {test['accuracy']:.2%} ({test['num_pictures']:,} test pictures), {seconds:,.0f} seconds")
draw_family(results, figures)
draw_epochs(results, figures)
