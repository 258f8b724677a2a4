"""`saccade evaluate`: what a run's answers are worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from saccade.commands.terminal import check_output, screen_for
from saccade.flags import AsJson, Debug, Device, MinAccuracy, Quiet, RunArgument
from saccade.recipe import Looks


def evaluate(
    run: RunArgument,
    pictures: Annotated[
        str | None, typer.Argument(help="Pictures to judge it by; default: the run's own test pictures.")
    ] = None,
    min_accuracy: MinAccuracy = None,
    tta: Annotated[Looks, typer.Option(help="Look several times at each: none, flip, shifts.")] = "none",
    output: Annotated[Path | None, typer.Option(help="Write a CSV with a row per picture here.")] = None,
    figures: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw the figures into this folder.")] = None,
    as_text: Annotated[bool, typer.Option("--text", help="Print scikit-learn's classification report.")] = False,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge a run's best weights, by its own test pictures or by others whose classes it knows.

    Accuracy with its interval; precision, recall and F1 per class with theirs; areas under ROC and precision-recall
    curves; confusion matrix and most confused pairs; calibration; when to answer "not sure"; accuracy by size and
    sharpness of the pictures. docs/evaluate.md says how each is computed.

    Examples:

      saccade evaluate runs/animals

      saccade evaluate runs/animals --min-accuracy 0.95 --figures figures/

      saccade evaluate runs/animals new-pictures/ --output judged.csv

      saccade evaluate runs/animals --tta flip
    """
    from saccade.data.packing import Work
    from saccade.engine import choose_device, num_cores
    from saccade.evaluation.evidence import Way, judge_run
    from saccade.predictions import write_predictions
    from saccade.runs import RunFolder
    from saccade.use.evidence_figures import write_curves, write_figures
    from saccade.use.evidence_tables import print_evidence
    from saccade.use.tables import evaluation_in_words

    check_output(output)
    screen, folder = screen_for(quiet), RunFolder.open(run)
    with screen.bar("decoding", 1) as bar:
        work = Work(num_cores(), False, lambda done, total: bar(done, ""))
        found = judge_run(folder, pictures, choose_device(device), work, Way(min_accuracy, tta))
    if tta != "none":
        screen.say(f"with several looks at each picture (--tta {tta})")
    if as_json:
        asked = {} if tta == "none" else {"tta": tta}
        print(json.dumps({**found.to_json(), **asked, "curves": found.curves_to_json()}))
    elif as_text:
        print(evaluation_in_words(found))
    else:
        print_evidence(found)
    if output is not None:
        write_predictions(output, found, found.certainty.threshold, found.leaked)
    if figures is not None:
        for path in [*write_curves(folder, figures), *write_figures(found, figures)]:
            screen.say(f"figure: {path}")
