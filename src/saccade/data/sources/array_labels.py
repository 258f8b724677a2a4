"""Labels as people save them (numbers, one-hot rows, names) -> class names and codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.sources.array_pixels import NamedArray
from saccade.data.sources.names import class_name_of
from saccade.errors import ArrayError


class CodedLabels(NamedTuple):
    """`codes` int64 (N,) index into `names`; `declared`: all classes that exist, where the form says so."""

    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]
    declared: frozenset[str]


def code_labels(
    part: NamedArray, num_pictures: int, source: str, class_names: Sequence[str] | None = None
) -> CodedLabels:
    """Read the labels of `num_pictures` pictures.

    Args:
        part: whole numbers (N,) or (N, 1), one-hot rows (N, K), or names (N,).
        num_pictures: how many there must be.
        source: for messages.
        class_names: what the numbers stand for, where the file says it; else a number is its own name.

    Raises:
        ArrayError: another form, negative or fractional numbers, rows that are not one-hot, or a wrong count.
    """
    values = part.values
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if len(values.shape) not in (1, 2) or len(values) != num_pictures:
        raise ArrayError(
            f"{part.name} has the shape {part.values.shape}, but there are {num_pictures} pictures",
            where=source,
            remedy="save exactly one label per picture: numbers, names, or one-hot rows",
        )
    if values.ndim == 2:
        numbers = _from_one_hot(NamedArray(part.name, values), source)
        every = _names_of(np.arange(values.shape[1]), class_names, part.name, source)
        return CodedLabels(every, numbers, frozenset(every))
    if values.dtype.kind in "US":
        return _from_names(NamedArray(part.name, values), source)
    unique, codes = np.unique(_whole(NamedArray(part.name, values), source), return_inverse=True)
    names = _names_of(unique, class_names, part.name, source)
    return CodedLabels(names, codes.astype(np.int64).reshape(-1), frozenset(class_names or ()))


def _from_one_hot(part: NamedArray, source: str) -> npt.NDArray[np.int64]:
    values = part.values
    good = values.dtype.kind in "uifb" and np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()
    if not good:
        raise ArrayError(
            f"{part.name} has the shape {values.shape}, but its rows are not one-hot (one 1, all else 0)",
            where=source,
            remedy="save one number per picture, for example with argmax(axis=1)",
        )
    return np.asarray(values.argmax(axis=1), dtype=np.int64)


def _from_names(part: NamedArray, source: str) -> CodedLabels:
    texts = part.values
    if texts.dtype.kind == "S":
        try:
            texts = np.char.decode(texts, "utf-8")
        except UnicodeDecodeError as error:
            raise ArrayError(
                f"{part.name} holds names that are not UTF-8", where=source, remedy="save them as text (str)"
            ) from error
    unique, codes = np.unique(texts, return_inverse=True)
    names = [class_name_of(str(name)) for name in unique]
    blank = [name for name in names if not name.strip()]
    if blank:
        row = int(np.flatnonzero(codes.reshape(-1) == names.index(blank[0]))[0])
        raise ArrayError(
            f"{part.name} has an empty name in row {row}", where=source, remedy="give every picture a class"
        )
    merged = tuple(dict.fromkeys(names))  # two spellings that NFC makes one
    position = np.array([merged.index(name) for name in names], dtype=np.int64)
    return CodedLabels(merged, position[codes.reshape(-1)], frozenset())


def _whole(part: NamedArray, source: str) -> npt.NDArray[np.int64]:
    values: npt.NDArray[Any] = part.values
    if values.dtype.kind not in "uifb":
        raise ArrayError(
            f"{part.name} has the type {values.dtype}; labels are numbers, names or one-hot rows", where=source
        )
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise ArrayError(
            f"{part.name} has fractional or missing numbers; classes are whole numbers",
            where=source,
            remedy="save whole numbers from 0; predicting a quantity is not classification",
        )
    if len(values) and values.min() < 0:
        row = int(values.argmin())
        raise ArrayError(
            f"{part.name} has the negative label {values[row]} in row {row}",
            where=source,
            remedy="number the classes from 0, and leave unlabelled pictures out",
        )
    return values.astype(np.int64)


def _names_of(
    numbers: npt.NDArray[np.int64], class_names: Sequence[str] | None, name: str, source: str
) -> tuple[str, ...]:
    if class_names is None:
        return tuple(str(number) for number in numbers.tolist())
    if len(numbers) and int(numbers.max()) >= len(class_names):
        raise ArrayError(
            f"{name} has the label {int(numbers.max())}, but there are only {len(class_names)} class names",
            where=source,
            remedy="name every class, in the order of the numbers from 0",
        )
    return tuple(class_names[number] for number in numbers.tolist())
