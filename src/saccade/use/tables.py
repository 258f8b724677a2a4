"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from saccade.models.published import PublishedWeights
from saccade.models.summary import CatalogueRow, LayerTable
from saccade.models.timm import PREFIX, TimmFacts

if TYPE_CHECKING:  # who lists networks has no use for scikit-learn, and waits a second less without
    from saccade.metrics import Evaluation

_WIDEST_MATRIX = 20


def evaluation_in_words(found: Evaluation) -> str:
    """Accuracy with its interval, the report as scikit-learn prints it, and the confusion matrix."""
    low, high = found.interval
    lines = [
        f"accuracy {found.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}): "
        f"{found.num_correct:,} of {len(found.labels):,} {found.part} pictures right",
        f"always saying the biggest class: {found.baseline:.2%}   loss {found.loss:.4f}",
    ]
    if len(found.class_names) > 3:
        lines.append(f"right class among the best three: {found.top_k(3):.2%}")
    lines += ["", found.report]
    if len(found.class_names) <= _WIDEST_MATRIX:
        lines += ["confusion matrix (row: true class, column: predicted)", _matrix(found)]
    return "\n".join(lines)


def layers_in_words(table: LayerTable, width: int | None = None) -> str:
    """A line per layer, then the totals.

    Args:
        table: of a network.
        width: characters of a line; the kind of a layer is left out where it does not fit. None for any number.
    """
    spec = table.spec
    cells = [["layer", "kind", "output shape", "parameters", "learns", "multiply-adds"]]
    for row in table.rows:
        learns = "-" if not row.parameters else "yes" if row.trainable == row.parameters else "no"
        if 0 < row.trainable < row.parameters:
            learns = "partly"
        shape = "×".join(str(size) for size in row.output_shape)
        cells.append([row.name, row.kind, shape, f"{row.parameters:,}", learns, f"{row.multiply_adds:,}"])
    picture = f"{spec.image_size}×{spec.image_size}×{spec.in_channels}"
    left, hint = 3, list[str]()
    if width is not None and _width(cells) > width:
        cells = [[name, *rest] for name, _, *rest in cells]
        left, hint = 2, ["kind: in a wider terminal, or with --json"]
    return "\n".join(
        [
            f"{spec.model}: pictures of {picture}, {spec.num_classes:,} classes",
            "",
            aligned(cells, left=left),
            "",
            *hint,
            f"parameters {table.parameters:,}   learn {table.trainable:,}   frozen {table.frozen:,}   "
            f"multiply-adds per picture {table.multiply_adds:,}",
        ]
    )


def published_in_words(sets: Sequence[PublishedWeights]) -> str:
    """The weights that are published for a network: accuracy as published, size, licence and how they were made."""
    if not sets:
        return "published weights: none"
    lines = ["published weights, for --weights NAME (accuracies as published, on ImageNet):"]
    for found in sets:
        accuracy = (
            f"{found.top1} % top-1, {found.top5} % top-5 at {found.image_size} pixels" if found.top1 else "no head"
        )
        default = "   (--weights default)" if found.is_default else ""
        lines.append(f"  {found.name}   {accuracy}   {found.file_megabytes:.0f} MB   {found.recipe}{default}")
    return "\n".join([*lines, *(f"  licence: {licence}" for licence in sorted({one.licence for one in sets}))])


def catalogue_in_words(rows: Sequence[CatalogueRow], width: int | None = None) -> str:
    """A line per network, and what the columns mean.

    Args:
        rows: the networks.
        width: characters of a line; the last columns are left out where they do not fit. None for any number.
    """
    cells = [["network", "parameters", "multiply-adds", "pictures", "year", "weights", "idea", "paper"]]
    for row in rows:
        size = f"{row.image_size}×{row.image_size}×{row.in_channels}"
        weights = f"{row.weights.top1} %" if row.weights and row.weights.top1 else "-"
        costs = [f"{row.parameters:,}", f"{row.multiply_adds:,}", size, str(row.year), weights]
        cells.append([row.name, *costs, row.idea, row.source.removeprefix("https://")])
    licences = sorted({row.weights.licence for row in rows if row.weights})
    weights = f"weights: top-1 accuracy of --weights default on ImageNet, as published. {'; '.join(licences)}"
    terms, left_out, num_words = [weights] if licences else [], list[str](), 2
    while width is not None and num_words and _width(cells) > width:
        num_words, left_out = num_words - 1, [cells[0][-1], *left_out]
        cells = [row[:-1] for row in cells]
    if left_out:
        terms.insert(0, f"{' and '.join(left_out)}: in a wider terminal, or with --json")
    lines = [aligned(cells, left=1, right_words=num_words), "", *terms]
    return "\n".join([*lines, "The layers of one: saccade models NAME   timm's networks: saccade models --timm"])


def timm_in_words(rows: Sequence[TimmFacts]) -> str:
    """A line per network of timm."""
    cells = [["network", "pictures", "year", "licence of the weights", "idea"]]
    for row in rows:
        licence = row.licence or "-" if row.repository else "no weights"
        size = f"{row.image_size}×{row.image_size}×{len(row.mean)}"
        cells.append([f"{PREFIX}{row.name}", size, str(row.year or "-"), licence, row.idea])
    return aligned(cells, left=1, right_words=2)


def _matrix(found: Evaluation) -> str:
    names = found.class_names
    rows = [[name, *map(str, row)] for name, row in zip(names, found.confusion.tolist(), strict=True)]
    return aligned([["", *names], *rows], left=1)


def aligned(cells: Sequence[Sequence[str]], *, left: int, right_words: int = 0) -> str:
    """Columns two spaces apart; the first `left` and the last `right_words` are words and stand left, numbers right."""
    num, widths = len(cells[0]), _widths(cells)
    lines = (
        "  ".join(
            cell.ljust(width) if column < left or column >= num - right_words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _width(cells: Sequence[Sequence[str]]) -> int:
    return sum(_widths(cells)) + 2 * (len(cells[0]) - 1)
