"""What is said at the end of a training that taught nothing."""

from __future__ import annotations

from saccade.presets import make_recipe
from saccade.training.verdict import nothing_learnt

# A run of cnn1 on MNIST at a rate of 0.3, as results.csv kept it: six digits of 1338 right among 11,873.
COLLAPSED = [
    {"epoch": 1, "train_loss": 2.07544, "val_loss": 2.32957, "val_accuracy": 0.0956793},
    {"epoch": 2, "train_loss": 2.31647, "val_loss": 2.30530, "val_accuracy": 0.112693},
    {"epoch": 3, "train_loss": 2.30444, "val_loss": 2.30122, "val_accuracy": 0.112693},
]


def test_verdict_on_chance_that_was_rounded_up_says_so_and_names_the_rate() -> None:
    recipe = make_recipe("scratch", {"learning_rate": 0.3}).resolved()
    said = nothing_learnt(COLLAPSED, 1338 / 11_873, recipe)
    assert len(said) == 1
    assert "no better than chance (11.3%)" in said[0]
    assert "too high (--learning-rate 0.03)" in said[0]


def test_verdict_on_little_more_than_chance_is_silent() -> None:
    recipe = make_recipe("scratch", {"learning_rate": 0.3}).resolved()
    assert nothing_learnt(COLLAPSED, 1337 / 11_873, recipe) == []
