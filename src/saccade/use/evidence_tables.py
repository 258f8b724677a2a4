"""An evaluation as tables for a terminal: the numbers on stdout, in colours where there is a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from saccade.evaluation.calibrate import calibration_in_words
from saccade.evaluation.classwise import Share
from saccade.evaluation.evidence import Evidence
from saccade.evaluation.slices import Slice
from saccade.metrics import Interval, wilson
from saccade.screen import in_lines

_WIDEST_WITH_SHARES, _WIDEST_MATRIX = 10, 20  # classes
_MOST_CLASSES = 100
_MOST_PAIRS = 10
_CLASS_COLUMNS = (
    *("class", "precision", "", "recall", "", "F1", ""),
    *("ROC area", "", "avg precision", "", "pictures"),
)
_NARROW = (0, 1, 2, 3, 4, 11), (0, 5, 6, 7, 9)  # of those columns, in two tables
_WIDTH = 10_000  # characters: nothing is cut off, a terminal wraps what is too long for it


def print_evidence(found: Evidence) -> None:
    """Print all of it on stdout; in a narrow terminal wide tables are cut in two, or have fewer numbers in a cell."""
    terminal = Console(highlight=False)
    width = terminal.width if terminal.is_terminal else _WIDTH
    console = Console(width=_WIDTH, height=_WIDTH, highlight=False)
    for part in _parts(found, lambda table: console.measure(table).maximum <= width):
        console.print(Text(in_lines(part.plain, width), part.style) if isinstance(part, Text) else part)


def _parts(found: Evidence, fits: Callable[[Table], bool]) -> Iterator[RenderableType]:
    for line in _summary(found):
        yield Text(line)
    if len(found.class_names) <= _MOST_CLASSES:
        yield from _by_class(found, fits)
    if len(found.class_names) <= _WIDEST_MATRIX:
        shares = len(found.class_names) <= _WIDEST_WITH_SHARES and fits(_matrix(found, with_shares=True))
        yield from _titled("confusion matrix (row: true class, column: predicted)", _matrix(found, with_shares=shares))
    if found.confused and len(found.class_names) > 2:
        yield from _titled("most confused", _pairs(found))
    yield Text("\ncalibration", style="bold")
    for line in calibration_in_words(found, found.certainty):
        yield Text(line)
    yield _reliability(found)
    yield from _titled("if only the surest pictures were answered", _coverage(found))
    if found.by_size:
        yield from _titled("by size (square root of width × height, in pixels)", _slices(found.by_size, ".0f"))
    if found.by_sharpness:
        yield from _titled("by sharpness (share of fine detail in the contrast)", _slices(found.by_sharpness, ".2f"))


def _summary(found: Evidence) -> Iterator[str]:
    values = found.to_json()
    low, high = found.interval
    yield (
        f"accuracy {found.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}): "
        f"{found.num_correct:,} of {len(found.labels):,} {found.part} pictures right"
    )
    yield f"always saying the biggest class: {found.baseline:.2%}   loss {found.loss:.4f}"
    if (clean := found.without_leaks) is not None:
        low, high = clean.interval
        num = len(found.labels) - len(clean.labels)
        yield f"without the {num:,} that were learned from too: {clean.accuracy:.2%} ({low:.2%} to {high:.2%})"
    macro = found.averages[0].f1
    yield (
        f"balanced accuracy {found.balanced_accuracy:.2%} {_between(values['balanced_accuracy_interval'])}   "
        f"macro F1 {macro:.2%} {_between(values['macro_f1_interval'])}"
    )
    best = [k for k in (3, 5) if len(found.class_names) > k]
    if best:
        yield "right class among the best " + "   ".join(f"{k}: {found.top_k(k):.2%}" for k in best)
    if found.missing:
        yield f"no picture shows: {_few(found.missing)}; the averages over all classes count them as nothing right"


def _by_class(found: Evidence, fits: Callable[[Table], bool]) -> Iterator[RenderableType]:
    whole = _classes(found, range(len(_CLASS_COLUMNS)))
    yield Text("\nby class (in brackets: 95 % intervals, those of shares in percent)", style="bold")
    if fits(whole):
        yield whole
        return
    for columns in _NARROW:
        yield _classes(found, columns)
    yield Text("intervals of the areas: in a wider terminal, or with --json")


def _classes(found: Evidence, columns: Sequence[int]) -> Table:
    table = _table([_CLASS_COLUMNS[column] for column in columns])
    for row in found.classes:
        cells = [cell for share in (row.precision, row.recall, row.f1) for cell in _share(share)]
        roc = _number(row.roc_auc), _area_between(row.roc_interval)
        precise = _number(row.average_precision), _area_between(row.precision_interval)
        whole: list[Text | str] = [Text(row.name), *cells, *roc, *precise, f"{row.support:,}"]
        table.add_row(*(whole[column] for column in columns))
    table.add_section()
    for average in found.averages:
        cells = [cell for value in average[1:4] for cell in (f"{value:.1%}", "")]
        whole = [Text(f"{average.name} avg"), *cells, *[""] * 4, f"{average.support:,}"]
        table.add_row(*(whole[column] for column in columns))
    return table


def _matrix(found: Evidence, *, with_shares: bool) -> Table:
    counts, names = found.confusion.tolist(), found.class_names
    table = _table(["", *names])
    for index, (name, row) in enumerate(zip(names, counts, strict=True)):
        shown = [_cell(count, sum(row) if with_shares else 0) for count in row]
        styles = ["bold" if index == column else "dim" if count == 0 else "" for column, count in enumerate(row)]
        table.add_row(Text(name), *(Text(cell, style=style) for cell, style in zip(shown, styles, strict=True)))
    return table


def _cell(count: int, total: int) -> str:
    share = f" {count / total:>5.0%}" if count and total else " " * 6 if total else ""
    return f"{count:,}{share}"


def _pairs(found: Evidence) -> Table:
    table = _table(["true", "predicted", "pictures", "of the class"], left=2)
    for pair in found.confused[:_MOST_PAIRS]:
        table.add_row(Text(pair.true), Text(pair.predicted), f"{pair.num_pictures:,}", f"{pair.share:.1%}")
    return table


def _reliability(found: Evidence) -> Table:
    table = _table(["confidence", "mean", "right", "", "pictures"])
    for each in found.confidence_bins():
        interval = _between(wilson(each.num_correct, each.num_pictures))
        between = f"{each.low:.0%} to {each.high:.0%}"
        table.add_row(between, f"{each.confidence:.1%}", f"{each.accuracy:.1%}", interval, f"{each.num_pictures:,}")
    return table


def _coverage(found: Evidence) -> Table:
    table = _table(["confidence from", "answered", "right", "", "pictures"])
    total = len(found.labels)
    for step in found.coverage[1::2]:
        right = step.num_correct / step.num_answered
        interval = _between(wilson(step.num_correct, step.num_answered))
        answered = f"{step.num_answered / total:.0%}"
        table.add_row(f"{step.threshold:.2%}", answered, f"{right:.1%}", interval, f"{step.num_answered:,}")
    return table


def _slices(slices: Sequence[Slice], how: str) -> Table:
    table = _table(["from", "to", "accuracy", "", "pictures"], left=0)
    for each in slices:
        cells = [format(each.low, how), format(each.high, how), f"{each.accuracy:.1%}", _between(each.interval)]
        table.add_row(*cells, f"{each.num_pictures:,}")
    return table


def _table(columns: Sequence[str], left: int = 1) -> Table:
    """Words left, numbers right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(Text(name), justify="left" if index < left else "right", no_wrap=True)
    return table


def _titled(title: str, table: Table) -> tuple[RenderableType, RenderableType]:
    return Text(f"\n{title}", style="bold"), table


def _share(share: Share) -> tuple[str, str]:
    return ("-" if math.isnan(share.value) else f"{share.value:.1%}"), _between(share.interval)


def _between(interval: Interval | Sequence[float] | None) -> str:
    return "" if interval is None else f"({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def _area_between(interval: Interval | None) -> str:
    return "" if interval is None else f"({interval.low:.3f} to {interval.high:.3f})"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
