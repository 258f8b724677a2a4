"""What a run was asked to do, in words."""

from __future__ import annotations

from typing import Any

import pytest

from saccade.presets import PRESETS, make_recipe
from saccade.use.recipe_words import recipe_in_words

SENTENCES: list[tuple[dict[str, Any], str]] = [
    ({}, "starts from random weights"),
    ({"weights": "default"}, "starts from its published weights"),
    ({"weights": "/some/where/w.safetensors"}, "starts from the weights w.safetensors"),
    (
        {"train": "layer4", "solve_head": True},
        "layer4 and the head learn, the stages before stay as they are; the head",
    ),
    ({"train": "head"}, "the head alone learns"),
    ({"epochs": 1, "optimizer": "sgd", "learning_rate": 0.05}, "1 epoch of batches of 64, SGD at a rate of up to 0.05"),
    ({"patience": 3}, "stopped after 3 epochs without a better validation loss"),
    ({"augment": "none"}, "Training pictures are shown as they are"),
    (
        {"augment": "none", "flip": 0.5, "shift": 0.1, "hue": 0.1},
        "randomly mirrored, shifted by up to 10% and changed in",
    ),
    ({"mixup": 0.2, "augment": "none"}, "randomly mixed in pairs (mixup)"),
    ({"views": 4}, "in 4 fixed ways each"),
    ({"fraction": 0.25}, "It learned from 25% of the training pictures only"),
    ({"folds": 5, "fold": 2}, "Fold 2 of 5 judges"),
    ({"sampling": "balanced"}, "Rare classes count as much as common ones"),
    ({"min_accuracy": 0.95}, "right in at least 95% of cases"),
]


@pytest.mark.parametrize(("changes", "expected"), SENTENCES, ids=lambda value: str(value)[:40])
def test_recipe_in_words_says_what_was_changed(changes: dict[str, Any], expected: str) -> None:
    found = recipe_in_words(make_recipe("scratch", {"image_size": 96} | changes).resolved())
    assert expected in " ".join(found)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_recipe_in_words_knows_every_preset(name: str) -> None:
    found = recipe_in_words(make_recipe(name, {"image_size": 96}).resolved())
    assert len(found) >= 4
    assert all(not sentence[0].islower() and sentence.endswith(".") for sentence in found)
