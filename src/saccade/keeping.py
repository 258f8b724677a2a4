"""What a run keeps of its frozen stages: whether it pays, where it lies, and how the run then goes.

training/prefix.py computes and training/store.py writes; here is decided, for a recipe and its pictures, what to
have them do, and every decision is said.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from filelock import Timeout

from saccade.data.batches import Batches
from saccade.data.cache import cache_folder
from saccade.data.listing import TEST, TRAIN, VAL
from saccade.evaluation.evaluate import Judge
from saccade.models.network import Network
from saccade.models.summary import LayerTable, layer_table
from saccade.modes import Notes, choose_precision
from saccade.recipe import Recipe
from saccade.screen import Bar, Screen
from saccade.training.distributed import decided, in_turn, largest
from saccade.training.exchange import gathered, share_of
from saccade.training.in_mode import InMode
from saccade.training.memory import WithinMemory
from saccade.training.prefix import CachedBatches, Prefix, Tail, fill_store, layout_of
from saccade.training.sources import BatchSource
from saccade.training.store import FeatureStore, Layout, MemoryStore, make_room

_GIB = 2**30
_SAMPLE = 8  # pictures on which the precision is chosen


class Pixels(NamedTuple):
    """The pictures of the three parts, batch by batch; `fingerprint` says which pictures they are."""

    train: Batches
    val: Batches
    test: Batches
    fingerprint: str


class Way(NamedTuple):
    """How a run goes.

    Attributes:
        network: the whole of it.
        learner: the network itself, or what follows its frozen prefix; InMode where another mode is faster.
        share: of the network's work that an epoch costs.
        prefix: None where nothing is kept.
    """

    network: Network
    learner: Network | Tail | InMode
    train: BatchSource
    val: BatchSource
    test: BatchSource
    share: float = 1.0
    prefix: Prefix | None = None


class _Wanted(NamedTuple):
    """One store: the pictures of a part in one view."""

    part: str
    pixels: Batches
    view: int
    prefix: Prefix


def keep_frozen(network: Network, pixels: Pixels, recipe: Recipe, screen: Screen) -> Way:
    """Compute the frozen stages once, where that pays; else the run goes the ordinary way.

    Args:
        network: frozen as it will be trained, on the device of the batches.
        pixels: the batches of the ordinary way.
        recipe: resolved.
        screen: told what is kept, how large it is and what it saves, or why nothing is.
    """
    ordinary = Way(network, network, pixels.train, pixels.val, pixels.test)
    prefix = Prefix(network, torch.float32)
    if prefix.num_stages == 0:
        return ordinary
    refusal = _does_not_pay(recipe, pixels)
    if refusal:
        screen.say(f"frozen stages are computed anew in every epoch: {refusal}")
        return ordinary
    prefix = Prefix(network, decided(lambda: _precision(network, pixels, recipe)))
    wanted = _wanted(network, prefix, pixels, recipe)
    layouts = [layout_of(each.prefix, each.pixels) for each in wanted]
    folder = cache_folder() / "features"
    total, room = sum(layout.num_bytes for layout in layouts), _room(folder)
    if largest(total > min(recipe.cache_budget * _GIB, room)):  # on any of the machines
        screen.warn(f"frozen stages are computed anew in every epoch: {_too_large(total, room, recipe)}")
        return ordinary
    share = _share(layer_table(network), prefix)
    screen.say(_plan_in_words(prefix, wanted, total, recipe, share))
    stores = [_store(folder, each, layout, pixels, recipe) for each, layout in zip(wanted, layouts, strict=True)]
    keep = frozenset(store.folder.name for store in stores)
    with in_turn():
        missing = sum(store.layout.num_bytes for store in stores if not store.folder.exists())
        make_room(folder, missing, int(recipe.cache_budget * _GIB), keep)
        filled = _fill(wanted, stores, screen)
    if largest(not filled):
        return ordinary
    return _cached(network, prefix, wanted, stores, pixels)._replace(share=share)


def keep_sample(
    network: Network, pixels: Pixels, rows: npt.NDArray[np.int64], recipe: Recipe, screen: Screen
) -> tuple[Tail, CachedBatches]:
    """Features of some training pictures as they are: kept like those of a run, or in memory where that is not wanted.

    Args:
        network: frozen but for its head.
        rows: ascending, of the training part.
    """
    batches = replace(pixels.train, rows=rows, augmentation=None)
    prefix = Prefix(network, _precision(network, pixels, recipe))
    wanted, layout = _Wanted(TRAIN, batches, 0, prefix), layout_of(prefix, batches)
    folder = cache_folder() / "features"
    kept = recipe.prefix_cache and layout.num_bytes <= min(recipe.cache_budget * _GIB, _room(folder))
    store: FeatureStore | MemoryStore = MemoryStore(layout)
    if kept:
        store = _store(folder, wanted, layout, pixels, recipe)
    with screen.bar("looking at features", len(rows)) as bar:
        _fill_one(wanted, store, partial(_show, bar, 0), screen)
    return Tail(prefix), CachedBatches(batches, {0: store}, batches.device)


def judging_ways(way: Way, best: Network, screen: Screen) -> dict[str, Judge]:
    """Who judges val and test: the best weights, going the way of the training.

    The frozen stages of `best` are those that were trained with, bit for bit, so what was kept of them is theirs too.

    Args:
        way: of the training.
        best: frozen like the network that was trained.
        screen: warned where the last digits become others.
    """
    learner: Network | Tail = best if way.prefix is None else Tail(Prefix(best, way.prefix.dtype))
    seeing = gathered(WithinMemory(learner, screen.warn))
    return {part: Judge(seeing, share_of(shown)) for part, shown in ((VAL, way.val), (TEST, way.test))}


def _does_not_pay(recipe: Recipe, pixels: Pixels) -> str:
    """Why keeping features would cost more than it saves; "" where it pays."""
    if not recipe.prefix_cache:
        return "--no-prefix-cache"
    if pixels.train.augmentation is not None and pixels.train.augmentation.own is not None:
        return "augment_with can do anything, so nobody knows whether what was kept is still what it does"
    if pixels.train.mixing is not None:
        return "--mixup and --cutmix mix pixels, and what follows the frozen stages would be another mixture"
    if pixels.train.sides:
        return "--small-first shows them pictures of other sizes"
    fresh = pixels.train.view_of(1) != 0 and recipe.views == 0
    if fresh:
        return "each shows fresh random pictures (--views 5 would keep five views of each, and be faster)"
    views = len(_views(recipe, pixels))
    if recipe.epochs <= views and not recipe.solve_head:
        return f"{recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''} would use what is kept once only"
    return ""


def _views(recipe: Recipe, pixels: Pixels) -> list[int]:
    return sorted({pixels.train.view_of(epoch) for epoch in range(1, recipe.epochs + 1)})


def _precision(network: Network, pixels: Pixels, recipe: Recipe) -> torch.dtype:
    sample = pixels.train.pictures(pixels.train.rows[:_SAMPLE], 0)
    stages = Prefix(network, torch.float32).num_stages
    key = f"{network.spec.model}, {stages} stages, {tuple(sample.shape[1:])} on {sample.device.type}"
    notes = Notes(cache_folder() / "engine.json", key)
    return choose_precision(recipe.precision, lambda dtype: Prefix(network, dtype)(sample), notes)


def _wanted(network: Network, prefix: Prefix, pixels: Pixels, recipe: Recipe) -> list[_Wanted]:
    train = [_Wanted(TRAIN, pixels.train, view, prefix) for view in _views(recipe, pixels)]
    # The test pictures are judged as the finished network will see new ones: in float32.
    test = _Wanted(TEST, pixels.test, 0, Prefix(network, torch.float32))
    return [*train, _Wanted(VAL, pixels.val, 0, prefix), test]


def _store(folder: Path, wanted: _Wanted, layout: Layout, pixels: Pixels, recipe: Recipe) -> FeatureStore:
    """The store of these features: its name is a function of everything they depend on."""
    batches = wanted.pixels
    about: dict[str, object] = {
        "prefix": wanted.prefix.identity(),
        "model": recipe.model,
        "image_size": batches.size,
        "pictures": pixels.fingerprint,
        "rows": hashlib.sha256(batches.rows.tobytes()).hexdigest(),
        "view": wanted.view,
    }
    if wanted.view and batches.augmentation is not None:
        about |= {"augmentation": asdict(batches.augmentation), "seed": batches.seed}
    name = hashlib.sha256(repr((sorted(about.items()), layout)).encode()).hexdigest()[:24]
    return FeatureStore(folder / name, about, layout)


def _room(folder: Path) -> int:
    """Bytes that are free on the disk of the cache, besides what is kept there already."""
    place = next(each for each in (folder, *folder.parents) if each.exists())
    kept = sum(path.stat().st_size for path in folder.glob("*/features.bin"))
    return shutil.disk_usage(place).free + kept


def _too_large(total: int, room: int, recipe: Recipe) -> str:
    if total > recipe.cache_budget * _GIB:
        needed = f"{total / _GIB:.3g}"
        return f"keeping them needs {needed} GiB, the budget is {recipe.cache_budget:g} (--cache-budget {needed})"
    return f"keeping them needs {total / _GIB:.3g} GiB, the disk of the cache has {room / _GIB:.3g} free"


def _plan_in_words(prefix: Prefix, wanted: list[_Wanted], total: int, recipe: Recipe, share: float) -> str:
    views = sum(each.part == TRAIN for each in wanted)
    seen = f", {views} views of each training picture" if views > 1 else ""
    left = f"an epoch then does {share:.0%} of the work" if share >= 0.005 else "an epoch then runs the head alone"
    kind = str(prefix.dtype).removeprefix("torch.")
    lines = [
        f"kept: {prefix.in_words()}, once per picture{seen}: {_size(total)} of the {recipe.cache_budget:g} GiB budget, "
        f"computed in {kind} (test pictures in float32); {left}"
    ]
    if views > 1:
        lines.append(f"each epoch shows another of the {views} fixed random views; epoch {views + 1} the first again")
    return "\n".join(lines)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.1f} GiB" if num_bytes >= _GIB else f"{num_bytes / 2**20:.1f} MiB"


def _share(table: LayerTable, prefix: Prefix) -> float:
    """Multiply-adds behind the prefix, as a share of the whole network's."""
    names = [f"stages.{name}" for name, _ in prefix.network.stages.named_children()][: prefix.num_stages]
    spared = sum(row.multiply_adds for row in table.rows if ".".join(row.name.split(".")[:2]) in names)
    return 1 - spared / table.multiply_adds if table.multiply_adds else 1.0


def _fill(wanted: list[_Wanted], stores: list[FeatureStore], screen: Screen) -> bool:
    """Compute what is missing; False where the disk refuses, and then nothing is kept."""
    total = sum(store.layout.num_rows for store in stores)
    done = computed = 0
    with screen.bar("frozen stages", total) as bar:
        for each, store in zip(wanted, stores, strict=True):
            try:
                computed += _fill_one(each, store, partial(_show, bar, done), screen)
            except OSError as error:
                screen.warn(f"features cannot be kept: {error.strerror or error} ({store.folder}); going on without")
                return False
            done += store.layout.num_rows
    screen.say(f"features of the frozen stages: {computed:,} computed, {total - computed:,} reused")
    return True


def _show(bar: Bar, before: int, rows: int) -> None:
    bar(before + rows, "")


def _fill_one(
    wanted: _Wanted, store: FeatureStore | MemoryStore, progress: Callable[[int], None], screen: Screen
) -> int:
    while True:
        try:
            return fill_store(store, wanted.prefix, wanted.pixels, wanted.view, progress)
        except Timeout:
            screen.say("another run is computing the same features: waiting for it")
            store.wait()


def _cached(network: Network, prefix: Prefix, wanted: list[_Wanted], stores: list[FeatureStore], pixels: Pixels) -> Way:
    device = pixels.train.device
    by_part: Mapping[str, dict[int, FeatureStore]] = {
        part: {each.view: store for each, store in zip(wanted, stores, strict=True) if each.part == part}
        for part in (TRAIN, VAL, TEST)
    }
    train = CachedBatches(pixels.train, by_part[TRAIN], device)
    val, test = CachedBatches(pixels.val, by_part[VAL], device), CachedBatches(pixels.test, by_part[TEST], device)
    return Way(network, Tail(prefix), train, val, test, prefix=prefix)
