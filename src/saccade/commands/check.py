"""`saccade check`: what is wrong with the pictures, before anything learns from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saccade.commands.terminal import check_output, screen_for
from saccade.flags import AsJson, Debug, Device, Quiet
from saccade.presets import make_recipe
from saccade.recipe import Recipe

if TYPE_CHECKING:
    from saccade.use.check import Checked


def check(
    pictures: Annotated[str, typer.Argument(metavar="PICTURES", help="The labelled pictures.")],
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Look for wrong labels with this run, or network: resnet18.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="Of a network that is no run: default (published) or a FILE.")
    ] = "default",
    group_by: Annotated[str | None, typer.Option(help=str(Recipe.model_fields["group_by"].description))] = None,
    output: Annotated[Path, typer.Option(help="Where the findings are written as JSON.")] = Path("data_report.json"),
    html: Annotated[Path | None, typer.Option(help="Write a page with the pictures that were found here.")] = None,
    fix: Annotated[
        Path | None, typer.Option(help="Write a table (.csv; of arrays an .npz) without bad pictures and copies here.")
    ] = None,
    show_batch: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw training pictures as --recipe changes them here.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Of --show-batch: a preset or a .yaml file.")] = "scratch",
    augment: Annotated[
        str | None, typer.Option(help="Of --show-batch: none, light, standard, strong; default: the recipe's.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when anything was found.")] = False,
    data_dir: Annotated[str | None, typer.Option(help=str(Recipe.model_fields["data_dir"].description))] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Of the split that is looked at where none is given.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Count the pictures and find what is wrong with them: broken ones, copies, leaks, outliers, wrong labels.

    Copies are found when they were resized, encoded again, mirrored or cut a little: inside a class, across classes and
    across train, val and test. Nothing is changed.

    Examples:

      saccade check animals/

      saccade check animals/ --html check.html --fix animals.csv

      saccade check animals/ --run runs/animals --html check.html

      saccade check animals/ --show-batch batch.png --augment strong
    """
    from saccade.engine import choose_device
    from saccade.errors import DataError
    from saccade.use.check import Asked, check_pictures, open_looker
    from saccade.use.check_page import write_check_page
    from saccade.use.check_table import checked_in_words
    from saccade.use.fixed import write_fixed
    from saccade.whole import whole_file

    for path in (output, html, fix, show_batch):
        check_output(path)
    screen = screen_for(quiet)
    looker = open_looker(run, weights, screen.say) if run is not None else None
    checked = check_pictures(pictures, Asked(group_by, seed, data_dir, looker, choose_device(device)), screen)
    with whole_file(output) as partial:
        partial.write_text(json.dumps(checked.report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(checked.report) if as_json else checked_in_words(checked))
    screen.say(f"findings: {output}")
    if html is not None:
        screen.say(f"page: {write_check_page(html, checked)}")
    if show_batch is not None:
        screen.say(_draw_batch(show_batch, checked, make_recipe(recipe, {"augment": augment, "seed": seed}).resolved()))
    if fix is not None:
        screen.say(f"kept: {fix}, {write_fixed(fix, checked):,} pictures left out")
    return DataError.exit_code if strict and _found_anything(checked) else 0


def _draw_batch(path: Path, checked: Checked, recipe: Recipe) -> str:
    from saccade.data.listing import TRAIN
    from saccade.use.show_batch import write_batch

    drawn = write_batch(path, checked.pack, (checked.parts == TRAIN).nonzero()[0], recipe)
    return f"batch: {path}, {drawn} pictures as {recipe.recipe} with --augment {recipe.augment} shows them"


def _found_anything(checked: Checked) -> bool:
    report: dict[str, Any] = checked.report
    return bool(checked.warnings or report["skipped"])
