"""The command line: parse, one call, print. Data goes to stdout, everything else to stderr.

This is the only file that imports inside functions, so that `saccade --help` never loads torch.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from saccade.errors import ResourceError, SaccadeError, UsageError
from saccade.flags import AsJson, Debug, Device, Quiet, RunArgument, train_parameters, with_parameters
from saccade.recipe import Recipe, make_recipe

if TYPE_CHECKING:
    from saccade.screen import Screen

EXIT_BUG, EXIT_INTERRUPTED = 1, 130
_COMMANDS = ("demo", "train", "evaluate", "predict", "report", "models")

app = typer.Typer(
    name="saccade",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="From labelled pictures to an image classifier you can trust.\n\n"
    "Begin with [bold]saccade demo[/bold]; then [bold]saccade train PICTURES[/bold] on a folder that has one folder "
    "per class.",
)


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code and never shows a traceback for a user's mistake."""
    try:
        result = app(list(arguments), standalone_mode=False, prog_name="saccade")
        code = result if isinstance(result, int) else 0
        if code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this code itself
            _say_stopped()
        return code
    except (KeyboardInterrupt, typer.Abort):
        _say_stopped()
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away, as `| head` does: nothing to complain about
        return 0
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        return _answer(error, arguments)


def _answer(error: Exception, arguments: Sequence[str]) -> int:
    """Say what went wrong, where and what to do; returns the exit code."""
    if isinstance(error, TyperException):
        if not error.format_message():  # no arguments at all: the help was printed
            return UsageError.exit_code
        command = next((word for word in arguments if word in _COMMANDS), "")
        remedy = f"saccade {command} --help".replace("  ", " ")
        error = UsageError(error.format_message(), remedy=f"{remedy} shows what there is, with examples")
    elif isinstance(error, OSError):
        place = str(error.filename) if error.filename else None
        remedy = "check the free space and the permissions there, then run the same command again"
        error = ResourceError(f"the system refused: {error.strerror or error}", where=place, remedy=remedy)
    if isinstance(error, SaccadeError):
        _complain(error)
        return error.exit_code
    sys.stderr.write(f"error: saccade has a bug: {type(error).__name__}: {error}\n")
    sys.stderr.write("what to do: please report it with the output of the same command and --debug\n")
    return EXIT_BUG


def _say_stopped() -> None:
    sys.stderr.write("\nstopped; what was written so far is whole, nothing half-written is left\n")


def _check_output(output: Path | None) -> None:
    """A mistyped place is said before the work, not after it."""
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        what = "is a folder" if output.is_dir() else "would lie in a folder that does not exist"
        raise UsageError(f"the file to write {what}", where=f"--output {output}", remedy="name a file to write")


def _complain(error: SaccadeError) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"error: {error.what}", style="bold red", markup=False)
    if error.where:
        console.print(f"where: {error.where}", markup=False)
    if error.remedy:
        console.print(f"what to do: {error.remedy}", markup=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"saccade {version('saccade')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def demo(
    project: Annotated[Path, typer.Option(help="Folder in which run folders are made.")] = Path("runs"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The whole way on 1,797 real handwritten digits, offline, in under a minute.

    Trains LeNet-5, judges it on digits it never saw, writes a report and predicts.
    """
    from saccade.use.demo import demo_digits, draw_digit

    folder = _train(make_recipe("scratch", {"model": "lenet5", "epochs": 20}), "digits", (project, "demo"), quiet)
    for pixels, truth, prediction in demo_digits(folder, how_many=3):
        guesses = "   ".join(f"{guess.class_name}: {guess.probability:.1%}" for guess in prediction.guesses)
        print(f"\n{draw_digit(pixels)}\na test digit, labelled {truth}; predicted  {guesses}")
    print(f"\nNow with your own pictures: saccade train FOLDER (one folder of pictures per class); run: {folder.path}")


def _train_command(**given: Any) -> None:
    """Train a network on labelled pictures, judge it on pictures it never saw, write a report.

    PICTURES is a folder with one folder per class (with or without train, val and test folders above them), a .zip
    of the same, an .npz or .npy, a folder of idx files (the MNIST family), a CIFAR archive, or the word digits.

    Examples:

      saccade train animals/

      saccade train animals.zip --model cnn4 --image-size 128 --epochs 30 --augment standard

      saccade train mnist/ --model cnn1 --recipe scratch --epochs 3 --name my-digits

      saccade train animals/ --recipe runs/animals/recipe.yaml --seed 1
    """
    changes = {field: given.get(field) for field in Recipe.model_fields if field != "recipe"}
    folder = _train(
        make_recipe(given["recipe"], changes), given["pictures"], (given["project"], given["name"]), given["quiet"]
    )
    if given["as_json"]:
        print(json.dumps({"run": str(folder.path), **folder.metrics}))


def _train(recipe: Recipe, pictures: str, place: tuple[Path, str | None], quiet: bool) -> Any:
    from saccade.pipeline import Place
    from saccade.pipeline import train as train_recipe
    from saccade.use.report import write_report

    screen = _screen(quiet)
    folder = train_recipe(recipe, pictures, Place(*place), screen)
    screen.say(f"report: {write_report(folder)}")
    screen.say(f"run: {folder.path}   predict with it: saccade predict {folder.path} PICTURE...")
    return folder


@app.command()
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

    _check_output(output)
    folder, where = RunFolder.open(run), choose_device(device)
    trained = folder.load()
    trained.network.to(where)
    with _screen(quiet).bar("decoding", 1) as bar:
        work = Work(num_cores(), False, lambda done, total: bar(done, ""))
        rows = reopen_pictures(folder, trained, pictures, work)
    found = judge(trained, rows, where)
    print(json.dumps(found.to_json()) if as_json else evaluation_in_words(found))
    if output is not None:
        write_predictions(output, found)


@app.command()
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

    _check_output(output)
    found: Predictions = load(run, device=device, say=_screen(quiet=False).say).predict(paths, top=top)
    for prediction in found:
        print(json.dumps(prediction.to_json()) if as_json else in_words(prediction))
    if output is not None:
        write_predictions(output, found, top)
    if not any(prediction.guesses for prediction in found):
        return DataError.exit_code
    return 0


@app.command()
def report(run: RunArgument, debug: Debug = False) -> None:
    """Write a run's report again: one HTML page that opens offline."""
    from saccade.runs import RunFolder
    from saccade.use.report import write_report

    print(write_report(RunFolder.open(run)))


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Show the layer table of this network.")] = None,
    pattern: Annotated[str, typer.Option("--filter", help="Part of a name, or a glob such as '*vit*'.")] = "*",
    timm: Annotated[bool, typer.Option("--timm", help="List timm's networks instead of the catalogue's.")] = False,
    classes: Annotated[int | None, typer.Option(min=2, help="Classes to tell apart; default: as published.")] = None,
    head: Annotated[str | None, typer.Option(help=str(Recipe.model_fields["head"].description))] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Side of the pictures in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, max=3, help="1 for grey, 3 for colour.")] = None,
    train: Annotated[str, typer.Option(help="What learns: all, head, last-2, layer4.1, 'layer4.*', a,b")] = "all",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """The networks of the catalogue and of timm; with NAME the layer table of one.

    Examples:

      saccade models --filter resnet

      saccade models --timm --filter '*vit_tiny*'

      saccade models vgg16 --head 128,64,32 --classes 3 --train block5_conv3
    """
    from saccade.models.catalogue import find_entry
    from saccade.models.network import NetworkSpec
    from saccade.models.published import published_sets
    from saccade.models.summary import catalogue_rows, layer_table, outline, timm_rows
    from saccade.training.freeze import freeze
    from saccade.use.tables import catalogue_in_words, layers_in_words, published_in_words, timm_in_words

    if name is not None:
        entry = find_entry(name)
        size = image_size or entry.image_size
        network = outline(NetworkSpec(name, classes or entry.num_classes, size, channels or entry.in_channels, head))
        freeze(network, train)
        table = layer_table(network)
        print(json.dumps(table.to_json()) if as_json else layers_in_words(table))
        if not (as_json or name.startswith("timm/")):
            print(published_in_words(published_sets(name)))
        return
    timms, rows = (timm_rows(pattern), []) if timm else ([], catalogue_rows(pattern))
    if not (timms or rows):
        raise UsageError(f"no network fits {pattern!r}", where="--filter", remedy="leave out --filter to see them all")
    if as_json:
        print(json.dumps([row.to_json() for row in timms or rows]))
    else:
        print(timm_in_words(timms) if timm else catalogue_in_words(rows))


def _screen(quiet: bool) -> Screen:
    from saccade.screen import QuietScreen, RichScreen

    return QuietScreen() if quiet else RichScreen()


app.command("train")(with_parameters(_train_command, train_parameters()))
