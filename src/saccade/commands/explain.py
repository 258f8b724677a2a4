"""`saccade explain`: where a network looks, drawn as PNG files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from saccade.commands.terminal import screen_for
from saccade.errors import DataError, UsageError
from saccade.flags import AsJson, Debug, Device, Quiet

if TYPE_CHECKING:
    from saccade.screen import Screen
    from saccade.trained import TrainedNetwork
    from saccade.use.explain import Explanation, Explanations
    from saccade.use.heatmaps import Question

_METHOD = "Heat by gradients or by covering places; the maps of a stage; filters of the first layer."


def explain(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run folder, a published network (resnet50), or an exported .onnx file."),
    ],
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="Pictures, folders or globs.")] = None,
    method: Annotated[
        Literal["gradcam", "occlusion", "features", "filters"] | None,
        typer.Option(help=_METHOD, show_default="gradcam; for an .onnx file occlusion"),
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="To look at; default: the deepest whose map has 5×5 places or more.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="That the heat is about; default: the predicted.")
    ] = None,
    mistakes: Annotated[
        int, typer.Option(min=0, metavar="N", help="Explain the run's N most confident mistakes.", show_default=False)
    ] = 0,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="A sheet of test pictures per class, and a look at the border.")
    ] = False,
    per_class: Annotated[int, typer.Option(min=1, help="Pictures on a sheet.")] = 8,
    output: Annotated[Path | None, typer.Option(help="Folder for the PNGs; default: RUN/explain.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Show where in pictures a network finds what it names; writes PNGs and prints where they are.

    Examples:

      saccade explain runs/animals dog.jpg

      saccade explain runs/animals holiday/ --method occlusion --class cat

      saccade explain runs/animals --sheet

      saccade explain runs/animals --mistakes 12

      saccade explain resnet50 photo.jpg --method features --stage layer2

      saccade explain animals.onnx dog.jpg
    """
    from saccade.use.explain import explain as explain_pictures
    from saccade.use.explain import method_for, saved
    from saccade.use.heatmaps import Question
    from saccade.use.inputs import expand
    from saccade.use.opened import device_for, open_trained

    _check_asked(paths, {"--sheet": sheet, "--mistakes": mistakes > 0, "--method filters": method == "filters"})
    screen, folder = screen_for(quiet), _output_folder(run, output)
    trained = open_trained(run, say=screen.say)
    _check_file(run, own_pictures=sheet or mistakes > 0, said=screen if method is None else None)
    question = Question(method_for(trained, method), stage, class_name)
    trained.network.to(device_for(trained, device))
    found: Iterable[Explanation]
    if sheet or mistakes:
        several = _of_run(run, trained, question, (mistakes, per_class), screen)
        for remark in several.remarks:
            screen.say(remark)
        for warning in several.warnings:
            screen.warn(warning)
        found = several
        if not len(several):
            return 0
    else:
        found = explain_pictures(trained, expand(paths or []), question)
    return _show(saved(found, folder), as_json=as_json)


def _check_asked(paths: list[str] | None, asked: dict[str, bool]) -> None:
    """Exactly one thing must be asked for: pictures, a sheet, mistakes, filters."""
    named = (["PATH"] if paths else []) + [flag for flag, given in asked.items() if given]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} do not go together", remedy="ask for one of them")
    if not named:
        raise UsageError("nothing to explain was named", remedy="name pictures, or use --sheet, --mistakes N")


def _output_folder(run: str, output: Path | None) -> Path:
    """RUN/explain, or ./explain for a published network."""
    folder = output if output is not None else (Path(run) / "explain" if Path(run).is_dir() else Path("explain"))
    if folder.exists() and not folder.is_dir():
        raise UsageError("the place for the PNGs is a file", where=f"--output {folder}", remedy="name a folder")
    return folder


def _check_file(run: str, *, own_pictures: bool, said: Screen | None) -> None:
    """Say what an ONNX file cannot do; it does not hold the run's pictures either."""
    from saccade.use.explain import NEEDS_RUN
    from saccade.use.onnx_file import names_an_onnx_file

    if not names_an_onnx_file(run):
        return
    if own_pictures:
        raise UsageError(
            "an ONNX file does not know the run's test pictures, which sheets and mistakes are drawn from",
            where=run,
            remedy="name pictures, or explain the run that it was exported from: saccade explain RUN --sheet",
        )
    if said:
        said.say(f"heat by occlusion; {NEEDS_RUN}")


def _of_run(
    run: str, trained: TrainedNetwork, question: Question, nums: tuple[int, int], screen: Screen
) -> Explanations:
    from saccade.runs import RunFolder
    from saccade.use.explain_run import explain_classes, explain_mistakes, own_pictures

    own = own_pictures(RunFolder.open(run), trained)
    mistakes, per_class = nums
    if mistakes:
        return explain_mistakes(own, mistakes, question)
    with screen.bar("classes", len(own.pack.class_names)) as bar:
        return explain_classes(own, per_class, question, lambda done, total: bar(done, ""))


def _show(written: Iterable[tuple[Explanation, Path | None]], *, as_json: bool) -> int:
    from saccade.data.cells import printable
    from saccade.screen import RichScreen

    num_written = 0
    for each, path in written:
        num_written += path is not None
        if as_json:
            print(json.dumps(each.to_json() | {"file": None if path is None else printable(str(path))}))
        elif path is not None:
            print(printable(str(path)))
        else:
            RichScreen().warn(f"{printable(each.name)} cannot be used: {each.reason} ({printable(each.detail)})")
    return 0 if num_written else DataError.exit_code
