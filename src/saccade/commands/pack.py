"""`saccade pack`: decode ahead of time, or write WebDataset shards."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from saccade.commands.terminal import screen_for
from saccade.errors import UsageError
from saccade.presets import make_recipe
from saccade.recipe import Recipe

# What decides how pictures are decoded, which shards are not.
_DECODING = ("model", "image_size", "fit", "max_pixels", "reduce_large", "strict", "max_bad")


def pack(**given: Any) -> None:
    """Decode pictures once, ahead of training; or write them as WebDataset shards.

    Without --shards: the pack that `saccade train` with the same --model, --image-size and --fit then finds at once.
    Its folder is printed.

    With --shards DIR: DIR/NAME-000000.tar and so on, each picture's bytes as they are beside its class, and
    DIR/shards.json with the class names and checksums. DIR is then a PICTURES like any other, and the webdataset
    library reads it too.

    Examples:

      saccade pack animals/ --model resnet50

      saccade pack animals/ --shards animals-shards --shard-size 256
    """
    changes = {field: given.get(field) for field in Recipe.model_fields if field != "recipe"}
    recipe = make_recipe(given["recipe"], changes)
    if given["shards"] is None:
        found = _decode(recipe, given["pictures"], quiet=given["quiet"])
    else:
        useless = [f"--{field.replace('_', '-')}" for field in _DECODING if given.get(field) is not None]
        if useless:
            raise UsageError(
                f"shards hold the pictures as they are, so {', '.join(useless)} would do nothing",
                where="--shards",
                remedy="leave it out here and give it to saccade train",
            )
        place = (given["shards"], given["shard_size"] * 10**6)
        found = _shard(recipe, given["pictures"], place, quiet=given["quiet"])
    print(json.dumps(found) if given["as_json"] else found["folder"])


def _decode(recipe: Recipe, pictures: str, *, quiet: bool) -> dict[str, object]:
    from saccade.pipeline import pack_ahead

    found = pack_ahead(recipe, pictures, screen_for(quiet))
    num_pictures, side, _, channels = found.images.shape
    about = {"num_pictures": num_pictures, "num_usable": len(found.usable), "side": side, "channels": channels}
    return {"folder": str(found.folder), **about, "reused": found.reused}


def _shard(recipe: Recipe, pictures: str, place: tuple[Path, int], *, quiet: bool) -> dict[str, object]:
    from saccade.data.sources.open import open_pictures
    from saccade.data.sources.shard_writer import Target, pack_shards

    folder, max_bytes = place
    screen = screen_for(quiet)
    listing = open_pictures(pictures, allow_empty_class=recipe.allow_empty_class, data_dir=recipe.data_dir)
    for note in listing.notes:
        screen.say(f"note: {note}")
    with screen.bar("writing", len(listing)) as bar:
        target = Target(folder, folder.name, max_bytes)
        written = pack_shards(listing, target, lambda done, total: bar(done, f"{done:,} of {total:,}"))
    skipped = Counter(each.reason for each in written.skipped)
    word = "shard" if len(written.shards) == 1 else "shards"
    screen.say(f"{len(written.shards):,} {word} with {written.num_pictures:,} pictures")
    if skipped:
        screen.warn("left out: " + ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common()))
    shards = [shard._asdict() for shard in written.shards]
    return {"folder": str(folder), "num_pictures": written.num_pictures, "shards": shards, "skipped": dict(skipped)}
