"""`saccade predict`: what a run says about any number of pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from saccade.commands.terminal import check_output, screen_for
from saccade.errors import DataError, UsageError
from saccade.flags import AsJson, Debug, Device, MinAccuracy, Quiet
from saccade.recipe import Compile, Looks, Precision

if TYPE_CHECKING:
    from saccade.screen import Screen
    from saccade.use.answer import Answerer, Wanted
    from saccade.use.inputs import Named
    from saccade.use.predict_output import Output, Summary
    from saccade.use.predict_share import Share

STDIN = "-"
_OUTPUT = "Write exactly one row per picture here: .csv, .jsonl or .parquet."
_COPY = "Copy the pictures into folders of this folder: one per class, _not_sure and _unreadable. Overwrites nothing."
_PATHS = "Pictures, folders, globs, zips, tars, tables with a column of paths; - for a path per line of standard input."


def predict(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder, or a published network: resnet50, timm/convnext_atto.")
    ],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help=_PATHS)],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    min_accuracy: MinAccuracy = None,
    output: Annotated[Path | None, typer.Option(help=_OUTPUT)] = None,
    sort: Annotated[
        Literal["input", "path", "confidence"],
        typer.Option(help="Order of rows; confidence: surest first."),
    ] = "input",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted --output.")] = False,
    copy_to: Annotated[Path | None, typer.Option(metavar="DIR", help=_COPY)] = None,
    tta: Annotated[Looks, typer.Option(help="Look several times at each: none, flip, shifts.")] = "none",
    null: Annotated[bool, typer.Option("--null", "-0", help="Paths of - end with a zero byte, not a line.")] = False,
    precision: Annotated[Precision, typer.Option(help="float32, tf32, bfloat16, auto (timed once).")] = "float32",
    compile: Annotated[  # noqa: A002 - what the flag is called
        Compile, typer.Option(help="torch.compile: off, on, auto (where it pays).")
    ] = "off",
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode; 0: one per core.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Name what pictures show, with probabilities. A picture that cannot be read says why.

    Examples:

      saccade predict runs/animals dog.jpg

      saccade predict runs/animals holiday/ --top 1 --output predictions.csv

      saccade predict runs/animals holiday/ --min-accuracy 0.95 --copy-to sorted/

      find / -name "*.jpg" -print0 | saccade predict runs/animals - --null --output all.parquet --resume

      torchrun --nproc-per-node 4 -m saccade predict runs/animals archive.tar --output all.csv

      saccade predict resnet50 photo.jpg --top 3
    """
    # Not the Python face: it can do more than predict, and loads as much again as that takes.
    from saccade.engine import keep_memory
    from saccade.use.answer import Answerer, Wanted
    from saccade.use.fast import Speed
    from saccade.use.opened import device_for, open_trained
    from saccade.use.predict_output import Output
    from saccade.use.predict_share import own_device, share_here, together

    check_output(output)
    share = share_here()
    _check(output, {"--resume": resume, "--sort": sort != "input", "torchrun": share.size > 1})
    screen, wanted = screen_for(quiet or not share.leads), Wanted(top, min_accuracy, tta)
    keep_memory()
    with together(share):
        trained = open_trained(run, say=screen.say)
        where = device_for(trained, own_device(device, share))
        answerer = Answerer(trained, where, Speed(precision, compile), workers)
        pictures = _pictures(paths, b"\0" if null else b"\n")
        if output is not None:
            asked = Output(output, sort, resume, copy_to)
            summary = _write(answerer, pictures, asked, wanted, (share, screen))
        else:
            summary = _print(answerer, pictures, copy_to, wanted, as_json)
    if summary.num_unsure:
        accuracy = trained.certainty.min_accuracy if min_accuracy is None else min_accuracy
        screen.say(f"not sure: {trained.certainty.demanding(accuracy).in_words()}")
    return 0 if summary.num_named or not share.leads else DataError.exit_code


def _check(output: Path | None, asked: dict[str, bool]) -> None:
    for flag, is_asked in asked.items():
        if is_asked and output is None:
            raise UsageError(
                f"{flag} is for predictions that go into a file", where=flag, remedy="add --output predictions.csv"
            )


def _pictures(paths: list[str], end: bytes) -> Iterator[Named]:
    from saccade.use.inputs import lines_of, listed

    for path in paths:
        yield from lines_of(sys.stdin.buffer, end) if path == STDIN else listed(path)


def _write(
    answerer: Answerer,
    pictures: Iterator[Named],
    output: Output,
    wanted: Wanted,
    beside: tuple[Share, Screen],
) -> Summary:
    from saccade.use.predict_job import predict_into

    share, screen = beside
    summary = predict_into(answerer, pictures, output, wanted, beside)
    if share.leads:
        screen.say(f"{output.path}: {summary.in_words()}")
    return summary


def _print(
    answerer: Answerer, pictures: Iterator[Named], copy_to: Path | None, wanted: Wanted, as_json: bool
) -> Summary:
    """A line per picture as soon as it is known."""
    from saccade.use.copy_to import Sorter
    from saccade.use.predict import in_words
    from saccade.use.predict_output import Summary

    summary, sorter = Summary(), Sorter(copy_to, answerer.trained.class_names) if copy_to else None
    for picture, prediction in answerer.pairs(pictures, wanted):
        summary.count(prediction)
        print(json.dumps(prediction.to_json()) if as_json else in_words(prediction))
        if sorter:
            sorter.place(picture, prediction)
    return summary
