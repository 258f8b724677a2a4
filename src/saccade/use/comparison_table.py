"""A comparison as a table: in the terminal, as text, and as a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from itertools import accumulate
from pathlib import Path

from rich.console import Console
from rich.table import Table

from saccade.data.cells import write_csv
from saccade.evaluation.standings import Comparison, Standing
from saccade.screen import in_lines

_HEADER: tuple[str, ...] = (
    "label",
    "accuracy",
    "low",
    "high",
    "behind_best",
    "p",
    "parameters_learning",
    "parameters",
    "seconds",
)
_HEADER += ("megabytes", "pictures_per_second", "runs")
_TITLES: tuple[str, ...] = ("", "accuracy", "95 % interval", "behind the best", "chance?")
_TITLES += ("learns", "seconds", "MB", "pictures/s")
_NEEDED = 3  # columns that stay in the narrowest terminal
_WIDEST = 132


def comparison_table(comparison: Comparison, width: int = _WIDEST) -> Table:
    """The standings, the best first; the last columns are left out where a line of so many characters has no room."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = [_TITLES, *map(_cells, comparison.standings)]
    ends = list(accumulate(2 + max(map(len, column)) for column in zip(*rows, strict=True)))
    num = max(_NEEDED, sum(end - 2 <= width for end in ends))
    for number, title in enumerate(_TITLES[:num]):
        table.add_column(title, justify="right" if number else "left", no_wrap=number > 0)
    for row in rows[1:]:
        table.add_row(*row[:num])
    return table


def comparison_in_words(comparison: Comparison, width: int | None = None) -> str:
    """The table and what it says, as text; lines of so many characters where a terminal has them."""
    text = StringIO()
    console = Console(file=text, width=_WIDEST, highlight=False, no_color=True, markup=False)
    console.print(comparison_table(comparison, width or _WIDEST))
    numbers = sorted({each.num_seeds for each in comparison.standings})
    seeds = f", {seeds_in_words(numbers)} seeds each" if numbers[-1] > 1 else ""
    lines = [
        *(line.rstrip() for line in text.getvalue().splitlines()),
        "",
        f"{comparison.in_words()}.",
        f"Judged by {comparison.num_pictures:,} pictures{seeds}; always saying the biggest class: "
        f"{comparison.baseline:.1%}. Intervals are over pictures{' and seeds' if seeds else ''}; "
        "`chance?` is how often equally good ones would differ so much, corrected for all pairs.",
    ]
    if 2 in numbers:
        lines.append("Two seeds tell little about how much seeds matter, so intervals are wide: three or more pay.")
    if numbers[0] == 1 < numbers[-1]:
        lines.append("What has one seed is judged as that very network: what its seed did is in no interval.")
    return "\n".join(in_lines(line, width) if width and len(line) > width else line for line in lines)


def seeds_in_words(numbers: Sequence[int]) -> str:
    """How many seeds recipes have, ascending: `3`, or `1 to 3`."""
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def write_comparison_csv(path: Path, comparison: Comparison) -> Path:
    """A row per recipe, the best first; shares as 0..1."""
    write_csv(path, _HEADER, [_values(standing) for standing in comparison.standings])
    return path


def _cells(standing: Standing) -> tuple[str, ...]:
    low, high = standing.interval
    against, price = standing.against_best, standing.price
    speed = price and price.pictures_per_second
    return (
        standing.label,
        f"{standing.accuracy:.1%}",
        f"{low:.1%} to {high:.1%}",
        "" if against is None else f"{against.difference * 100:.1f} points",
        "" if standing.p is None else _chance(standing.p),
        "" if price is None else _count(price.learning),
        f"{standing.seconds:,.0f}",
        "" if price is None else f"{price.megabytes:,.{1 if price.megabytes >= 1 else 2}f}",
        "" if not speed else f"{speed:,.0f}",
    )


def _chance(p: float) -> str:
    if p < 0.001:
        return "no (p < 0.001)"
    return f"{'no' if p < 0.05 else 'can be'} (p {p:.3f})"


def _count(parameters: int) -> str:
    """`61,706`, `11.2 M`."""
    return f"{parameters / 1e6:.1f} M" if parameters >= 1e6 else f"{parameters:,}"


def _values(standing: Standing) -> tuple[object, ...]:
    against, price = standing.against_best, standing.price
    return (
        standing.label,
        round(standing.accuracy, 6),
        round(standing.interval.low, 6),
        round(standing.interval.high, 6),
        "" if against is None else round(against.difference, 6),
        "" if standing.p is None else f"{standing.p:.4g}",
        "" if price is None else price.learning,
        "" if price is None else price.parameters,
        round(standing.seconds, 2),
        "" if price is None else round(price.megabytes, 2),
        "" if price is None or price.pictures_per_second is None else round(price.pictures_per_second, 1),
        " ".join(standing.accuracies),
    )
