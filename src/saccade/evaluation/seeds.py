"""Finished runs that somebody made one by one: those that differ only in their seed are one recipe's."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from saccade.evaluation.standings import Group, judged_by, names_of
from saccade.runs import RunFolder

# What may differ: the seed and what follows from it. In which part a picture is, is compared itself.
_SEEDS = frozenset({"seed", "split_seed"})
_MOST_NAMED = 6  # seeds


def group_by_recipe(runs: Sequence[RunFolder], free: Collection[str]) -> list[Group]:
    """Runs of one recipe on the same pictures, from one seed each, together; the others by themselves.

    Two runs from the same seed are no two seeds, so the second one stands in a row of its own.

    Args:
        runs: finished, in the order of their rows.
        free: fields of the recipe that do not change what a run learns.

    Returns:
        A group per recipe, its runs by rising seed; named after the first of them, and after its seeds where there are
        several.
    """
    rows: list[tuple[str, dict[int, RunFolder]]] = []
    for run in runs:
        key, seed = _key(run, _SEEDS | set(free)), run.recipe.seed
        row = next((row for other, row in rows if other == key and seed not in row), None)
        if row is None:
            rows.append((key, {seed: run}))
        else:
            row[seed] = run
    names = names_of(runs)
    ordered = [[by_seed[seed] for seed in sorted(by_seed)] for _, by_seed in rows]
    return [Group(_label(names[row[0].path], row), tuple((run,) for run in row)) for row in ordered]


def in_words(group: Group) -> str:
    """What was brought together, as a sentence; "" for a run by itself."""
    if len(group.runs) == 1:
        return ""
    names = ", ".join(run.path.name for run in group.all_runs)
    return f"{names} differ only in their seed: one row, over pictures and seeds"


def _key(run: RunFolder, free: Collection[str]) -> str:
    about = {name: value for name, value in run.recipe.model_dump(mode="json").items() if name not in free}
    return json.dumps([about, judged_by(run), run.splits], sort_keys=True)


def _label(name: str, runs: Sequence[RunFolder]) -> str:
    seeds = [str(run.recipe.seed) for run in runs]
    if len(seeds) == 1:
        return name
    return f"{name} (seeds {', '.join(seeds)})" if len(seeds) <= _MOST_NAMED else f"{name} ({len(seeds)} seeds)"
