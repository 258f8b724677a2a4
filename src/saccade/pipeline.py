"""READ THIS FIRST. The way of a picture, from a folder to a trained network, a call per stage.

    pictures ─► listing ─► pack ─► parts ─► network ─► fit ─► run folder

`train` is that line. Below it stands one short function per stage, and each names the file where the work is done.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import saccade.advice as advice
from saccade.clock import Clock
from saccade.data.audit import describe_pictures, pictures_in_words
from saccade.data.augment import OwnChange, augmentation_of
from saccade.data.batches import Batches, resident_images
from saccade.data.listing import TEST, TRAIN, VAL
from saccade.data.mixing import mixing_of
from saccade.data.pack import Pack
from saccade.engine import choose_device, describe_device, keep_memory, make_deterministic, num_cores, threads_for
from saccade.errors import RecipeError
from saccade.evaluation.evaluate import Rows, evaluate_by
from saccade.headstart import doubts, head_first, rounded
from saccade.keeping import Pixels, Way, judging_ways, keep_frozen
from saccade.models.catalogue import build_network, find_entry, transfer_of
from saccade.models.network import Network, NetworkSpec, side_of
from saccade.models.summary import layer_table
from saccade.models.weights import initialise
from saccade.pictures import Pictures, list_pictures, pack_pictures, split_pictures
from saccade.presets import ADVICE, make_recipe
from saccade.recipe import Recipe
from saccade.resuming import (
    Begun,
    Charge,
    Place,
    about_pictures,
    check_pictures,
    find_begun,
    name_after,
    source_of,
)
from saccade.runs import RunFolder, TrainedNetwork, command_line
from saccade.safekeeping import RunWriter, about_run, check_project, check_space, end_run, make_keeper
from saccade.screen import QuietScreen, RecordingScreen, Screen
from saccade.training.callbacks import Callback, EarlyStopping, KeepWeights, Log, Show
from saccade.training.disk_keeper import DiskKeeper
from saccade.training.freeze import freeze
from saccade.training.loop import Parts, fit
from saccade.training.resume import load_network_state
from saccade.training.verdict import nothing_learnt

_STATISTICS_PICTURES = 10_000  # enough for the mean and deviation of pixels to three digits


def train(
    recipe: Recipe,
    pictures: str | Path | None = None,
    place: Place | None = None,
    screen: Screen | None = None,
    augment_with: OwnChange | None = None,
) -> RunFolder:
    """Train a network on labelled pictures and judge it on those it never saw.

    Args:
        recipe: what to do; open fields are filled in.
        pictures: a folder, an archive, a table, arrays, shards, or a word; see data/sources/open.py. None for those
            of the run that goes on.
        place: where the run folder is made, or which run goes on.
        screen: where to talk; None for silence.
        augment_with: the caller's own change of training batches, after the recipe's.

    Returns:
        The run folder, complete but for the report page.

    Raises:
        SaccadeError: of every stage; see errors.py.
    """
    clock, log = Clock(), RecordingScreen(screen or QuietScreen())
    place = place or Place()
    check_project(place.project)
    begun = find_begun(place, pictures, recipe, _resolve_first)
    if begun is not None and begun.run.is_finished:
        log.say(f"{begun.run.path} is finished: nothing is left to do")
        return begun.run
    with Charge(place, log) as charge:
        begun = charge.take_up(begun)
        asked, recipe = (begun.recipe, begun.recipe) if begun else (recipe, _resolve_first(recipe))
        make_deterministic(recipe.deterministic)
        keep_memory()
        device = choose_device(recipe.device)

        listing = list_pictures(source_of(pictures, begun), recipe, log)
        pack = pack_pictures(listing, recipe, log)
        shown = split_pictures(listing, pack, recipe, log)
        clock.lap("pictures")
        network = _network(recipe, shown, device, begun, log)
        recipe = _advise(asked, recipe, network, shown, log)
        _freeze(network, recipe, log)
        begun = _start_run(charge, begun, recipe, shown)
        pixels = _pixels(network, recipe, shown, augment_with)
        way = keep_frozen(network, pixels, recipe, log)
        clock.lap("frozen stages")
        keeper = _fit(way, pixels, begun, shown, log)
        clock.lap("training", before=begun.seconds)
        _judge(way, begun.run, shown, clock, log)
        end_run(begun.run, keeper)
    return begun.run


def pack_ahead(recipe: Recipe, pictures: str | Path, screen: Screen | None = None) -> Pack:
    """Decode pictures ahead of time: the pack that `train` with this recipe will find.

    Raises:
        SaccadeError: of listing and decoding; see errors.py.
    """
    recipe = _resolve(recipe)
    screen = screen or QuietScreen()
    return pack_pictures(list_pictures(pictures, recipe, screen), recipe, screen)


def _resolve_first(recipe: Recipe) -> Recipe:
    """As far as can be said before the pictures are seen: advice.py."""
    return _resolve(advice.first_choice(recipe))


def _resolve(recipe: Recipe) -> Recipe:
    """Every open field filled in: first those that the network and the machine decide, then the recipe's own."""
    entry, transfer = find_entry(recipe.model), transfer_of(recipe.model)
    found: dict[str, object] = {
        "image_size": recipe.image_size or entry.image_size,
        "workers": recipe.workers or num_cores(),
        "data_dir": recipe.data_dir and str(Path(recipe.data_dir).resolve()),
        "train": transfer.last if recipe.train == "last" else recipe.train,
        "head": transfer.head if recipe.weights != "none" and recipe.head is None else recipe.head,
    }
    if recipe.learning_rate is None and recipe.optimizer == "adamw":
        found["learning_rate"] = entry.rate
    return recipe.model_copy(update=found).resolved()


def _start_run(charge: Charge, begun: Begun | None, recipe: Recipe, shown: Pictures) -> Begun:
    """Make the run folder, or take up an old one, and write down what is known before training: runs.py."""
    listing, pack, rows, parts, findings, _ = shown
    log = charge.log
    class_of = [pack.class_names[label] for label in pack.labels[rows].tolist()]
    splits = list(zip((pack.names[row] for row in rows.tolist()), class_of, parts.tolist(), strict=True))
    if begun is None:
        place = charge.place
        name = place.name or name_after(listing.source)
        begun = Begun(RunFolder.create(place.project, name, adopt=bool(place.resume)), recipe)
        charge.take(begun.run)
        begun.run.write_environment(command_line(), datetime.now(UTC).isoformat(timespec="seconds"))
    else:
        begun = check_pictures(begun, about_pictures(pack, rows, parts), {path: part for path, _, part in splits}, log)
    run = begun.run
    run.write_classes(pack.class_names)
    source = Path(listing.source)
    is_path = source.exists() or "{" in listing.source  # else a word; braces stand for several shards
    place_of = str(source.resolve()) if is_path else listing.source
    report = describe_pictures(pack, rows, parts, place_of, list(listing.notes)) | findings
    run.write_pictures(report, splits, pack.skipped)
    run.write_recipe(recipe)
    return begun


def _network(recipe: Recipe, shown: Pictures, device: torch.device, begun: Begun | None, screen: Screen) -> Network:
    """First weights, or those of a checkpoint: models/catalogue.py, models/weights.py."""
    pack = shown.pack
    spec = NetworkSpec(recipe.model, len(pack.class_names), recipe.image_size, pack.preparation.channels, recipe.head)
    network = build_network(spec, recipe.seed)
    if begun is not None and begun.checkpoint is not None:
        load_network_state(network, begun.checkpoint)
    elif recipe.weights == "none":
        network.normalise.set(*_statistics(shown))
    else:
        for line in initialise(network, recipe.weights).in_words():
            screen.say(line)
    screen.say(f"pictures of {recipe.image_size}×{recipe.image_size} pixels on {describe_device(device)}")
    # Weights in the order of memory in which convolutions are fastest: VGG16's last one learns 1.8 times as fast.
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _advise(asked: Recipe, recipe: Recipe, network: Network, shown: Pictures, screen: Screen) -> Recipe:
    """The recipe that suits the pictures, where none was asked for: advice.py."""
    if asked.recipe != ADVICE:
        return recipe
    if recipe.weights == "none":
        screen.say(advice.why_scratch(recipe))
        return recipe
    freeze(network, "head")
    likeness = advice.probe(network, _pixels(network, recipe, shown, None), recipe, screen)
    per_class = int(np.median(np.bincount(shown.pack.labels[shown.of(TRAIN)])))
    chosen = advice.choose(likeness, per_class)
    screen.say(advice.in_words(chosen, likeness, per_class))
    fields = {field: getattr(asked, field) for field in asked.model_fields_set - {"recipe"}}
    return _resolve(make_recipe(chosen, fields))


def _freeze(network: Network, recipe: Recipe, screen: Screen) -> None:
    """What learns: training/freeze.py; and what is doubtful about that: headstart.py."""
    frozen = freeze(network, recipe.train, keep_statistics=recipe.batch_norm == "keep")
    screen.say(f"{recipe.model}: {frozen.in_words()}")
    for sentence in doubts(recipe, frozen):
        screen.warn(sentence)


def _statistics(shown: Pictures) -> tuple[list[float], list[float]]:
    """Mean and deviation of every channel over the training pictures, or evenly spaced ones where there are many."""
    rows = shown.of(TRAIN)
    pixels = shown.pack.images[rows[:: max(1, len(rows) // _STATISTICS_PICTURES)]].astype(np.float32)
    return pixels.mean(axis=(0, 1, 2)).tolist(), pixels.std(axis=(0, 1, 2)).tolist()


def _pixels(network: Network, recipe: Recipe, shown: Pictures, own: OwnChange | None) -> Pixels:
    """The three parts, batch by batch: data/batches.py and data/augment.py."""
    augmentation, mixing = augmentation_of(recipe, own), mixing_of(recipe)
    pack = shown.pack
    device = network.normalise.mean.device
    resident = resident_images(pack.images, device)
    how = (recipe.batch_size, side_of(network.spec), device, recipe.seed)
    return Pixels(
        train=Batches(pack.images, pack.labels, shown.of(TRAIN), *how, augmentation, recipe.views, mixing, resident),
        val=Batches(pack.images, pack.labels, shown.of(VAL), *how, resident=resident),
        test=Batches(pack.images, pack.labels, shown.of(TEST), *how, resident=resident),
        fingerprint=pack.fingerprint,
    )


def _fit(way: Way, pixels: Pixels, begun: Begun, shown: Pictures, screen: Screen) -> DiskKeeper | None:
    """The head where it can be solved, then epochs: training/linear_head.py, training/loop.py.

    Returns:
        What kept the state of the epochs; None where there were none.
    """
    recipe = begun.recipe
    check_space(begun.run, way.network, recipe, screen)
    trained = TrainedNetwork(way.network, shown.pack.class_names, shown.pack.preparation)
    writer = RunWriter(begun.run, trained, screen)
    callbacks: list[Callback] = [Log(writer.append), KeepWeights(writer.save)]
    with threads_for(round(recipe.batch_size * layer_table(way.network).multiply_adds * way.share)):
        is_new = begun.checkpoint is None
        if is_new and recipe.solve_head and head_first(way, recipe, callbacks, screen) and recipe.train == "head":
            writer.finish()
            return None
        with screen.bar("training", recipe.epochs * way.train.num_pictures) as bar:
            callbacks.append(Show(screen.say, bar, recipe.epochs))
            if recipe.patience:
                callbacks.append(EarlyStopping(recipe.patience))
            way = rounded(way, recipe, screen)
            about = about_run(recipe, about_pictures(shown.pack, shown.rows, shown.parts), way)
            keeper = make_keeper(begun, writer, pixels.train, shown.pack, about)
            _fit_or_explain(way, recipe, callbacks, keeper)
    writer.finish()
    return keeper


def _fit_or_explain(way: Way, recipe: Recipe, callbacks: list[Callback], keeper: DiskKeeper) -> None:
    try:
        fit(way.learner, Parts(way.train, way.val), recipe, callbacks, keeper)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise RecipeError(
            "BatchNorm cannot learn from one picture at a time where a stage leaves a single position of it",
            where=f"batch_size {recipe.batch_size}, image_size {recipe.image_size}",
            remedy="use --batch-size 2 or more, or a larger --image-size",
        ) from None


def _judge(way: Way, run: RunFolder, shown: Pictures, clock: Clock, screen: Screen) -> None:
    """The best weights on val and test: evaluation/evaluate.py."""
    best = run.load("best")
    best.network.to(way.network.normalise.mean.device)
    freeze(best.network, run.recipe.train)
    found = {
        part: evaluate_by(judge, best, Rows(shown.pack, shown.of(part), part))
        for part, judge in judging_ways(way, best.network).items()
    }
    apart = ~np.isin(shown.of(TEST), shown.leaked)
    if apart.any() and not apart.all():
        found[f"{TEST}_without_leaks"] = found[TEST].only(apart, f"{TEST}_without_leaks")
    run.write_predictions(found[TEST])
    clock.lap("evaluation")
    run.write_metrics(found, clock.laps)
    low, high = found[TEST].interval
    screen.say(
        f"test accuracy {found[TEST].accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}) on "
        f"{len(found[TEST].labels):,} pictures; always saying the biggest class: {found[TEST].baseline:.2%}"
    )
    if apart.any() and not apart.all():
        clean = found[f"{TEST}_without_leaks"]
        screen.say(f"without the {(~apart).sum():,} that were learned from too: {clean.accuracy:.2%}")
    for sentence in nothing_learnt(run.results, found[VAL].baseline, run.recipe):
        screen.warn(sentence)
    for line in pictures_in_words(run.data_report):
        screen.say(line)
