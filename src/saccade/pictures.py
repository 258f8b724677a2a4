"""From PICTURES to decoded pictures, each in its part: the first three stages of pipeline.py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.audit import check_bad_pictures, check_classes_left
from saccade.data.decode import DecodeRules
from saccade.data.duplicates import duplicates_of
from saccade.data.findings import brief, describe_looks, describe_sides
from saccade.data.listing import TEST, TRAIN, VAL, Listing
from saccade.data.pack import Pack, open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sides import groups_from, learn_from_fewer, take_sides
from saccade.data.sources.named import fetching
from saccade.data.sources.open import open_pictures
from saccade.data.split import Draw, check_splits
from saccade.errors import RecipeError
from saccade.models.catalogue import find_entry
from saccade.recipe import Recipe, known
from saccade.screen import Screen

_WATCHERS = 1000  # pictures that are learned from and watch all the same, where nothing is set aside


class Pictures(NamedTuple):
    """The decoded pictures, which rows of the pack are used, the part of each, and what was found about them.

    `leaked` are rows of val and test of which copies are learned from; `fraction` leaves out `num_left_out` pictures.
    """

    listing: Listing
    pack: Pack
    rows: npt.NDArray[np.int64]
    parts: npt.NDArray[np.str_]
    findings: dict[str, Any]
    leaked: npt.NDArray[np.int64]
    num_left_out: int = 0

    @property
    def is_watched(self) -> bool:
        """Whether pictures are set aside to watch the training."""
        return bool((self.parts == VAL).any())

    def of(self, part: str) -> npt.NDArray[np.int64]:
        """The rows of one part, ascending. Where nothing is set aside, some that are learned from stand for val."""
        if part == VAL and not self.is_watched:
            learned = self.of(TRAIN)
            return learned[:: -(-len(learned) // _WATCHERS)]
        return np.asarray(self.rows[self.parts == part], dtype=np.int64)


def draw_of(recipe: Recipe) -> Draw:
    """How parts are made that were not given.

    Raises:
        RecipeError: a fold that there is not.
    """
    if recipe.folds == 1 or recipe.fold > max(1, recipe.folds):
        raise RecipeError(
            f"there is no fold {recipe.fold} of {recipe.folds}",
            where="--folds, --fold",
            remedy="ask for 2 folds or more, and for one of them counted from 1: --folds 5 --fold 1",
        )
    seed = recipe.seed if recipe.split_seed is None else recipe.split_seed
    return Draw(seed, recipe.val_share, recipe.test_share, recipe.folds, recipe.fold)


def list_pictures(pictures: str | Path, recipe: Recipe, screen: Screen) -> Listing:
    """What is where: data/sources/open.py."""
    if recipe.data_dir is None and not Path(pictures).exists() and (words := fetching(str(pictures))):
        screen.say(words)
    return open_pictures(
        pictures,
        allow_empty_class=recipe.allow_empty_class,
        data_dir=recipe.data_dir,
        group_by=recipe.group_by,
    )


def pack_pictures(listing: Listing, recipe: Recipe, screen: Screen, num_processes: int = 1) -> Pack:
    """Decode once: data/pack.py. Streaming, each of so many processes of this machine has its share of the workers."""
    for note in listing.notes:
        screen.say(f"note: {note}")
    rules = DecodeRules(max_pixels=recipe.max_pixels, reduce_large=recipe.reduce_large)
    grey = find_entry(recipe.model).in_channels == 1
    settings = PackSettings(known(recipe.image_size), grey, recipe.fit, rules)
    began = time.perf_counter()
    with screen.bar("decoding", len(listing)) as bar:
        workers = known(recipe.workers)
        threads = max(1, workers // num_processes) if recipe.stream else 0
        work = Work(workers, recipe.strict, lambda done, total: bar(done, f"{done:,} of {total:,}"), threads)
        pack = open_pack(listing, settings, work)
    how = "reused, nothing changed" if pack.reused else f"built in {time.perf_counter() - began:.1f} s"
    num, side, _, channels = pack.images.shape
    what = "index (pixels are not kept, but decoded whenever they are needed)" if pack.is_streamed else "pack"
    screen.say(f"{what}: {num:,} pictures of {side}×{side}×{channels}, {how} ({pack.folder})")
    check_bad_pictures(pack, recipe.max_bad)
    check_classes_left(pack)
    return pack


def split_pictures(listing: Listing, pack: Pack, recipe: Recipe, screen: Screen) -> Pictures:
    """Who learns, who watches, who judges, and what is wrong with the pictures: data/sides.py, data/findings.py."""
    groups = groups_from(pack.names, listing.groups, recipe.group_by)
    duplicates = duplicates_of(pack, known(recipe.workers))
    draw = draw_of(recipe)
    sides = take_sides(pack, duplicates, groups, draw, drop_leaks=recipe.drop_leaks)
    rows, parts = sides.rows, sides.parts
    if recipe.fraction < 1:
        rows, parts = learn_from_fewer(pack, sides, recipe.fraction, draw.seed)
    findings = describe_looks(pack) | describe_sides(pack, duplicates, sides)
    thin = check_splits(pack.labels[rows], parts, pack.class_names, watched=recipe.val_share > 0)
    for sentence in (*thin, *brief(findings)):
        screen.warn(sentence)
    counts = " · ".join(f"{part} {(parts == part).sum():,}" for part in (TRAIN, VAL, TEST))
    screen.say(f"{listing.source}: {len(rows):,} pictures in {len(pack.class_names)} classes · {counts}")
    leaked = sides.leaked[: 0 if recipe.drop_leaks else None]
    shown = Pictures(listing, pack, rows, parts, findings, leaked, len(sides.rows) - len(rows))
    if not shown.is_watched:
        screen.warn(
            f"nothing is set aside to watch (--val-share 0): {len(shown.of(VAL)):,} pictures that are learned from do, "
            "so val numbers say nothing about new pictures, and the last weights count as the best"
        )
    return shown
