"""Parts of pictures with their labels -> Labelled: what every form that holds arrays ends with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.data.sources.array_labels import code_labels
from saccade.data.sources.array_pixels import NamedArray, join_pictures
from saccade.data.sources.labelled import Labelled, row_items


class Part(NamedTuple):
    """The pictures and labels of one split."""

    split: str
    images: NamedArray
    labels: NamedArray


class Origin(NamedTuple):
    """Where arrays came from: the user's word for it, a checksum of the bytes, and what to tell the user."""

    source: str
    stamp: bytes
    notes: tuple[str, ...] = ()


def assemble(parts: Sequence[Part], origin: Origin, class_names: Sequence[str] | None = None) -> Labelled:
    """Join parts in the given order.

    Raises:
        ArrayError: pictures or labels that cannot be that, or that do not fit together.
    """
    names: dict[str, int] = {}
    codes: list[npt.NDArray[np.int64]] = []
    declared: dict[str, frozenset[str]] = {}
    for part in parts:
        images: npt.NDArray[Any] = part.images.values
        num_pictures = len(images) if images.ndim else 0
        coded = code_labels(part.labels, num_pictures, origin.source, class_names)
        position = np.array([names.setdefault(name, len(names)) for name in coded.names], dtype=np.int64)
        codes.append(position[coded.codes])
        declared[part.split] = coded.declared
    array = join_pictures([part.images for part in parts], origin.source)
    sizes = [(part.images.name, len(part.images.values)) for part in parts]
    return Labelled(
        source=origin.source,
        items=row_items(sizes),
        names=tuple(names),
        codes=np.concatenate(codes),
        splits=np.repeat([part.split for part in parts], [size for _, size in sizes]),
        declared=declared,
        array=array,
        notes=origin.notes,
        stamp=origin.stamp,
    )
