"""Exercise 1: what a convolution and a pooling do, in numbers and on a digit; then cnn1 on MNIST, used on one picture.
About a minute of one core, and 20 seconds more to decode 70,000 pictures and look for copies, which is kept."""

import os
from pathlib import Path

import numpy as np
from drawing import draw_digit, draw_one_channel, draw_probabilities, draw_three_channels, read_test_digits

import saccade

SHORT = {"epochs": 1, "fraction": 0.02} if os.environ.get("SACCADE_SHORT") else {}
figures = Path("figures")
figures.mkdir(exist_ok=True)
pictures, labels = read_test_digits("mnist")

# What the layers do: sums of products, what is negative becomes zero, the greatest of four.
draw_one_channel(figures)
draw_three_channels(figures)
draw_digit(pictures[0], figures)

# One convolution of 32 filters, one pooling, one dense layer: 54,410 parameters.
settings = {"epochs": 3, "batch_size": 10} | SHORT
run = saccade.train("mnist", model="cnn1", recipe="scratch", name="digits", **settings)
print(f"{run.evaluate().accuracy:.2%} of {len(pictures):,} test pictures right")
run.figures(figures)

# It was saved by itself; whoever loads it needs the folder alone.
classifier = saccade.load(run.path)
numbers = np.random.default_rng(0).choice(len(pictures), 100, replace=False)  # another seed, other pictures
predictions = classifier.predict([pictures[number] for number in numbers], top=10)
doubtful = int(np.argmin([prediction.probability for prediction in predictions]))
for place in (0, doubtful):
    (name, share), second = predictions[place].guesses[:2]
    print(f"a {labels[numbers[place]]} is called {name} with {share:.2%}, {second.class_name} {second.probability:.2%}")
draw_probabilities([(pictures[numbers[place]], predictions[place].guesses) for place in (0, doubtful)], figures)

# What it found by itself: its 32 filters, and the 32 maps that they make of the first picture.
classifier.explain(method="filters").save(figures)
classifier.explain([pictures[0]], method="features", stage="block1_conv1").save(figures)
