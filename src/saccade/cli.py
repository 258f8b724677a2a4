"""The command line: the list of commands, and the one place that answers their errors.

Each command parses, makes one call and prints; they stand in commands/. Data goes to stdout, all else to stderr.
Only here and there is anything imported inside functions, so that `saccade --help` never loads torch.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from saccade.commands.check import check
from saccade.commands.compare import compare
from saccade.commands.evaluate import evaluate
from saccade.commands.explain import explain
from saccade.commands.export import export
from saccade.commands.judge import report
from saccade.commands.models import models
from saccade.commands.pack import pack
from saccade.commands.predict import predict
from saccade.commands.serve import serve
from saccade.commands.train import demo, train
from saccade.errors import ResourceError, SaccadeError, UsageError, ran_out
from saccade.flags import compare_parameters, pack_parameters, train_parameters, with_parameters

EXIT_BUG, EXIT_INTERRUPTED = 1, 130
# In the order of `saccade --help`.
_COMMANDS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "demo": demo,
        "check": check,
        "pack": with_parameters(pack, pack_parameters()),
        "train": with_parameters(train, train_parameters()),
        "compare": with_parameters(compare, compare_parameters()),
        "evaluate": evaluate,
        "predict": predict,
        "explain": explain,
        "report": report,
        "serve": serve,
        "export": export,
        "models": models,
    }
)

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
        result = app(_with_newest(arguments), standalone_mode=False, prog_name="saccade")
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


def _with_newest(arguments: Sequence[str]) -> list[str]:
    """`--resume` without a run, which the parser of commands does not know, means the newest."""
    words = list(arguments)
    if words[:1] == ["predict"]:  # its --resume is about the file that it writes
        return words
    for place, word in enumerate(arguments):
        alone = place + 1 == len(words) or arguments[place + 1].startswith("-")
        if word == "--resume" and alone:
            words[place] = "--resume=newest"
    return words


def _answer(error: Exception, arguments: Sequence[str]) -> int:
    """Say what went wrong, where and what to do; returns the exit code."""
    if isinstance(error, TyperException):
        if not error.format_message():  # no arguments at all: the help was printed
            return UsageError.exit_code
        command = next((word for word in arguments if word in _COMMANDS), "")
        remedy = f"saccade {command} --help".replace("  ", " ")
        error = UsageError(error.format_message(), remedy=f"{remedy} shows what there is, with examples")
    elif ran_out(error):
        said = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = (
            "end what else uses memory, allow more (a container's limit, ulimit -v), or take less at once: a smaller "
            "--image-size or --batch-size, fewer --workers"
        )
        error = ResourceError(f"the memory does not suffice ({said})", remedy=remedy)
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


for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
