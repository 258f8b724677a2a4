"""`saccade export`: a run's network in a form that others run, and its model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from saccade.commands.terminal import check_output, screen_for
from saccade.errors import UsageError
from saccade.flags import AsJson, Debug, Quiet, RunArgument


def export(
    run: RunArgument,
    file_format: Annotated[
        Literal["onnx", "pt2"] | None, typer.Option("--format", help="ONNX (default), or torch.export's .pt2.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The file to write; default: RUN/model.onnx.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Weights and sums in float16: half the size.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights and activations in int8, in ranges that training pictures show.")
    ] = False,
    card: Annotated[
        bool, typer.Option("--card", help="Write a model card (README.md) for Hugging Face; alone, nothing else.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the network as one file that takes pictures as they are: uint8, RGB, of any height and width.

    Resizing, normalisation, temperature and softmax are inside, the class names stand in the metadata. Before the file
    is handed over it is run on the run's test pictures, and it must answer as `saccade predict` does; docs/export.md
    says how closely.

    Examples:

      saccade export runs/animals

      saccade export runs/animals --int8 --output animals-int8.onnx

      saccade export runs/animals --format pt2

      saccade export runs/animals --card
    """
    from saccade.runs import RunFolder
    from saccade.use.export import Wish, export_run
    from saccade.use.export_card import CARD_NAME, write_card
    from saccade.use.exported import in_words

    if half and int8:
        raise UsageError("a file is float16 or int8, not both", where="--half, --int8", remedy="leave one out")
    check_output(output)
    folder, screen = RunFolder.open(run), screen_for(quiet)
    alone = card and file_format is None and not (half or int8)
    written: list[Path] = []
    if not alone:
        precision: Literal["float32", "float16", "int8"] = "float16" if half else "int8" if int8 else "float32"
        screen.say("writing the file, and trying it on pictures ...")
        exported = export_run(folder, Wish(file_format or "onnx", precision, output), screen)
        for line in in_words(exported):
            screen.say(line)
        written.append(exported.path)
    if card:
        beside = folder.path / CARD_NAME if output is None else output.parent / CARD_NAME
        written.append(write_card(folder, output if alone and output is not None else beside))
    if as_json and not alone:
        print(json.dumps(exported.to_json() | {"card": str(written[1]) if card else None}))
        return
    for path in written:
        print(path)
