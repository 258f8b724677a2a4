"""`saccade demo` and `saccade train`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from saccade.commands.terminal import how_to_be_found, screen_for
from saccade.errors import UsageError
from saccade.flags import Debug, Quiet
from saccade.presets import make_recipe
from saccade.recipe import Recipe


def demo(
    project: Annotated[Path, typer.Option(help="Folder in which run folders are made.")] = Path("runs"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The whole way on 1,797 real handwritten digits, offline, in under a minute.

    Trains LeNet-5, judges it on digits it never saw, writes a report and predicts.
    """
    from saccade.use.demo import demo_digits, draw_digit

    folder = train_and_report(
        make_recipe("scratch", {"model": "lenet5", "epochs": 20}), "digits", (project, "demo", "", False), quiet
    )
    for pixels, truth, prediction in demo_digits(folder, how_many=3):
        guesses = "   ".join(f"{guess.class_name}: {guess.probability:.1%}" for guess in prediction.guesses)
        print(f"\n{draw_digit(pixels)}\na test digit, labelled {truth}; predicted  {guesses}")
    print(f"\nNow with your own pictures: saccade train FOLDER (one folder of pictures per class); run: {folder.path}")
    if words := how_to_be_found():
        print(words)


def train(**given: Any) -> None:
    """Train a network on labelled pictures, judge it on pictures it never saw, write a report.

    PICTURES is a folder with one folder per class (with or without train,
    val and test folders above them), a .zip or .tar of the same, a .csv, .tsv
    or .parquet with the columns path and label (and split, group), an .npz or
    .npy, a folder of idx files (the MNIST family), a CIFAR archive, WebDataset
    shards, or a word: digits, which is always there, or mnist, fashion-mnist,
    cifar10, cifar100, fetched once or read from --data-dir.

    No flag is needed. Without --model the size of the pictures decides:
    lenet5 up to 40 pixels, else resnet18. Without --recipe the pictures and
    the network decide. It says what was chosen, and why.

    Examples:

      saccade train animals/

      saccade train animals.zip --model cnn4 --image-size 128 --epochs 30 --augment standard

      saccade train animals/ --model resnet18 --recipe finetune

      saccade train labels.csv --model resnet18_cifar --epochs 20

      saccade train mnist/ --model cnn1 --recipe scratch --epochs 3 --name my-digits

      saccade train animals/ --recipe runs/animals/recipe.yaml --seed 1

      saccade train animals/ --model resnet18 --recipe full --find-lr

      saccade train --resume
    """
    changes = {field: given.get(field) for field in Recipe.model_fields if field != "recipe"}
    if given["find_lr"]:
        return _find_rate(make_recipe(given["recipe"], changes), given)
    pictures, resume = _pictures_and_run(given["pictures"], given["resume"])
    place = (given["project"], given["name"], resume, given["allow_change"])
    folder = train_and_report(make_recipe(given["recipe"], changes), pictures, place, given["quiet"])
    if given["as_json"] and _leads():
        print(json.dumps({"run": str(folder.path), **folder.metrics}))
    return None


def _find_rate(recipe: Recipe, given: Mapping[str, Any]) -> None:
    """`--find-lr`: draw the curve, write it down, and print the command that trains with what it suggests."""
    from saccade.pipeline import find_rate
    from saccade.resuming import name_after
    from saccade.training.find_rate import suggest
    from saccade.use.rates import Tried, write_rates

    if given["pictures"] is None or given["resume"]:
        raise UsageError("--find-lr looks for the rate of a new run", remedy="saccade train PICTURES --find-lr ...")
    screen = screen_for(given["quiet"])
    trials = find_rate(recipe, given["pictures"], screen)
    found = suggest(trials)
    stem = given["project"] / f"{given['name'] or name_after(given['pictures'])}-rates"
    marks = {} if found is None else {"suggested": found.valley, "steepest": found.steepest}
    picture, table = write_rates(stem, [Tried(*trial) for trial in trials], marks)
    screen.say(f"{len(trials)} updates, from a rate of {trials[0].rate:g} to {trials[-1].rate:.2g}: {picture}, {table}")
    if given["as_json"]:
        rates = {"learning_rate": found and found.valley, "steepest": found and found.steepest}
        print(json.dumps({**rates, "picture": str(picture), "table": str(table)}))
        return
    if found is None:
        screen.warn("the loss falls nowhere, so nothing can be suggested: look at the picture")
        return
    screen.say(
        f"suggested: {found.valley:.2g} (the middle of the longest fall; it is steepest at {found.steepest:.2g})"
    )
    print(_with_rate(found.valley))


def _with_rate(rate: float) -> str:
    """The command that was typed, with this rate and without --find-lr."""
    from saccade.runs import command_line

    words = [word for word in command_line() if word != "--find-lr"]
    for place in [number for number, word in enumerate(words) if word == "--learning-rate"]:
        words[place : place + 2] = ["", ""]
    kept = [word for word in words if word and not word.startswith("--learning-rate=")]
    return shlex.join([*kept, "--learning-rate", f"{rate:.2g}"])


def _leads() -> bool:
    """Of several processes that train together one talks: training/distributed.py."""
    from saccade.training.distributed import leads

    return leads()


def _pictures_and_run(pictures: str | None, resume: str) -> tuple[str | None, str]:
    """What stands behind --resume may be the pictures: `saccade train --resume animals/` names no run."""
    from saccade.resuming import NEWEST
    from saccade.runs import RunFolder

    if pictures is None and not resume:
        raise UsageError("Missing argument 'PICTURES'.", remedy="saccade train --help shows what there is")
    if pictures is None and resume != NEWEST and not RunFolder(Path(resume)).is_begun:
        return resume, NEWEST
    return pictures, resume


def train_and_report(
    recipe: Recipe, pictures: str | None, place: tuple[Path, str | None, str, bool], quiet: bool
) -> Any:
    """Train, write the report and say where both are."""
    from saccade.pipeline import train as train_recipe
    from saccade.resuming import Place
    from saccade.use.report import write_report

    screen = screen_for(quiet)
    folder = train_recipe(recipe, pictures, Place(*place), screen)
    if not _leads():
        return folder
    if not (folder.report_path.exists() and place[2]):
        screen.say(f"report: {write_report(folder)}")
    screen.say(f"run: {folder.path}   predict with it: saccade predict {folder.path} PICTURE...")
    return folder
