"""What the network will see: some training pictures as a recipe changes them, on one sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from saccade.data.augment import augmentation_of
from saccade.data.batches import Batch, Batches
from saccade.data.mixing import mixing_of
from saccade.data.pack import Pack
from saccade.recipe import Recipe
from saccade.whole import whole_file

_COLUMNS, _ROWS = 8, 4
_GAP, _LINE = 6, 16
_EPOCH = 1


def write_batch(path: Path, pack: Pack, rows: npt.NDArray[np.int64], recipe: Recipe) -> int:
    """Draw the first training batch of a recipe, each picture above the name of its class, as a PNG.

    Args:
        path: of the PNG.
        pack: the pictures, drawn at the size they have there.
        rows: of the training pictures.
        recipe: resolved; its augmentation and mixing are applied, each share of a mixture is named.

    Returns:
        How many pictures are drawn.
    """
    side = pack.images.shape[1]
    batches = Batches(
        pack.images,
        pack.labels,
        rows,
        _COLUMNS * _ROWS,
        side,
        torch.device("cpu"),
        recipe.seed,
        augmentation_of(recipe),
        mixing=mixing_of(recipe),
    )
    batch = next(batches.epoch(_EPOCH))
    pictures = batch.images.float().round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    count = min(len(pictures), _COLUMNS * _ROWS)
    width, height = side + _GAP, side + _GAP + _LINE
    sheet = Image.new("RGB", (_GAP + _COLUMNS * width, _GAP + -(-count // _COLUMNS) * height), "white")
    text, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for number in range(count):
        left, top = _GAP + number % _COLUMNS * width, _GAP + number // _COLUMNS * height
        picture = pictures[number]
        sheet.paste(Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture), (left, top))
        text.text((left, top + side + 1), _caption(batch, number, pack.class_names)[: side // 6], "black", font=font)
    with whole_file(path) as partial:
        sheet.save(partial, "PNG")
    return count


def _caption(batch: Batch, number: int, class_names: tuple[str, ...]) -> str:
    name = class_names[int(batch.labels[number])]
    if batch.mixed is None:
        return name
    share = float(batch.mixed.shares[number])
    partner = class_names[int(batch.mixed.partners[number])]
    return f"{share:.0%} {name}, {1 - share:.0%} {partner}"
