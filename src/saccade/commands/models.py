"""`saccade models`: the catalogue, and the layer table of one network."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from saccade.commands.terminal import terminal_width
from saccade.errors import UsageError
from saccade.flags import AsJson, Debug
from saccade.recipe import Recipe


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
        print(json.dumps(table.to_json()) if as_json else layers_in_words(table, terminal_width()))
        if not (as_json or name.startswith("timm/")):
            print(published_in_words(published_sets(name)))
        return
    timms, rows = (timm_rows(pattern), []) if timm else ([], catalogue_rows(pattern))
    if not (timms or rows):
        raise UsageError(f"no network fits {pattern!r}", where="--filter", remedy="leave out --filter to see them all")
    if as_json:
        print(json.dumps([row.to_json() for row in timms or rows]))
    else:
        print(timm_in_words(timms) if timm else catalogue_in_words(rows, terminal_width()))
