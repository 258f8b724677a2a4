"""Smaller pictures in the first epochs: what is learned there is coarse, and costs a fraction."""

from __future__ import annotations

import torch

from saccade.errors import RecipeError
from saccade.models.network import Network, side_of
from saccade.recipe import Recipe


def early_sides(recipe: Recipe) -> tuple[int, ...]:
    """The sides in the first epochs, an epoch each: `20,20,24` is (20, 20, 24); none where nothing is asked for.

    Raises:
        RecipeError: it is written otherwise.
    """
    if recipe.small_first is None:
        return ()
    try:
        sides = tuple(int(part) for part in recipe.small_first.split(","))
        if min(sides) < 1:
            raise ValueError
    except ValueError:
        raise RecipeError(
            f"the sides {recipe.small_first!r} cannot be read",
            where="small_first",
            remedy="write a side in pixels for each of the first epochs, such as 20,20,24,24,28",
        ) from None
    return sides


def early_sides_in_words(recipe: Recipe) -> str:
    """What the first epochs see, and why val lags behind them; nothing where they see what all do."""
    sides = early_sides(recipe)[: recipe.epochs]
    if not sides or min(sides) == recipe.image_size:
        return ""
    epochs = "epoch 1 learns" if len(sides) == 1 else f"epochs 1 to {len(sides)} learn"
    seen = " to ".join(str(side) for side in dict.fromkeys((min(sides), max(sides))))
    return (
        f"{epochs} from pictures of {seen} pixels, but val is seen at {recipe.image_size}: its accuracy lags behind "
        "until they are as large"
    )


@torch.no_grad()
def check_early_sides(network: Network, recipe: Recipe) -> None:
    """Refuse sides that the network cannot see.

    Raises:
        RecipeError: pictures of such a side leave a layer nothing to look at, or do not fit the head.
    """
    was_training, size = network.training, side_of(network.spec)
    network.eval()
    for side in sorted(set(early_sides(recipe))):
        if side > size:
            larger = max(early_sides(recipe))
            remedy = f"--small-first {size}, or other sides up to that; or larger pictures: --image-size {larger}"
            raise _refused(network, recipe, side, remedy)
        try:
            network(torch.zeros(1, network.spec.in_channels, side, side, device=network.normalise.mean.device))
        except RuntimeError:
            remedy = "choose larger sides, or a head that averages: --head gap"
            raise _refused(network, recipe, side, remedy) from None
    network.train(was_training)


def _refused(network: Network, recipe: Recipe, side: int, remedy: str) -> RecipeError:
    size = side_of(network.spec)
    return RecipeError(
        f"{network.spec.model}, made for {size}×{size} pixels, cannot learn from pictures of {side}×{side} at first",
        where=f"small_first {recipe.small_first}",
        remedy=remedy,
    )
