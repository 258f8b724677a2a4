"""READ THIS FIRST. The way of a picture, from a folder to a trained network, a call per stage.

    pictures ─► listing ─► pack ─► parts ─► network ─► fit ─► run folder

`train` is that line. Below it stands one short function per stage, and each names the file where the work is done.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from saccade.data.audit import check_bad_pictures, check_classes_left, describe_pictures, pictures_in_words
from saccade.data.augment import Augmentation
from saccade.data.batches import Batches
from saccade.data.decode import DecodeRules
from saccade.data.listing import TEST, TRAIN, VAL, Listing
from saccade.data.pack import Pack, open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sources.open import open_pictures
from saccade.data.split import check_splits, make_splits
from saccade.engine import choose_device, describe_device, keep_memory, make_deterministic, num_cores, threads_for
from saccade.errors import RecipeError
from saccade.evaluation.evaluate import Rows, evaluate
from saccade.models.catalogue import build_network, find_entry
from saccade.models.network import Network, NetworkSpec, side_of
from saccade.models.summary import layer_table
from saccade.models.weights import initialise
from saccade.recipe import Recipe
from saccade.runs import RunFolder, TrainedNetwork, command_line
from saccade.screen import QuietScreen, RecordingScreen, Screen
from saccade.training.callbacks import Callback, EarlyStopping, KeepWeights, Log, Show
from saccade.training.freeze import freeze
from saccade.training.loop import Parts, fit

T = TypeVar("T")

_STATISTICS_PICTURES = 10_000  # enough for the mean and deviation of pixels to three digits


class Place(NamedTuple):
    """Where a run is written: `project/name`, numbered when it is taken; without a name, after the pictures."""

    project: Path = Path("runs")
    name: str | None = None


class Pictures(NamedTuple):
    """The decoded pictures, which rows of the pack can be used, and the part of each."""

    listing: Listing
    pack: Pack
    rows: npt.NDArray[np.int64]
    parts: npt.NDArray[np.str_]

    def of(self, part: str) -> npt.NDArray[np.int64]:
        """The rows of one part, ascending."""
        return np.asarray(self.rows[self.parts == part], dtype=np.int64)


def train(recipe: Recipe, pictures: str | Path, place: Place | None = None, screen: Screen | None = None) -> RunFolder:
    """Train a network on labelled pictures and judge it on those it never saw.

    Args:
        recipe: what to do; open fields are filled in.
        pictures: a folder, an archive, arrays, or the word `digits`; see data/sources/open.py.
        place: where the run folder is made.
        screen: where to talk; None for silence.

    Returns:
        The run folder, complete but for the report page.

    Raises:
        SaccadeError: of every stage; see errors.py.
    """
    clock, log = _Clock(), RecordingScreen(screen or QuietScreen())
    recipe = _resolve(recipe)
    make_deterministic(recipe.deterministic)
    keep_memory()
    device = choose_device(recipe.device)

    listing = open_pictures(pictures, allow_empty_class=recipe.allow_empty_class)
    pack = _pack(listing, recipe, log)
    shown = _split(listing, pack, recipe, log)
    clock.lap("pictures")
    network = _network(recipe, shown, device, log)
    run = _start_run(place or Place(), recipe, shown, log)
    _fit(network, recipe, shown, run, log)
    clock.lap("training")
    _judge(run, shown, device, clock, log)
    return run


def _resolve(recipe: Recipe) -> Recipe:
    """Every open field filled in: first those that the network and the machine decide, then the recipe's own."""
    entry = find_entry(recipe.model)
    found: dict[str, object] = {
        "image_size": recipe.image_size or entry.image_size,
        "workers": recipe.workers or num_cores(),
    }
    if recipe.learning_rate is None and recipe.optimizer == "adamw":
        found["learning_rate"] = entry.rate
    return recipe.model_copy(update=found).resolved()


def _pack(listing: Listing, recipe: Recipe, screen: Screen) -> Pack:
    """Decode once: data/pack.py."""
    for note in listing.notes:
        screen.say(f"note: {note}")
    rules = DecodeRules(max_pixels=recipe.max_pixels, reduce_large=recipe.reduce_large)
    grey = find_entry(recipe.model).in_channels == 1
    settings = PackSettings(_known(recipe.image_size), grey, recipe.fit, rules)
    began = time.perf_counter()
    with screen.bar("decoding", len(listing)) as bar:
        work = Work(_known(recipe.workers), recipe.strict, lambda done, total: bar(done, f"{done:,} of {total:,}"))
        pack = open_pack(listing, settings, work)
    how = "reused, nothing changed" if pack.reused else f"built in {time.perf_counter() - began:.1f} s"
    num, side, _, channels = pack.images.shape
    screen.say(f"pack: {num:,} pictures of {side}×{side}×{channels}, {how} ({pack.folder})")
    check_bad_pictures(pack, recipe.max_bad)
    check_classes_left(pack)
    return pack


def _split(listing: Listing, pack: Pack, recipe: Recipe, screen: Screen) -> Pictures:
    """Who learns, who watches, who judges: data/split.py."""
    rows = pack.usable
    labels, given = pack.labels[rows], pack.splits[rows]
    parts = make_splits(labels, given, recipe.seed, val_share=recipe.val_share, test_share=recipe.test_share)
    for sentence in check_splits(labels, parts, pack.class_names):
        screen.warn(sentence)
    counts = " · ".join(f"{part} {(parts == part).sum():,}" for part in (TRAIN, VAL, TEST))
    screen.say(f"{listing.source}: {len(rows):,} pictures in {len(pack.class_names)} classes · {counts}")
    return Pictures(listing, pack, rows, parts)


def _start_run(place: Place, recipe: Recipe, shown: Pictures, log: RecordingScreen) -> RunFolder:
    """Make the run folder and write down what is known before training: runs.py."""
    listing, pack, rows, parts = shown
    run = RunFolder.create(place.project, place.name or _name_after(listing.source))
    log.write_to(run.log_path)
    run.write_recipe(recipe)
    run.write_environment(command_line(), datetime.now(UTC).isoformat(timespec="seconds"))
    run.write_classes(pack.class_names)
    source = Path(listing.source)
    place_of = str(source.resolve()) if source.exists() else listing.source
    report = describe_pictures(pack, parts, place_of, list(listing.notes))
    class_of = [pack.class_names[label] for label in pack.labels[rows].tolist()]
    names = (pack.names[row] for row in rows.tolist())
    run.write_pictures(report, zip(names, class_of, parts.tolist(), strict=True), pack.skipped)
    return run


def _network(recipe: Recipe, shown: Pictures, device: torch.device, screen: Screen) -> Network:
    """First weights, and what learns: models/catalogue.py, models/weights.py, training/freeze.py."""
    pack = shown.pack
    spec = NetworkSpec(recipe.model, len(pack.class_names), recipe.image_size, pack.preparation.channels, recipe.head)
    network = build_network(spec, recipe.seed)
    if recipe.weights == "none":
        network.normalise.set(*_statistics(shown))
    else:
        for line in initialise(network, recipe.weights).in_words():
            screen.say(line)
    screen.say(f"{recipe.model}: {freeze(network, recipe.train).in_words()}")
    screen.say(f"pictures of {recipe.image_size}×{recipe.image_size} pixels on {describe_device(device)}")
    return network.to(device)


def _statistics(shown: Pictures) -> tuple[list[float], list[float]]:
    """Mean and deviation of every channel over the training pictures, or evenly spaced ones where there are many."""
    rows = shown.of(TRAIN)
    pixels = shown.pack.images[rows[:: max(1, len(rows) // _STATISTICS_PICTURES)]].astype(np.float32)
    return pixels.mean(axis=(0, 1, 2)).tolist(), pixels.std(axis=(0, 1, 2)).tolist()


def _fit(network: Network, recipe: Recipe, shown: Pictures, run: RunFolder, screen: Screen) -> None:
    """Epochs: training/loop.py."""
    pack = shown.pack
    augmentation = Augmentation(
        flip=_known(recipe.flip),
        shift=_known(recipe.shift),
        rotation=_known(recipe.rotation),
        zoom=_known(recipe.zoom),
        fill=recipe.fill,
        fill_value=recipe.fill_value,
    )
    how = (recipe.batch_size, side_of(network.spec), network.normalise.mean.device, recipe.seed)
    parts = Parts(
        train=Batches(pack.images, pack.labels, shown.of(TRAIN), *how, augmentation),
        val=Batches(pack.images, pack.labels, shown.of(VAL), *how),
    )
    trained = TrainedNetwork(network, pack.class_names, pack.preparation)
    with screen.bar("training", recipe.epochs * parts.train.num_pictures) as bar:
        callbacks: list[Callback] = [
            Log(run.append_result),
            KeepWeights(lambda which: run.save_weights(which, trained)),
            Show(screen.say, bar, recipe.epochs),
        ]
        if recipe.patience:
            callbacks.append(EarlyStopping(recipe.patience))
        with threads_for(recipe.batch_size * layer_table(network).multiply_adds):
            _fit_or_explain(network, parts, recipe, callbacks)


def _fit_or_explain(network: Network, parts: Parts, recipe: Recipe, callbacks: list[Callback]) -> None:
    try:
        fit(network, parts, recipe, callbacks)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise RecipeError(
            "BatchNorm cannot learn from one picture at a time where a stage leaves a single position of it",
            where=f"batch_size {recipe.batch_size}, image_size {recipe.image_size}",
            remedy="use --batch-size 2 or more, or a larger --image-size",
        ) from None


def _judge(run: RunFolder, shown: Pictures, device: torch.device, clock: _Clock, screen: Screen) -> None:
    """The best weights on val and test: evaluation/evaluate.py."""
    best = run.load("best")
    best.network.to(device)
    found = {part: evaluate(best, Rows(shown.pack, shown.of(part), part), device) for part in (VAL, TEST)}
    run.write_predictions(found[TEST])
    clock.lap("evaluation")
    run.write_metrics(found, clock.laps)
    low, high = found[TEST].interval
    screen.say(
        f"test accuracy {found[TEST].accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}) on "
        f"{len(found[TEST].labels):,} pictures; always saying the biggest class: {found[TEST].baseline:.2%}"
    )
    for line in pictures_in_words(run.data_report):
        screen.say(line)


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = round(now - self._last, 3)
        self._last = now


def _name_after(source: str) -> str:
    return Path(source).name.split(".")[0].lstrip("-") or "run"


def _known(value: T | None) -> T:
    if value is None:
        raise ValueError("the recipe is not resolved")
    return value
