"""Pictures with words under them on one sheet: heat over pictures, channels side by side, the legend to read them by.

Colours are matplotlib's viridis and inferno, whose brightness rises evenly: people who tell colours apart badly, and
grey printers, lose nothing.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from saccade.data.cells import printable

Pixels = npt.NDArray[np.uint8]

# The least side at which a picture is drawn.
CELL = 224
# Pictures up to this side are enlarged pixel by pixel: smoothing would invent what they do not show.
_TINY_SIDE = 64
_GAP, _LINE, _MARGIN = 10, 20, 16
_TEXT, _TITLE = 14, 18
_INK, _MUTED, _PAPER = "#1c1f23", "#666c73", "#ffffff"
_STRONGEST = 0.75  # how opaque the greatest heat is
_DIMMED = 0.75  # how bright the picture below the heat is
# Families that have Chinese, Japanese and Korean letters, which matplotlib's own font lacks.
_WIDE_FAMILIES = ("Noto Sans CJK KR", "Noto Sans CJK JP", "Malgun Gothic", "Apple SD Gothic Neo", "NanumGothic")


class Cell(NamedTuple):
    """A picture uint8 (H, W, 3) and the lines under it."""

    picture: Pixels
    lines: tuple[str, ...]


class Sheet(NamedTuple):
    """What is drawn on one sheet.

    Attributes:
        title: above everything.
        remark: below the title, in a quieter hand.
        groups: cells that stay side by side.
        columns: groups in a row.
        legend: words for both ends of the colours, "" for none.
        colours: matplotlib's name of them.
    """

    title: str
    remark: str
    groups: Sequence[Sequence[Cell]]
    columns: int
    legend: tuple[str, str] | None = None
    colours: str = "inferno"


def enlarged(pixels: Pixels, side: int = CELL) -> Pixels:
    """A square picture (h, w, 1) or (h, w, 3) as RGB (s, s, 3), s at least `side`."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    if picture.width < side:
        how = Image.Resampling.NEAREST if picture.width <= _TINY_SIDE else Image.Resampling.LANCZOS
        picture = picture.resize((side, side), how)
    return np.asarray(picture)


def coloured(values: npt.NDArray[np.float32], colours: str = "viridis") -> Pixels:
    """Values 0..1 (h, w) as RGB (h, w, 3)."""
    rgba = mpl.colormaps[colours](np.clip(values, 0, 1), bytes=True)
    return np.asarray(rgba[:, :, :3], dtype=np.uint8)


def heat_over(pixels: Pixels, heat: npt.NDArray[np.float32], side: int = CELL) -> Pixels:
    """Heat laid over a picture: the picture in dimmed grey, the heat in colours and the more opaque the greater it is.

    Args:
        pixels: uint8 (S, S, 1) or (S, S, 3), as the network saw the picture.
        heat: (h, w); stretched so that its own greatest value is the brightest, what is negative is not drawn.
        side: the result is at least this large, in pixels.

    Returns:
        uint8 (s, s, 3).
    """
    below = enlarged(pixels, side)
    share = relative(heat, below.shape[0])
    grey = np.asarray(Image.fromarray(below).convert("L"), dtype=np.float32)[:, :, None] * _DIMMED
    opaque = (_STRONGEST * np.sqrt(share))[:, :, None]
    mixed = grey * (1 - opaque) + coloured(share, "inferno") * opaque
    return mixed.round().astype(np.uint8)


def relative(heat: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """Heat (h, w) as a share of its greatest value, 0..1, at the size (side, side)."""
    # Smoother than the bilinear of measures: the eye takes the creases of that for something in the picture.
    large = F.interpolate(torch.from_numpy(heat)[None, None].clamp(min=0), size=(side, side), mode="bicubic")[0, 0]
    large = large.clamp(min=0)
    greatest = float(large.max())
    return np.asarray(large.numpy() / greatest if greatest > 0 else large.numpy(), dtype=np.float32)


def draw(sheet: Sheet) -> Pixels:
    """The sheet as RGB (H, W, 3) on white paper."""
    first = sheet.groups[0]
    cell_width, cell_height = (
        max(cell.picture.shape[axis] for group in sheet.groups for cell in group) for axis in (1, 0)
    )
    num_lines = max(len(cell.lines) for group in sheet.groups for cell in group)
    columns = min(sheet.columns, len(sheet.groups))
    group_width = len(first) * (cell_width + 4) - 4
    height = cell_height + num_lines * _LINE + _GAP
    remarks = _wrapped(sheet.remark, columns * (group_width + _GAP) - _GAP)
    top = _MARGIN + _TITLE + 12 + len(remarks) * _LINE + (_LINE + 14 if sheet.legend else 6)
    rows = -(-len(sheet.groups) // columns)
    size = (2 * _MARGIN + columns * (group_width + _GAP) - _GAP, top + rows * height + _MARGIN - _GAP)
    paper = Image.new("RGB", size, _PAPER)
    _head(paper, sheet, remarks)
    for number, group in enumerate(sheet.groups):
        left = _MARGIN + number % columns * (group_width + _GAP)
        for cell in group:
            _place(paper, cell, (left, top + number // columns * height), cell_width)
            left += cell_width + 4
    return np.asarray(paper)


def png(pixels: Pixels) -> bytes:
    """RGB (H, W, 3) as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _head(paper: Image.Image, sheet: Sheet, remarks: Sequence[str]) -> None:
    pen, width = ImageDraw.Draw(paper), paper.width - 2 * _MARGIN
    pen.text((_MARGIN, _MARGIN), _shortened(sheet.title, width, _TITLE), _INK, font=_font(_wide(sheet.title), _TITLE))
    top = _MARGIN + _TITLE + 10
    for line in remarks:
        pen.text((_MARGIN, top), line, _MUTED, font=_font(_wide(line), _TEXT))
        top += _LINE
    if sheet.legend is None:
        return
    low, high = sheet.legend
    length = min(160, width // 3)
    pen.text((_MARGIN, top + 2), low, _MUTED, font=_font(_wide(low), _TEXT))
    left = _MARGIN + round(_font(_wide(low), _TEXT).getlength(low)) + 8
    bar = np.broadcast_to(np.linspace(0, 1, length, dtype=np.float32), (12, length))
    paper.paste(Image.fromarray(coloured(bar, sheet.colours)), (left, top + 5))
    pen.text((left + length + 8, top + 2), high, _MUTED, font=_font(_wide(high), _TEXT))


def _place(paper: Image.Image, cell: Cell, corner: tuple[int, int], width: int) -> None:
    pen, (left, top) = ImageDraw.Draw(paper), corner
    paper.paste(Image.fromarray(cell.picture), corner)
    top += cell.picture.shape[0] + 3
    for number, line in enumerate(cell.lines):
        text = _shortened(line, width, _TEXT)
        pen.text((left, top + number * _LINE), text, _MUTED if number else _INK, font=_font(_wide(line), _TEXT))


def _shortened(text: str, width: int, size: int) -> str:
    """As much of a line as fits, its middle left out: names of files differ at their ends."""
    text = printable(" ".join(text.split()))
    font, kept = _font(_wide(text), size), len(text)
    shown = text
    while font.getlength(shown) > width and kept > 2:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}…{text[-(kept // 2) :]}"
    return shown


def _wrapped(text: str, width: int) -> list[str]:
    font = _font(_wide(text), _TEXT)
    lines: list[str] = []
    for word in printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _wide(text: str) -> bool:
    return any(unicodedata.east_asian_width(letter) in "WF" for letter in text)


@cache
def _font(wide: bool, size: int) -> ImageFont.FreeTypeFont:
    """matplotlib's own font, which is there wherever matplotlib is; for wide letters one of the system's, if any."""
    own = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    known = {font.name: font.fname for font in font_manager.fontManager.ttflist} if wide else {}
    found = next((known[family] for family in _WIDE_FAMILIES if family in known), str(own))
    return ImageFont.truetype(found, size)
