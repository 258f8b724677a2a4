"""What is said at the end of a training that taught nothing, and why that may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from saccade.recipe import OPTIMIZER_DEFAULTS, Recipe

_FLAT = 0.01  # a training loss that fell by less than this share did not fall
_ROUNDED = 1e-6  # results.csv keeps six digits: what is exactly chance may read as a little more
_FEW_EPOCHS = 3
_FAR = 10.0  # times the usual rate


def nothing_learnt(results: Sequence[Mapping[str, float]], baseline: float, recipe: Recipe) -> list[str]:
    """Sentences about a loss that stayed flat or an accuracy no better than chance, with likely causes; usually none.

    Args:
        results: a record per epoch, as in results.csv.
        baseline: share of the biggest class among the validation pictures, 0..1.
        recipe: resolved.
    """
    best = max((row["val_accuracy"] for row in results), default=1.0)
    losses = [row["train_loss"] for row in results if row["epoch"] > 0]
    val_losses = [row["val_loss"] for row in results if row["epoch"] > 0]
    is_flat = len(losses) > 1 and all(min(each) > (1 - _FLAT) * each[0] for each in (losses, val_losses))
    found = []
    if best <= baseline + _ROUNDED:
        found.append(f"the best validation accuracy, {best:.1%}, is no better than chance ({baseline:.1%})")
    if is_flat:
        found.append(f"the training loss stayed flat: {losses[0]:.4g} in the first epoch, at best {min(losses):.4g}")
    return [f"{'; '.join(found)}. Likely causes: {'; '.join(_causes(losses, recipe))}"] if found else []


def _causes(losses: Sequence[float], recipe: Recipe) -> list[str]:
    rate, usual = recipe.learning_rate or 0.0, OPTIMIZER_DEFAULTS[recipe.optimizer][0]
    causes = []
    if rate >= _FAR * usual or (losses and losses[-1] > losses[0]):
        causes.append(f"a learning rate that is too high (--learning-rate {rate / 10:g})")
    if rate <= usual / _FAR:
        causes.append(f"a learning rate that is too low (--learning-rate {rate * 10:g})")
    if recipe.train == "head":
        causes.append("frozen stages that do not see what matters here (--train last-2, or --train all)")
    if len(losses) < _FEW_EPOCHS:
        causes.append("too few epochs (--epochs 20)")
    return [*causes, "labels that do not belong to their pictures (saccade check PICTURES shows the suspects)"]
