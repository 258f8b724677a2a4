"""A table with a row per picture (path, label, and where they are there split and group) -> Labelled."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.cells import printable
from saccade.data.listing import UNASSIGNED, FilesBelow, Item
from saccade.data.sources.labelled import Labelled
from saccade.data.sources.names import SPLIT_OF_FOLDER, class_name_of
from saccade.data.sources.table_columns import Coded, Columns
from saccade.data.sources.table_members import Members, find_members
from saccade.data.sources.table_parquet import read_parquet
from saccade.data.sources.table_text import read_text_table
from saccade.errors import TableError

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
_SHOWN = 3
_FIRST = 5
_DRIVE = re.compile(r"^([A-Za-z]:[\\/]|\\\\)")
_NOT_PLAIN = re.compile(r"(^|/)\.{0,2}(/|$)")  # a/./b, a//b, a/../b: another way to write a path
_MOST_DECLARED = 100_000


def read_table(path: Path, *, allow_empty_class: bool = False, group_by: str | None = None) -> Labelled:
    """List the pictures that a .csv, .tsv or .parquet names, relative to its folder. Every file is looked for.

    A path may lead into a zip or tar: animals.zip/cats/1.png.

    Args:
        path: the table.
        allow_empty_class: take numbers with gaps for classes of which some have no picture.
        group_by: the column that names groups; None: the one with a usual name, if it is there.

    Raises:
        TableError: named by a code, with the rows at fault; see docs/formats.md for all of them.
        MissingExtraError: a .parquet without pyarrow.
    """
    read = read_parquet if path.suffix.lower() == ".parquet" else read_text_table
    columns = read(path, group_by)
    if not columns.paths:
        raise TableError("no_rows: the table has a header and no row", where=str(path), remedy="add a row per picture")
    _check_values(columns)
    _check_paths(columns)
    declared = _check_numbers(columns, allow_empty_class=allow_empty_class)
    inside = find_members(path.parent, columns.paths)
    items, stamp = _from_archive(inside, columns) if inside else _from_files(path.parent, columns)
    names, codes = _class_names(columns.labels)
    splits = _splits(columns)
    return Labelled(
        source=str(path),
        items=items,
        names=names,
        codes=codes,
        splits=splits,
        declared=dict.fromkeys(np.unique(splits).tolist(), declared),
        notes=(*columns.notes, _first_rows(columns)),
        stamp=stamp,
        groups=_spread([printable(name) for name in columns.groups.names], columns.groups.codes),
    )


class _Fault(NamedTuple):
    """What is wrong with rows: a code, the words for it, the remedy."""

    code: str
    words: str
    remedy: str


def _refusal(columns: Columns, fault: _Fault, indices: Sequence[int]) -> TableError:
    """The first few rows at fault, by number and path."""
    shown = ", ".join(f"row {columns.rows[index]} ({columns.paths[index][:80]!r})" for index in indices[:_SHOWN])
    more = f" and {len(indices) - _SHOWN:,} more" if len(indices) > _SHOWN else ""
    return TableError(
        f"{fault.code}: {fault.words}: {shown}{more}",
        where=f"{columns.source}, row {columns.rows[indices[0]]}",
        remedy=fault.remedy,
    )


def _rows_with(column: Coded, value: str) -> list[int]:
    return [int(index) for index in np.flatnonzero(column.codes == column.names[value])]


def _check_values(columns: Columns) -> None:
    for word, column in (("label", columns.labels), ("split", columns.splits), ("group", columns.groups)):
        for value in column.names:
            if word == "label" and not value.strip():
                fault = _Fault("blank_label", "the label is blank", "give every picture a class, or leave the row out")
                raise _refusal(columns, fault, _rows_with(column, value))
            if value != value.strip():
                fault = _Fault("extra_spaces", f"there are spaces around the {word} {value!r}", "take them away")
                raise _refusal(columns, fault, _rows_with(column, value))
    for value in columns.splits.names:
        if value and value.lower() not in SPLIT_OF_FOLDER:
            fault = _Fault("unknown_split", f"{value!r} is no part", "write train, val or test, or leave it blank")
            raise _refusal(columns, fault, _rows_with(columns.splits, value))


def _check_paths(columns: Columns) -> None:
    first: dict[str, int] = {}
    for index, path in enumerate(columns.paths):
        if path != path.strip() or not path:
            words = "there are spaces around the path" if path.strip() else "the path is blank"
            code = "extra_spaces" if path.strip() else "blank_path"
            raise _refusal(columns, _Fault(code, words, "write the path of the picture, nothing else"), [index])
        if _DRIVE.match(path):
            remedy = "write paths relative to the table's folder, with forward slashes: cats/1.png"
            fault = _Fault("absolute_windows_path", "a path of a Windows drive, which exists nowhere else", remedy)
            raise _refusal(columns, fault, [index])
        plain = os.path.normpath(path) if _NOT_PLAIN.search(path) else path
        if first.setdefault(plain, index) != index:
            raise _duplicate(columns, first[plain], index)


def _duplicate(columns: Columns, first: int, second: int) -> TableError:
    codes = columns.labels.codes
    if codes[first] == codes[second]:
        fault = _Fault("duplicate_row", "the same picture is named twice", "keep one of the rows")
    else:
        names = list(columns.labels.names)
        words = f"the same picture is called {names[codes[first]]!r} and {names[codes[second]]!r}"
        fault = _Fault("label_conflict", words, "keep the row that is right")
    return _refusal(columns, fault, [first, second])


def _check_numbers(columns: Columns, *, allow_empty_class: bool) -> frozenset[str]:
    """Labels that are whole numbers without gaps, or with gaps that are meant; returns the classes these declare."""
    if not all(name.isascii() and name.isdigit() for name in columns.labels.names):
        return frozenset()
    numbers = sorted({int(name) for name in columns.labels.names})
    low, high = numbers[0], numbers[-1]
    if high - low + 1 == len(numbers):
        return frozenset()
    if allow_empty_class:
        return frozenset(str(number) for number in range(low, high + 1)) if high < _MOST_DECLARED else frozenset()
    after = next(number for number, next_one in pairwise(numbers) if next_one != number + 1)
    beyond = next(number for number in numbers if number > after)
    name = next(name for name in columns.labels.names if int(name) == beyond)
    fault = _Fault(
        "label_gap",
        f"the labels are numbers from {low} to {high}, but {after + 1} is none of them; after {after} comes {beyond}",
        "write names instead of numbers, or accept it with allow_empty_class (--allow-empty-class)",
    )
    raise _refusal(columns, fault, _rows_with(columns.labels, name))


def _from_files(root: Path, columns: Columns) -> tuple[Sequence[Item], bytes]:
    """The pictures, and what changes when they do."""
    marks = _look_for_files(root, columns)
    return FilesBelow(root, columns.paths), _stamp(columns.paths, np.ascontiguousarray(marks).tobytes())


def _from_archive(inside: Members, columns: Columns) -> tuple[Sequence[Item], bytes]:
    """The same for members of an archive; all rows lead into the one that the first leads into."""
    outside = [index for index, path in enumerate(columns.paths) if not path.startswith(inside.prefix)]
    if outside:
        words = f"{len(outside):,} rows do not lead into {inside.prefix[:-1]}, as the first row does"
        remedy = "name pictures of one archive, or of no archive, in a table"
        raise _refusal(columns, _Fault("several_archives", words, remedy), outside)
    names = [path.removeprefix(inside.prefix) for path in columns.paths]
    missing = [index for index, name in enumerate(names) if name not in inside.items]
    if missing:
        words = f"{len(missing):,} of {len(names):,} rows name members that {inside.prefix[:-1]} does not have"
        remedy = "write the names as the archive has them; mend the rows or remove them"
        raise _refusal(columns, _Fault("missing_file", words, remedy), missing)
    return tuple(inside.items[name] for name in names), _stamp(columns.paths, inside.stamp)


def _look_for_files(root: Path, columns: Columns) -> npt.NDArray[np.int64]:
    """Size and time of every file, int64 (N, 2); zeros where these may not be asked for."""
    marks = np.zeros((len(columns.paths), 2), dtype=np.int64)
    missing = []
    base = str(root)
    for index, path in enumerate(columns.paths):
        try:
            status = os.stat(os.path.join(base, path))  # noqa: PTH116, PTH118 - pathlib takes four times as long
        except FileNotFoundError:
            missing.append(index)
        except (OSError, ValueError):
            continue  # the decoder finds the reason again, and a reason code for it
        else:
            if stat.S_ISDIR(status.st_mode):
                fault = _Fault("not_a_file", "this is a folder", "name the pictures in it, one per row")
                raise _refusal(columns, fault, [index])
            marks[index] = status.st_size, status.st_mtime_ns
    if missing:
        words = f"{len(missing):,} of {len(columns.paths):,} rows name files that do not exist"
        remedy = f"paths are relative to {root}, with forward slashes; mend them or remove the rows"
        raise _refusal(columns, _Fault("missing_file", words, remedy), missing)
    return marks


def _class_names(labels: Coded) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Names in NFC, each once, and the code of every row."""
    names: dict[str, int] = {}
    position = [names.setdefault(class_name_of(name), len(names)) for name in labels.names]
    return tuple(names), np.array(position, dtype=np.int64)[labels.codes]


def _splits(columns: Columns) -> npt.NDArray[np.str_]:
    names = [SPLIT_OF_FOLDER[name.lower()] if name else UNASSIGNED for name in columns.splits.names]
    return _spread(names, columns.splits.codes)


def _spread(names: Sequence[str], codes: npt.NDArray[np.int64]) -> npt.NDArray[np.str_]:
    return np.asarray(np.array(names, dtype=np.str_)[codes], dtype=np.str_)


def _first_rows(columns: Columns) -> str:
    """What the first rows were taken for, so that a mix-up is seen before the work."""
    return f"the table begins: {' · '.join(_in_words(columns))}"


def _in_words(columns: Columns) -> Iterator[str]:
    labels, splits = list(columns.labels.names), list(columns.splits.names)
    for index, path in enumerate(columns.paths[:_FIRST]):
        split = splits[columns.splits.numbers[index]]
        yield f"{printable(path)} is {labels[columns.labels.numbers[index]]}{f' ({split})' if split else ''}"


def _stamp(paths: Sequence[str], marks: bytes) -> bytes:
    digest = hashlib.sha256(marks)
    for path in paths:
        digest.update(path.encode("utf-8", "surrogateescape") + b"\0")
    return digest.digest()
