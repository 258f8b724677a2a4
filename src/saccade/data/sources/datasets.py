"""Hugging Face datasets, known by their surface: nothing of that library is imported, so it need not be installed.

Their pictures are written into the cache as shards, byte by byte as they are, and read from there.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np
from PIL import Image

from saccade.data.cache import cache_folder
from saccade.data.refusals import accepted_format
from saccade.data.sources.names import class_name_of
from saccade.data.sources.shard_writer import Sample, Target, png_of, write_shards
from saccade.errors import DataError, LabelError, PictureError, UsageError


class DatasetLike(Protocol):
    """What is asked of a `datasets.Dataset`."""

    features: Mapping[str, Any]

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any) -> Any: ...


class _Columns(NamedTuple):
    """Which column holds the pictures and which the classes; `names`: what the numbers stand for, or none."""

    picture: str
    label: str
    names: tuple[str, ...] | None


def is_dataset(value: object) -> TypeGuard[DatasetLike]:
    """Whether this looks like a `datasets.Dataset` (a stream, which has no length, does not count)."""
    return isinstance(getattr(value, "features", None), Mapping) and hasattr(value, "__len__")


def keep_datasets(parts: Mapping[str, DatasetLike]) -> Path:
    """Write the pictures of datasets as shards in the cache; returns the folder.

    Raises:
        UsageError: not exactly one column of pictures and one of classes.
        LabelError: a row without a class.
        DataError: a row whose picture cannot be read.
    """
    columns = {split: _columns_of(part) for split, part in parts.items()}
    if len(set(columns.values())) > 1:
        raise UsageError(f"the parts differ in their columns or class names: {columns}", where="the dataset")
    names = next(iter(columns.values())).names
    texts = {split: _texts(part, columns[split], split) for split, part in parts.items()}
    names = names or tuple(sorted({text for each in texts.values() for text in each}))
    folder = cache_folder() / "given" / f"{_title(parts)}-{_key(parts, columns, texts)[:16]}"
    if not folder.is_dir():
        write_shards(_samples(parts, columns, texts, names), Target(folder, "given"), names)
    return folder


def _columns_of(part: DatasetLike) -> _Columns:
    kinds = {name: type(feature).__name__ for name, feature in part.features.items()}
    pictures = [name for name, kind in kinds.items() if kind == "Image"]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels = labels or [name for name in ("label", "labels", "class") if kinds.get(name) == "Value"]
    for word, found in (("pictures (Image)", pictures), ("classes (ClassLabel)", labels)):
        if len(found) != 1:
            listed = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
            raise UsageError(
                f"{len(found)} columns of {word} are there, exactly one is needed; the columns are {listed}",
                where="the dataset",
                remedy="keep one with dataset.remove_columns(...), or name it with dataset.cast_column(...)",
            )
    names = getattr(part.features[labels[0]], "names", None)
    return _Columns(pictures[0], labels[0], tuple(class_name_of(str(name)) for name in names) if names else None)


def _texts(part: DatasetLike, columns: _Columns, split: str) -> list[str]:
    """The class of every row, by name."""
    texts = []
    for row, value in enumerate(part[columns.label]):
        if value is None or (isinstance(value, int) and value < 0) or not str(value).strip():
            raise LabelError(
                f"a row has no class: {value!r}",
                where=f"{split}, row {row}, column {columns.label}",
                remedy="leave such rows out with dataset.filter(...), and parts whose classes are secret altogether",
            )
        texts.append(columns.names[int(value)] if columns.names else class_name_of(str(value)))
    return texts


def _samples(
    parts: Mapping[str, DatasetLike],
    columns: Mapping[str, _Columns],
    texts: Mapping[str, Sequence[str]],
    names: Sequence[str],
) -> Iterator[Sample]:
    numbers = {name: number for number, name in enumerate(names)}
    for split, part in parts.items():
        for row, data in enumerate(_pictures(part, columns[split].picture)):
            name = f"{split}[{row}]"
            try:
                accepted_format(data, name)
            except PictureError as error:
                remedy = "leave the row out with dataset.filter(...) or dataset.select(...)"
                raise DataError(error.what, where=f"{name}, column {columns[split].picture}", remedy=remedy) from error
            yield Sample(name, data, numbers[texts[split][row]], split)


def _pictures(part: Any, column: str) -> Iterator[bytes]:
    """The bytes of every picture, as they were put in where the library still has them."""
    feature = part.features[column]
    if hasattr(part, "select_columns"):
        part = part.select_columns([column])
    if hasattr(part, "cast_column") and getattr(feature, "decode", False):
        part = part.cast_column(column, type(feature)(decode=False))
    for row in range(len(part)):
        yield _bytes_of(part[row][column])


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, Mapping):
        if value.get("bytes"):
            return bytes(value["bytes"])
        try:
            return Path(value["path"]).read_bytes() if value.get("path") else b""
        except OSError as error:
            raise DataError(f"a picture cannot be read ({error.strerror})", where=str(value["path"])) from error
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.save(buffer, "PNG" if value.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "TIFF")
        return buffer.getvalue()
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim in (2, 3):
        return png_of(value if value.ndim == 3 else value[:, :, None])
    return b""


def _title(parts: Mapping[str, DatasetLike]) -> str:
    """What the dataset calls itself, in letters that any file system takes."""
    name = getattr(getattr(next(iter(parts.values())), "info", None), "dataset_name", None)
    return re.sub(r"[^A-Za-z0-9_]+", "_", name)[:40] if isinstance(name, str) and name else "dataset"


def _key(parts: Mapping[str, DatasetLike], columns: Mapping[str, _Columns], texts: Mapping[str, Sequence[str]]) -> str:
    """Changes with the pictures: their library's own fingerprint, or where it has none a checksum of all of them."""
    digest = hashlib.sha256(repr((sorted(parts), columns)).encode())
    for split, part in parts.items():
        for text in texts[split]:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        fingerprint = getattr(part, "_fingerprint", None)
        if isinstance(fingerprint, str) and fingerprint:
            digest.update(fingerprint.encode())
            continue
        for data in _pictures(part, columns[split].picture):
            digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()
