"""`saccade predict` and `saccade report`: what a run says about pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from saccade.commands.terminal import check_output, screen_for
from saccade.flags import AsJson, Debug, Device, MinAccuracy, RunArgument


def predict(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder, or a published network: resnet50, timm/convnext_atto.")
    ],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Pictures, folders or globs.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    min_accuracy: MinAccuracy = None,
    output: Annotated[Path | None, typer.Option(help="Write a CSV with exactly one row per picture here.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Name what pictures show, with probabilities. A picture that cannot be read says why.

    Examples:

      saccade predict runs/animals dog.jpg

      saccade predict runs/animals holiday/ --top 1 --output predictions.csv

      saccade predict runs/animals holiday/ --min-accuracy 0.95

      saccade predict resnet50 photo.jpg --top 3
    """
    from saccade.api import load
    from saccade.errors import DataError
    from saccade.use.predict import Predictions, in_words, write_predictions

    check_output(output)
    screen = screen_for(quiet=False)
    classifier = load(run, device=device, say=screen.say)
    found: Predictions = classifier.predict(paths, top=top, min_accuracy=min_accuracy)
    for prediction in found:
        print(json.dumps(prediction.to_json()) if as_json else in_words(prediction))
    if output is not None:
        write_predictions(output, found, top)
    if any(not prediction.sure for prediction in found):
        asked = classifier.certainty.min_accuracy if min_accuracy is None else min_accuracy
        screen.say(f"not sure: {classifier.certainty.demanding(asked).in_words()}")
    if not any(prediction.guesses for prediction in found):
        return DataError.exit_code
    return 0


def report(run: RunArgument, debug: Debug = False) -> None:
    """Write a run's report again: one HTML page that opens offline."""
    from saccade.runs import RunFolder
    from saccade.use.report import write_report

    print(write_report(RunFolder.open(run)))
