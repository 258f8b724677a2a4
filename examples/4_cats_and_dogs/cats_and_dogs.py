"""Exercise 4: a frozen backbone with one sigmoid unit, then its last stage too, on 600 photographs; one explained.
Less than a minute of one core; what the frozen stages give is kept, so a second start is quicker."""

import os
from zipfile import ZipFile

import saccade

SHORT = {"epochs": 1, "fraction": 0.1} if os.environ.get("SACCADE_SHORT") else {}
pictures = "cats_and_dogs_small.zip"
backbone = {"model": "resnet18", "weights": "resnet18_tiny64.safetensors", "image_size": 96}
head = {"head": "gap:sigmoid"}  # the mean of each of 512 maps, and one unit that says how likely it is a dog

# The backbone frozen: it looks at every picture once, and 513 numbers are left to find.
frozen = saccade.train(pictures, **backbone, **head, recipe="features", name="frozen", **SHORT)

# Its last stage learns too, from there: the best weights are kept, and ten epochs without better ones end it.
watched = {"schedule": "plateau", "patience": 10, "best_by": "val_loss", "epochs": 40} | SHORT
tuned = saccade.train(pictures, **backbone, **head, recipe="finetune", train="layer4", name="tuned", **watched)
tuned.figures("figures")

for run in (frozen, tuned):
    low, high = run.metrics["test"]["interval"]
    print(f"{run.path.name}: {run.metrics['test']['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%})")

# Two neighbours in the test part: their names, how likely, and the places that speak for what they are called.
photographs = [f"cats_and_dogs_small/test/dogs/dog.{number}.jpg" for number in (4102, 4103)]
ZipFile(pictures).extractall("figures", photographs)
photographs = [f"figures/{name}" for name in photographs]
classifier = saccade.load(tuned.path)
print(classifier.predict(photographs))
classifier.explain(photographs).save("figures")
