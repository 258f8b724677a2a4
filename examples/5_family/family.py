"""Exercise 5: LeNet, AlexNet, GoogLeNet, ResNet and DenseNet on CIFAR-10, none for more than 25 minutes of two cores.
Needs cifar10.zip; about 85 minutes on two quiet cores. by_hand.py and gradients.py beside it are the shorter parts."""

import os
from pathlib import Path

from drawing import Result, draw_epochs, draw_family

import saccade
from saccade.models.summary import layer_table

SHORT = {"epochs": 1, "small_first": None} if os.environ.get("SACCADE_SHORT") else {}
figures = Path("figures")
figures.mkdir(exist_ok=True)

# The same for all. With BatchNorm, plain SGD at a high rate; without, AdamW at the rate the catalogue has for them.
common = {"flip": 0.5, "shift": 0.125, "whole_pixels": True, "label_smoothing": 0.1, "val_share": 0.02}
fast = {"batch_size": 128, "precision": "bfloat16", "layout": "channels_last", "compile": "off"}
sgd = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}

# The first epochs see smaller pictures, which cost less: at 16 pixels a fourth to a third of what they cost at 32.
family = {
    "lenet5": {"epochs": 30},
    "alexnet_cifar": {"epochs": 30},
    "googlenet_cifar": sgd | {"epochs": 3, "small_first": "16,16"},
    "resnet18_cifar": sgd | {"epochs": 9, "small_first": "16,16,20,20,24,24,28"},
    "densenet_cifar": sgd | {"epochs": 7, "small_first": "16,16,16,20,24"},
}
results = []
for model, own in family.items():
    run = saccade.train("cifar10.zip", model=model, recipe="scratch", name=model, **common | fast | own | SHORT)
    test, table = run.metrics["test"], layer_table(run.folder.load().network)
    seconds, watched = run.metrics["seconds"]["training"], [row["val_accuracy"] for row in run.results]
    costs = (table.parameters, table.multiply_adds, seconds)
    results.append(Result(model, test["accuracy"], *test["interval"], *costs, watched))
    print(f"{model}: {test['accuracy']:.2%} ({test['num_pictures']:,} test pictures), {seconds:,.0f} seconds")
draw_family(results, figures)
draw_epochs(results, figures)
