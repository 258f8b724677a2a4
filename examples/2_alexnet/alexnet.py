"""Exercise 2: AlexNet on CIFAR-10 at 128 pixels: three variants at two rates, a plateau, and the best one in earnest.
Needs cifar10.zip; hours on two cores, fewer where they compute in bfloat16."""

import os
from pathlib import Path

from drawing import draw_plateau, draw_variants

import saccade

SHORT = {"epochs": 1} if os.environ.get("SACCADE_SHORT") else {}
(figures := Path("figures")).mkdir(exist_ok=True)

# The pack keeps 32×32 pixels; every batch is enlarged to 128×128 when it is needed, on the device.
common = {"image_size": 128, "batch_size": 64, "val_share": 0.05}

# Normalised by neighbours (2012), not at all (2014), by the batch (2015): at two rates, on a tenth of the pictures.
found, variants = {}, ("alexnet_lrn", "alexnet", "alexnet_bn")
for rate in (1e-3, 1e-4):
    moved = common | {"flip": 0.5, "shift": 0.1, "learning_rate": rate, "epochs": 4} | SHORT
    compared = saccade.compare(
        "cifar10.zip", models=variants, recipes=("scratch",), fractions=(0.1,), changes=moved, name=f"rate-{rate:g}"
    )
    found[rate] = compared.comparison.to_json()
    print(f"rate {rate:g}:", compared.comparison.in_words())
draw_variants(found, figures)

# The rate falls when the validation loss does not any more, and the training stops by itself.
slow = {"epochs": 40, "fraction": 0.05, "augment": "none", "optimizer": "adam", "schedule": "plateau", "patience": 10}
run = saccade.train("cifar10.zip", model="alexnet_bn", recipe="scratch", name="plateau", **(common | slow | SHORT))
draw_plateau(run.results, figures)

# The best variant on all pictures: five epochs at 99 pixels, three at 128; filters learn by Muon, the rest by SGD.
earnest = {"batch_size": 250, "epochs": 8, "small_first": "99,99,99,99,99", "label_smoothing": 0.1, "val_share": 0.02}
earnest |= {"optimizer": "muon", "learning_rate": 0.13, "momentum": 0.6, "head_rate": 0.1, "schedule": "triangle"}
earnest |= {"warmup": 0.5, "flip": 0.5, "flip_turns": True, "shift": 0.0625, "whole_pixels": True}
earnest = common | earnest | SHORT | ({"small_first": "99"} if SHORT else {})
run = saccade.train("cifar10.zip", model="alexnet_bn", recipe="scratch", name="alexnet", **earnest)
run.figures(figures)
print(f"{run.metrics['test']['accuracy']:.2%} of the test pictures right")
