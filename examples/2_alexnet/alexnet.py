"""Exercise 2: AlexNet on CIFAR-10 at 128 pixels: three variants at two rates, a plateau, and the best one in earnest.
Needs cifar10.zip; hours on two cores, fewer where they compute in bfloat16."""

import os
from pathlib import Path

from drawing import draw_plateau, draw_variants

import saccade

SHORT = {"epochs": 1} if os.environ.get("SACCADE_SHORT") else {}
figures = Path("figures")
figures.mkdir(exist_ok=True)

# The pack keeps 32×32 pixels; every batch is enlarged to 128×128 when it is needed, on the device.
common = {"image_size": 128, "batch_size": 128}

# Normalised by neighbours (2012), not at all (2014), by the batch (2015): at two rates, on a fifth of the pictures.
found, variants = {}, ("alexnet_lrn", "alexnet", "alexnet_bn")
for rate in (1e-3, 1e-4):
    moved = common | {"flip": 0.5, "shift": 0.1, "val_share": 0.05, "learning_rate": rate, "epochs": 6} | SHORT
    compared = saccade.compare(
        "cifar10.zip", models=variants, recipes=("scratch",), fractions=(0.2,), changes=moved, name=f"rate-{rate:g}"
    )
    found[rate] = compared.comparison.to_json()
    print(f"rate {rate:g}:", compared.comparison.in_words())
draw_variants(found, figures)

# The rate falls when the validation loss does no more, and the training stops by itself.
waiting = {"augment": "none", "fraction": 0.1, "val_share": 0.05, "optimizer": "adam", "schedule": "plateau"}
settings = common | waiting | {"patience": 10, "epochs": 40} | SHORT
run = saccade.train("cifar10.zip", model="alexnet_bn", recipe="scratch", name="plateau", **settings)
draw_plateau(run.results, figures)

# The best variant on all pictures.
earnest = {"flip": 0.5, "shift": 0.1, "weight_decay": 0.05, "label_smoothing": 0.1, "val_share": 0.02}
settings = common | earnest | {"epochs": 12} | SHORT
run = saccade.train("cifar10.zip", model="alexnet_bn", recipe="scratch", name="alexnet", **settings)
run.figures(figures)
print(f"{run.metrics['test']['accuracy']:.2%} of the test pictures right")
