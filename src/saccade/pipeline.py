"""READ THIS FIRST. The way of a picture, from a folder to a trained network, a call per stage.

    pictures ─► listing ─► pack ─► parts ─► network ─► fit ─► run folder

`train` is that line. Below it stands one short function per stage, and each names the file where the work is done.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import saccade.advice as advice
from saccade.charge import Charge
from saccade.clock import Clock
from saccade.data.audit import describe_pictures, fingerprint_of, pictures_in_words
from saccade.data.listing import TEST, TRAIN, VAL, Listing
from saccade.data.pack import Pack
from saccade.engine import keep_memory, make_deterministic, num_cores
from saccade.evaluation.calibrate import calibration_in_words, certainty_of, with_certainty
from saccade.evaluation.curves import MOST_CURVES
from saccade.evaluation.evaluate import Judge, Rows, evaluate_by
from saccade.evaluation.evidence import gather_evidence
from saccade.evaluation.looks import SeveralLooks
from saccade.headstart import doubts
from saccade.jobs import continued, job_name
from saccade.keeping import Way, judging_ways, keep_frozen
from saccade.learning import Lesson, Own, check_recipe, learn, try_rates
from saccade.making import best_network, make_network, make_pixels
from saccade.models.catalogue import find_entry, transfer_of
from saccade.models.network import Network
from saccade.network_choice import with_network
from saccade.pictures import Pictures, list_pictures, pack_pictures, split_pictures
from saccade.presets import ADVICE, make_recipe
from saccade.recipe import Recipe
from saccade.resuming import (
    Begun,
    Place,
    about_pictures,
    check_pictures,
    find_begun,
    name_after,
    source_of,
)
from saccade.runs import RunFolder, command_line
from saccade.safekeeping import check_project, end_run
from saccade.screen import QuietScreen, RecordingScreen, Screen
from saccade.training.distributed import decided, in_turn, joined, leads, world
from saccade.training.exchange import gathered, share_of
from saccade.training.find_rate import Trial
from saccade.training.freeze import freeze
from saccade.training.gpus import own_device
from saccade.training.memory import WithinMemory
from saccade.training.verdict import nothing_learnt


def train(
    recipe: Recipe,
    pictures: str | Path | None = None,
    place: Place | None = None,
    screen: Screen | None = None,
    own: Own | None = None,
) -> RunFolder:
    """Train a network on labelled pictures and judge it on those it never saw.

    Args:
        recipe: what to do; open fields are filled in.
        pictures: a folder, an archive, a table, arrays, shards, or a word; see data/sources/open.py. None for those
            of the run that goes on.
        place: where the run folder is made, or which run goes on.
        screen: where to talk; None for silence.
        own: what the caller brings along and no recipe can hold; None for nothing.

    Returns:
        The run folder, complete but for the report page.

    Raises:
        SaccadeError: of every stage; see errors.py.
    """
    clock, log = Clock(), RecordingScreen(screen if screen and leads() else QuietScreen())
    place, own = continued(place or Place(), log), own or Own()
    with joined(log.say), Charge(place, log) as charge:
        if leads():
            check_project(place.project)
        begun = decided(lambda: find_begun(place, pictures, recipe, _resolve_first))
        if begun is not None and decided(begun.is_finished):
            log.say(f"{begun.run.path} is finished: nothing is left to do")
            return begun.run
        begun = charge.take_up(begun)
        asked = begun.recipe if begun else recipe
        decided(lambda: check_recipe(asked, own))
        make_deterministic(asked.deterministic)
        keep_memory()
        device = own_device(asked.device)

        source = decided(lambda: source_of(pictures, begun))
        with in_turn():
            listing = list_pictures(source, asked, log)
        asked = decided(lambda: with_network(asked, listing, log))
        recipe = _resolve_first(asked)
        with in_turn():
            shown = _shown(listing, recipe, log)
        clock.lap("pictures")
        network = make_network(recipe, shown, device, begun, log)
        recipe = decided(lambda: _advise(asked, recipe, network, shown, log))
        _freeze(network, recipe, log)
        begun = decided(lambda: _start_run(charge, begun, recipe, shown))
        pixels = make_pixels(network, recipe, shown, own.augment_with)
        way = keep_frozen(network, pixels, recipe, log)
        clock.lap("frozen stages")
        keeper = learn(way, pixels, Lesson(begun, shown, own), log)
        clock.lap("training", before=begun.seconds)
        _judge(way, begun, shown, clock, log)
        end_run(begun.run, keeper)
    return begun.run


def find_rate(recipe: Recipe, pictures: str | Path, screen: Screen | None = None) -> list[Trial]:
    """The same way as `train` up to the first epoch; then a short training of a copy at rising rates. Makes no run.

    Args:
        recipe: as for `train`; open fields are filled in.
        pictures: likewise.
        screen: where to talk; None for silence.

    Returns:
        A record per update; training/find_rate.py reads them.

    Raises:
        UsageError: the recipe solves its head and has no epochs, so there is no rate to find.
        SaccadeError: of every stage; see errors.py.
    """
    log = screen or QuietScreen()
    check_recipe(recipe, Own())
    make_deterministic(recipe.deterministic)
    keep_memory()
    listing = list_pictures(pictures, recipe, log)
    asked = with_network(recipe, listing, log)
    recipe = _resolve_first(asked)
    shown = _shown(listing, recipe, log)
    network = make_network(recipe, shown, own_device(recipe.device), None, log)
    recipe = _advise(asked, recipe, network, shown, log)
    _freeze(network, recipe, log)
    way = keep_frozen(network, make_pixels(network, recipe, shown, None), recipe, log)
    return try_rates(way, recipe, log)


def pack_ahead(recipe: Recipe, pictures: str | Path, screen: Screen | None = None) -> Pack:
    """Decode pictures ahead of time: the pack that `train` with this recipe will find.

    Raises:
        SaccadeError: of listing and decoding; see errors.py.
    """
    screen = screen or QuietScreen()
    listing = list_pictures(pictures, recipe, screen)
    return pack_pictures(listing, _resolve_first(with_network(recipe, listing, screen)), screen)


def _shown(listing: Listing, recipe: Recipe, screen: Screen) -> Pictures:
    """The pictures, decoded, looked at and in their parts: pictures.py."""
    pack = pack_pictures(listing, recipe, screen, world().local_size)
    return split_pictures(listing, pack, recipe, screen)


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
    listing, pack, rows, parts, findings, _, num_left_out = shown
    log = charge.log
    class_of = [pack.class_names[label] for label in pack.labels[rows].tolist()]
    splits = list(zip((pack.names[row] for row in rows.tolist()), class_of, parts.tolist(), strict=True))
    if begun is None:
        place = charge.place
        name = place.name or name_after(listing.source)
        begun = Begun(RunFolder.create(place.project, name, adopt=place.adopt or bool(place.resume)), recipe)
        charge.take(begun.run)
        begun.run.write_environment(command_line(), datetime.now(UTC).isoformat(timespec="seconds"), job_name())
    else:
        begun = check_pictures(begun, about_pictures(pack, rows, parts), {path: part for path, _, part in splits}, log)
    run = begun.run
    run.write_classes(pack.class_names)
    source = Path(listing.source)
    is_path = source.exists() or "{" in listing.source  # else a word; braces stand for several shards
    place_of = str(source.resolve()) if is_path else listing.source
    report = describe_pictures(pack, rows, parts, place_of, list(listing.notes), num_left_out) | findings
    report["test_pictures"] = fingerprint_of(pack, shown.of(TEST))
    run.write_pictures(report, splits, pack.skipped)
    run.write_recipe(recipe)
    return begun


def _advise(asked: Recipe, recipe: Recipe, network: Network, shown: Pictures, screen: Screen) -> Recipe:
    """The recipe that suits the pictures, where none was asked for: advice.py."""
    if asked.recipe != ADVICE:
        return recipe
    if recipe.weights == "none":
        screen.say(advice.why_scratch(recipe))
        return recipe
    freeze(network, "head")
    likeness = advice.probe(network, make_pixels(network, recipe, shown, None), recipe, screen)
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


def _judge(way: Way, begun: Begun, shown: Pictures, clock: Clock, screen: Screen) -> None:
    """The best weights on val and test: evaluation/evaluate.py; how sure they may be: evaluation/calibrate.py."""
    run, best = begun.run, best_network(way.network, begun, shown)
    freeze(best.network, begun.recipe.train)
    found = {
        part: evaluate_by(judge, best, Rows(shown.pack, shown.of(part), part))
        for part, judge in judging_ways(way, best.network, screen).items()
    }
    if begun.recipe.tta != "none":
        seeing = gathered(WithinMemory(SeveralLooks(best.network, begun.recipe.tta), screen.warn))
        pixels = share_of(make_pixels(way.network, begun.recipe, shown, None).test)
        found[f"{TEST}_tta"] = evaluate_by(Judge(seeing, pixels), best, Rows(shown.pack, shown.of(TEST), TEST))
    certainty = certainty_of(found[VAL], is_apart=shown.is_watched, min_accuracy=begun.recipe.min_accuracy)
    found = {part: with_certainty(each, certainty) for part, each in found.items()}
    apart = ~np.isin(shown.of(TEST), shown.leaked)
    if apart.any() and not apart.all():
        found[f"{TEST}_without_leaks"] = found[TEST].only(apart, f"{TEST}_without_leaks")
    if not leads():
        return
    run.save_weights("best", best._replace(certainty=certainty))
    run.write_predictions(found[TEST], certainty.threshold, ~apart)
    evidence = gather_evidence(found[TEST], certainty, (shown.pack, shown.of(TEST)), ~apart)
    run.write_curves(evidence.curves_to_json(MOST_CURVES))
    clock.lap("evaluation")
    written = found | {TEST: evidence}
    run.write_metrics({part: each for part, each in written.items() if shown.is_watched or part != VAL}, clock.laps)
    low, high = found[TEST].interval
    screen.say(
        f"test accuracy {found[TEST].accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}) on "
        f"{len(found[TEST].labels):,} pictures; always saying the biggest class: {found[TEST].baseline:.2%}"
    )
    if f"{TEST}_tta" in found:
        screen.say(f"with several looks at each (--tta {begun.recipe.tta}): {found[f'{TEST}_tta'].accuracy:.2%}")
    if apart.any() and not apart.all():
        clean = found[f"{TEST}_without_leaks"]
        screen.say(f"without the {(~apart).sum():,} that were learned from too: {clean.accuracy:.2%}")
    for line in calibration_in_words(found[TEST], certainty):
        screen.say(line)
    for sentence in nothing_learnt(run.results, found[VAL].baseline, run.recipe):
        screen.warn(sentence)
    for line in pictures_in_words(run.data_report):
        screen.say(line)
