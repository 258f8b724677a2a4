"""Exercise 3: cats, dogs and horses, 960 pictures: from scratch, features, fine-tuning, and a mistake made on purpose.
Needs cifar10.zip and resnet18_tiny64.safetensors; about half an hour on two quiet cores, most of it for cnn4."""

import os
import runpy
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

import saccade

SHORT = {"epochs": 1} if os.environ.get("SACCADE_SHORT") else {}
PICTURES, WEIGHTS = "three_kinds.npz", "resnet18_tiny64.safetensors"
if not Path(PICTURES).exists():
    runpy.run_path(str(Path(__file__).with_name("make_pictures.py")))

# Four recipes, two networks, three seeds, the same 240 pictures judge. cnn4 has no pretrained weights.
recipes = ("scratch", "features", "finetune", "finetune+augment")
changes = {"image_size": 64, "weights": WEIGHTS} | SHORT
seeds = 1 if SHORT else 3
compared = saccade.compare(
    PICTURES, models=("cnn4", "resnet18"), recipes=recipes, seeds=seeds, changes=changes, name="three_kinds"
)
print(compared.comparison.in_words())

# Over-fitting: thirty epochs over the same pictures, unchanged, and nobody stops it.
settings = {"epochs": 30, "augment": "none", "schedule": "constant", "patience": 0, "image_size": 64} | SHORT
run = saccade.train(PICTURES, model="cnn4", recipe="scratch", name="overfit", **settings)
run.figures("figures/overfit")

# The mistake: everything learns at once, at a high rate, from pixels that the weights do not know.
pixels = {"normalise.mean": np.zeros((3, 1, 1), np.float32), "normalise.std": np.ones((3, 1, 1), np.float32)}
save_file(load_file(WEIGHTS) | pixels, "raw_pixels.safetensors")
high = {"solve_head": False, "learning_rate": 1e-2, "weights": "raw_pixels.safetensors"} | SHORT
wrong = saccade.train(PICTURES, model="resnet18", recipe="full", image_size=64, name="mistake", **high)
right = saccade.train(PICTURES, model="resnet18", recipe="full", name="with_care", **changes)
print(*(f"{run.path.name}: {run.metrics['test']['accuracy']:.1%}" for run in (wrong, right)), sep="\n")
