"""`saccade demo` and `saccade train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from saccade.commands.terminal import screen_for
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


def train(**given: Any) -> None:
    """Train a network on labelled pictures, judge it on pictures it never saw, write a report.

    PICTURES is a folder with one folder per class (with or without train,
    val and test folders above them), a .zip or .tar of the same, a .csv, .tsv
    or .parquet with the columns path and label (and split, group), an .npz or
    .npy, a folder of idx files (the MNIST family), a CIFAR archive, WebDataset
    shards, or a word: digits, which is always there, or mnist, fashion-mnist,
    cifar10, cifar100, fetched once or read from --data-dir.

    Without --recipe the pictures and the network decide, and it says why.

    Examples:

      saccade train animals/

      saccade train animals.zip --model cnn4 --image-size 128 --epochs 30 --augment standard

      saccade train animals/ --model resnet18 --recipe finetune

      saccade train labels.csv --model resnet18_cifar --epochs 20

      saccade train mnist/ --model cnn1 --recipe scratch --epochs 3 --name my-digits

      saccade train animals/ --recipe runs/animals/recipe.yaml --seed 1

      saccade train --resume
    """
    changes = {field: given.get(field) for field in Recipe.model_fields if field != "recipe"}
    pictures, resume = _pictures_and_run(given["pictures"], given["resume"])
    place = (given["project"], given["name"], resume, given["allow_change"])
    folder = train_and_report(make_recipe(given["recipe"], changes), pictures, place, given["quiet"])
    if given["as_json"]:
        print(json.dumps({"run": str(folder.path), **folder.metrics}))


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
    if not (folder.report_path.exists() and place[2]):
        screen.say(f"report: {write_report(folder)}")
    screen.say(f"run: {folder.path}   predict with it: saccade predict {folder.path} PICTURE...")
    return folder
