"""Draw the ideas of exercises 2 and 5 as SVG: python docs/exercises/draw_ideas.py. Sizes are those of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

FIGURES = Path(__file__).resolve().parent / "figures"
INK, MUTED, LINE, PAPER = "#1c1f23", "#666c73", "#9aa1a8", "#ffffff"
BLUE, PALE, ORANGE, PALE_ORANGE, GREY = "#1d6a86", "#cfe3ea", "#c2703d", "#f3dccd", "#eceeef"


class Sheet:
    """A drawing in pixels, x to the right and y down."""

    def __init__(self, width: int, height: int, words: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
            f'aria-label="{escape(words)}" font-family="system-ui, sans-serif" font-size="13">',
            f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="{INK}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        ]

    def box(self, corner: tuple[float, float], size: tuple[float, float], words: str = "", fill: str = PALE) -> None:
        """A rectangle from its upper left corner, with words in its middle; "|" begins a new line."""
        (x, y), (width, height) = corner, size
        stroke = 1 if words or width > 14 else 0.4
        place = f'x="{x}" y="{y}" width="{width}" height="{height}" rx="{2 if words else 1}"'
        self._parts.append(f'<rect {place} fill="{fill}" stroke="{BLUE}" stroke-width="{stroke}"/>')
        if words:
            self.text((x + width / 2, y + height / 2), words)

    def text(self, middle: tuple[float, float], words: str, colour: str = INK, anchor: str = "middle") -> None:
        """Lines of words around a point."""
        lines = words.split("|")
        for number, line in enumerate(lines):
            y = middle[1] + 4.5 + 16 * (number - (len(lines) - 1) / 2)
            self._parts.append(
                f'<text x="{middle[0]}" y="{y:g}" fill="{colour}" text-anchor="{anchor}">{escape(line)}</text>'
            )

    def arrow(self, points: Sequence[tuple[float, float]], colour: str = INK, *, is_curve: bool = False) -> None:
        """Through points, or with the middle ones as the handles of a curve; a tip at the end."""
        places = [f"{x:g} {y:g}" for x, y in points]
        path = f"M{places[0]} C{', '.join(places[1:])}" if is_curve else "M" + " L".join(places)
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5" marker-end="url(#tip)"/>'
        )

    def save(self, name: str) -> None:
        """Into the figures of the exercises."""
        (FIGURES / name).write_text("\n".join([*self._parts, "</svg>"]) + "\n", encoding="utf-8")


Map = tuple[str, int, int]  # words below, side in pixels on paper, how many sheets are drawn


def draw_chain(name: str, words: str, maps: Sequence[Map], layers: Sequence[str]) -> None:
    """Maps from left to right, as sheets one behind the other; between them the layers."""
    gap, top, x = 70, 20, 16.0
    tallest = max(side + 4 * sheets for _, side, sheets in maps)
    width = int(sum(side + 4 * sheets for _, side, sheets in maps) + gap * (len(maps) - 1) + 40)
    sheet, middle = Sheet(width, tallest + top + 50, words), top + tallest / 2
    for number, (label, side, sheets) in enumerate(maps):
        extent = side + 4 * (sheets - 1)
        for layer in range(sheets):
            corner = (x + 4 * layer, middle - extent / 2 + 4 * layer)
            sheet.box(corner, (side, side), fill=PALE if number else PALE_ORANGE)
        sheet.text((x + extent / 2, top + tallest + 22), label)
        x += extent
        if number < len(layers):
            sheet.arrow([(x + 8, middle), (x + gap - 8, middle)])
            sheet.text((x + gap / 2, middle - 24), layers[number], MUTED)
        x += gap
    sheet.save(name)


def draw_lenet() -> None:
    """Convolve, pool, twice; then three dense layers."""
    maps = [("32×32|3", 64, 2), ("28×28|6", 58, 3), ("14×14|6", 34, 3), ("10×10|16", 28, 6), ("5×5|16", 18, 6)]
    maps += [("120", 12, 1), ("84", 12, 1), ("10", 12, 1)]
    layers = ["conv|5×5", "pool", "conv|5×5", "pool", "dense", "dense", "dense"]
    draw_chain("idea-lenet.svg", "LeNet-5: convolutions and pools in turns, then dense layers", maps, layers)


def draw_alexnet() -> None:
    """alexnet_bn at 128 pixels."""
    maps = [("128×128|3", 110, 2), ("30×30|96", 56, 6), ("14×14|96", 34, 6), ("14×14|256", 34, 9), ("6×6|256", 20, 9)]
    maps += [("6×6|384, 384, 256", 20, 11), ("2×2|256", 12, 9), ("4096|4096", 12, 1), ("10", 12, 1)]
    layers = ["conv|11×11/4", "pool", "conv|5×5", "pool", "3 × conv|3×3", "pool", "2 × dense|dropout", "dense"]
    draw_chain("idea-alexnet.svg", "AlexNet at 128 pixels: five convolutions, three pools, dense layers", maps, layers)


def draw_module(name: str, words: str, below_and_above: tuple[str, str], columns: Sequence[Sequence[str]]) -> None:
    """Branches over one map, drawn upwards; 1×1 convolutions that reduce its channels are orange."""
    below_all, above_all = below_and_above
    top = 100 + 60 * max(map(len, columns))
    sheet = Sheet(720, top + 45, words)
    sheet.box((290, top), (140, 32), below_all, PALE_ORANGE)
    for x, steps in zip((60, 230, 400, 570), columns, strict=True):
        below = (360, top)
        for number, step in enumerate(steps):
            y = top - 65 - 60 * number
            reduces = step.startswith("1×1") and len(steps) > 1
            sheet.arrow([below, (x + 50, y + 32)])
            sheet.box((x, y), (100, 32), step, PALE_ORANGE if reduces else PALE)
            below = (x + 50, y)
        sheet.arrow([below, (below[0] * 0.55 + 360 * 0.45, 50)])
    sheet.box((140, 18), (440, 32), above_all)
    sheet.save(name)


def draw_inception() -> None:
    """Module 3a of googlenet_cifar."""
    words = "An Inception module: four branches over the same map, 1×1 convolutions before the dear ones"
    columns = [
        ["1×1, 64"],
        ["1×1, 96", "3×3, 128"],
        ["1×1, 16", "3×3, 32", "3×3, 32"],
        ["max-pool 3×3", "1×1, 32"],
    ]
    sums = ("192 channels", "side by side: 64 + 128 + 32 + 32 = 256 channels")
    draw_module("idea-inception.svg", words, sums, columns)


def draw_inception_v3() -> None:
    """Mixed_6b of inception_v3."""
    words = "A module of Inception v3: 7×7 convolutions taken apart into 1×7 and 7×1"
    columns = [
        ["1×1, 192"],
        ["1×1, 128", "1×7, 128", "7×1, 192"],
        ["1×1, 128", "7×1, 128", "1×7, 128", "7×1, 128", "1×7, 192"],
        ["mean 3×3", "1×1, 192"],
    ]
    sums = ("768 channels", "side by side: 192 + 192 + 192 + 192 = 768 channels")
    draw_module("idea-inception-v3.svg", words, sums, columns)


def draw_residual() -> None:
    """A block with an identity, a block with a projection."""
    sheet = Sheet(760, 330, "Residual blocks: what the convolutions make is added to what came in")
    for left, title, side, channels in ((40, "identity", "", "64"), (420, "projection", "1×1, 128|stride 2", "128")):
        middle = left + 130
        sheet.text((middle, 20), title, MUTED)
        sheet.box((middle - 50, 285), (100, 30), "64 × 32 × 32", PALE_ORANGE)
        stride = ", stride 2" if side else ""
        sheet.box((middle - 75, 215), (150, 36), f"3×3, {channels}{stride}")
        sheet.box((middle - 75, 145), (150, 36), f"3×3, {channels}")
        sheet.box((middle - 16, 82), (32, 32), "+", PAPER)
        for start, end in ((285, 251), (215, 181), (145, 114), (82, 44)):
            sheet.arrow([(middle, start), (middle, end)])
        sheet.text((middle + 10, 198), "BatchNorm, ReLU", MUTED, "start")
        sheet.text((middle + 10, 130), "BatchNorm", MUTED, "start")
        sheet.text((middle + 10, 60), "ReLU", MUTED, "start")
        far = middle - 130
        if side:
            sheet.arrow([(middle - 50, 300), (far, 300), (far, 236)])
            sheet.box((far - 44, 190), (88, 46), side, PALE_ORANGE)
            sheet.arrow([(far, 190), (far, 98), (middle - 16, 98)])
        else:
            sheet.arrow([(middle - 50, 300), (far, 300), (far, 98), (middle - 16, 98)], ORANGE)
            sheet.text((far + 8, 200), "as it is", ORANGE, "start")
    sheet.save("idea-residual.svg")


def draw_dense() -> None:
    """Four layers that each see all before them."""
    sheet = Sheet(760, 250, "A dense block: every layer is given the maps of all layers before it")
    names = ["24", "+ 12", "+ 12", "+ 12", "+ 12", "transition|1×1, pool"]
    places = [30 + 122 * number for number in range(6)]
    for number, (x, words) in enumerate(zip(places, names, strict=True)):
        size = (70, 44) if number < 5 else (104, 44)
        sheet.box((x, 150), size, words, PALE if 0 < number < 5 else PALE_ORANGE)
    for first in range(5):
        for last in range(first + 1, 6):
            start, end = (
                (places[first] + 35 + 5 * (last - first), 150),
                (places[last] + 35 - 6 * (last - first - 1), 150),
            )
            if last == first + 1:
                sheet.arrow([(places[first] + 70, 172), (places[last], 172)])
            else:
                height = 150 - 38 * (last - first)
                sheet.arrow([start, (start[0], height), (end[0], height), end], BLUE, is_curve=True)
    sheet.text((335, 225), "each layer: BatchNorm, ReLU, 1×1 to 48, BatchNorm, ReLU, 3×3 to 12", MUTED)
    sheet.save("idea-dense.svg")


def draw_normalisation() -> None:
    """Which numbers decide how one of them is scaled."""
    sheet = Sheet(760, 236, "Local response normalisation looks at neighbouring channels, BatchNorm at the whole batch")
    across, down, cell = 5, 9, 14
    titles = {30: "local response (2012)", 280: "none (2014)", 530: "BatchNorm (2015)"}
    for left, title in titles.items():
        sheet.text((left, 18), title, INK, "start")
        for picture in range(3):
            for place in range(across):
                for channel in range(down):
                    is_one = (picture, place, channel) == (1, 2, 4)
                    by_channels = picture == 1 and place == 2 and abs(channel - 4) <= 2
                    counts = {30: by_channels, 280: False, 530: channel == 4}[left]
                    fill = ORANGE if is_one else PALE_ORANGE if counts else GREY
                    corner = (left + picture * (across * cell + 6) + place * cell, 36 + channel * cell)
                    sheet.box(corner, (cell, cell), fill=fill)
        sheet.text((left + 111, 182), "positions of three pictures", MUTED)
    sheet.text((380, 214), "rows are channels; the dark number is scaled by the pale ones", MUTED)
    sheet.save("idea-normalisation.svg")


def main() -> None:
    """All seven."""
    of_families = (draw_lenet, draw_alexnet, draw_inception, draw_inception_v3, draw_residual, draw_dense)
    for draw in (*of_families, draw_normalisation):
        draw()


if __name__ == "__main__":
    main()
