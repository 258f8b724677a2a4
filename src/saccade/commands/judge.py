"""`saccade evaluate`, `saccade predict` and `saccade report`: what a run says about pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from saccade.commands.terminal import check_output, screen_for
from saccade.flags import AsJson, Debug, Device, Quiet, RunArgument


def evaluate(
    run: RunArgument,
    pictures: Annotated[
        str | None, typer.Argument(help="Pictures to judge it by; default: the run's own test pictures.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write a CSV with a row per picture here.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge a run: accuracy with its interval, precision, recall and F1 per class, confusion matrix.

    Examples:

      saccade evaluate runs/animals

      saccade evaluate runs/animals new-pictures/ --output judged.csv
    """
    from saccade.data.packing import Work
    from saccade.engine import choose_device, num_cores
    from saccade.evaluation.evaluate import evaluate as judge
    from saccade.evaluation.evaluate import reopen_pictures
    from saccade.runs import RunFolder, write_predictions
    from saccade.use.tables import evaluation_in_words

    check_output(output)
    folder, where = RunFolder.open(run), choose_device(device)
    trained = folder.load()
    trained.network.to(where)
    with screen_for(quiet).bar("decoding", 1) as bar:
        work = Work(num_cores(), False, lambda done, total: bar(done, ""))
        rows = reopen_pictures(folder, trained, pictures, work)
    found = judge(trained, rows, where)
    print(json.dumps(found.to_json()) if as_json else evaluation_in_words(found))
    if output is not None:
        write_predictions(output, found)


def predict(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder, or a published network: resnet50, timm/convnext_atto.")
    ],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Pictures, folders or globs.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    output: Annotated[Path | None, typer.Option(help="Write a CSV with exactly one row per picture here.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Name what pictures show, with probabilities. A picture that cannot be read says why.

    Examples:

      saccade predict runs/animals dog.jpg

      saccade predict runs/animals holiday/ --top 1 --output predictions.csv

      saccade predict resnet50 photo.jpg --top 3
    """
    from saccade.api import load
    from saccade.errors import DataError
    from saccade.use.predict import Predictions, in_words, write_predictions

    check_output(output)
    found: Predictions = load(run, device=device, say=screen_for(quiet=False).say).predict(paths, top=top)
    for prediction in found:
        print(json.dumps(prediction.to_json()) if as_json else in_words(prediction))
    if output is not None:
        write_predictions(output, found, top)
    if not any(prediction.guesses for prediction in found):
        return DataError.exit_code
    return 0


def report(run: RunArgument, debug: Debug = False) -> None:
    """Write a run's report again: one HTML page that opens offline."""
    from saccade.runs import RunFolder
    from saccade.use.report import write_report

    print(write_report(RunFolder.open(run)))
