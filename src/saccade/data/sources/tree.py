"""Files in folders -> classes and parts: the same rules on disk and inside an archive."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from saccade.data.cells import printable
from saccade.data.formats import PICTURE_SUFFIXES
from saccade.data.listing import UNASSIGNED, FilesBelow, Item, Skipped
from saccade.data.sources.labelled import Labelled
from saccade.data.sources.names import (
    ARCHIVE_SUFFIXES,
    NOT_PICTURE_SUFFIXES,
    SPLIT_OF_FOLDER,
    class_name_of,
    ignored_note,
    name_conflicts,
    suffix_of,
)
from saccade.errors import LayoutError

Parts = tuple[str, ...]

LAYOUT = (
    "put the pictures of each class into a folder of its name: ROOT/cats/1.jpg, ROOT/dogs/2.jpg; where the parts "
    "are given: ROOT/train/cats/1.jpg, ROOT/val/cats/2.jpg, ROOT/test/cats/3.jpg. Also accepted: a .zip "
    "or .tar of such a folder, a .csv with the columns path and label, an .npz with X_train, y_train, X_test, y_test, "
    "the four idx files of MNIST, a CIFAR archive, WebDataset shards"
)


class Leaf(NamedTuple):
    """A file that may be a picture: its path below the root in parts, and two numbers that change when it does.

    `item` is None for a file on the disk, which `Tree.root` and the parts name: of a million files, each byte counts.
    """

    parts: Parts
    item: Item | None
    mark: tuple[int, int]

    @property
    def name(self) -> str:
        """Its name in messages."""
        return printable("/".join(self.parts)) if self.item is None else self.item.name


@dataclass
class Tree:
    """What a walk found: files, folders (also empty ones), and what was left out."""

    source: str
    root: Path | None = None
    leaves: list[Leaf] = field(default_factory=list)
    folders: set[Parts] = field(default_factory=set)
    skipped: list[Skipped] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


class _Layout(NamedTuple):
    """Where the classes begin: below `base`, and below one more folder where `splits` maps its name to a part."""

    base: Parts
    splits: dict[str, str]
    notes: list[str]


def labelled_tree(tree: Tree) -> Labelled:
    """Find the parts and classes in a tree.

    Raises:
        LayoutError: no class folders, pictures beside class folders, or folders of which only some are parts.
    """
    tree.leaves.sort(key=lambda leaf: leaf.parts)
    layout = _find_layout(tree)
    start = len(layout.base) + bool(layout.splits)
    leaves, skipped = _usable_leaves(tree, layout, start)
    names: dict[str, int] = {}
    codes = np.empty(len(leaves), dtype=np.int64)
    splits = []
    for row, leaf in enumerate(leaves):
        codes[row] = names.setdefault(class_name_of(leaf.parts[start]), len(names))
        splits.append(layout.splits[leaf.parts[start - 1]] if layout.splits else UNASSIGNED)
    class_folders = {folder[: start + 1] for folder in tree.folders if len(folder) > start}
    class_folders = {folder for folder in class_folders if folder[: len(layout.base)] == layout.base}
    if not class_folders:
        raise _no_classes(tree, layout)
    return Labelled(
        source=tree.source,
        items=_items(tree, leaves),
        names=tuple(names),
        codes=codes,
        splits=np.array(splits, dtype=np.str_),
        declared=_declared(class_folders, layout, start),
        skipped=(*tree.skipped, *skipped),
        notes=(
            *ignored_note(tree.ignored),
            *tree.notes,
            *layout.notes,
            *name_conflicts(folder[-1] for folder in class_folders),
            *_depth_note(leaves, start),
        ),
        stamp=_stamp(tree.leaves),
    )


def _items(tree: Tree, leaves: list[Leaf]) -> Sequence[Item]:
    if tree.root is not None:
        return FilesBelow(tree.root, ["/".join(leaf.parts) for leaf in leaves])
    return tuple(leaf.item for leaf in leaves if leaf.item is not None)


def _declared(class_folders: set[Parts], layout: _Layout, start: int) -> dict[str, frozenset[str]]:
    declared: dict[str, set[str]] = {}
    for folder in class_folders:
        split = layout.splits[folder[start - 1]] if layout.splits else UNASSIGNED
        declared.setdefault(split, set()).add(class_name_of(folder[start]))
    return {split: frozenset(found) for split, found in declared.items()}


def _find_layout(tree: Tree) -> _Layout:
    base: Parts = ()
    notes = []
    while len(wrapped := _children(tree, base)) == 1 and _is_wrapper(tree, base, wrapped[0]):
        base = (*base, wrapped[0])
    if base:
        notes.append(f"the classes lie inside {printable('/'.join(base))}")
    children = _children(tree, base)
    splits = {name: SPLIT_OF_FOLDER[name.lower()] for name in children if name.lower() in SPLIT_OF_FOLDER}
    if not splits:
        return _Layout(base, {}, notes)
    if len(set(splits.values())) < len(splits):
        raise LayoutError(
            f"several folders stand for the same part: {', '.join(sorted(splits))}",
            where=tree.source,
            remedy="keep one folder for each of train, val and test",
        )
    others = [printable(name) for name in children if name not in splits]
    if not others:
        return _Layout(base, splits, notes)
    if any(_children(tree, (*base, name)) for name in splits):
        raise LayoutError(
            f"mixed_layout: beside {', '.join(sorted(splits))} there are folders that are no part: "
            f"{', '.join(others[:5])}",
            where=tree.source,
            remedy="move them elsewhere: the folders are either all parts (train, val, test) or all classes; a class "
            "that is called like a part has its pictures directly in its folder",
        )
    notes.append(
        f"the folder {', '.join(sorted(splits))} is taken for a class, because {others[0]} beside it is no part"
    )
    return _Layout(base, {}, notes)


def _children(tree: Tree, base: Parts) -> list[str]:
    depth = len(base)
    return sorted({folder[depth] for folder in tree.folders if len(folder) > depth and folder[:depth] == base})


def _is_wrapper(tree: Tree, base: Parts, name: str) -> bool:
    """Whether the only folder of `base` merely wraps the real root (as an unpacked download does)."""
    inner = (*base, name)
    inside = len(_children(tree, inner))
    if name.lower() in SPLIT_OF_FOLDER or _has_pictures(tree, base) or not inside:
        return False
    return inside > 1 or not _has_pictures(tree, inner)


def _has_pictures(tree: Tree, folder: Parts) -> bool:
    depth = len(folder)
    return any(
        len(leaf.parts) == depth + 1 and leaf.parts[:depth] == folder and _looks_like_picture(leaf)
        for leaf in tree.leaves
    )


def _looks_like_picture(leaf: Leaf) -> bool:
    return suffix_of(leaf.parts[-1]) in PICTURE_SUFFIXES


def _usable_leaves(tree: Tree, layout: _Layout, start: int) -> tuple[list[Leaf], list[Skipped]]:
    """Split the leaves into pictures inside class folders and files that are left out; refuse stray pictures."""
    usable, skipped, strays = [], [], []
    for leaf in tree.leaves:
        inside = len(leaf.parts) > start + 1
        if suffix_of(leaf.parts[-1]) in NOT_PICTURE_SUFFIXES:
            skipped.append(Skipped(leaf.name, "not_a_picture_name", "its extension is not a picture's"))
        elif inside:
            usable.append(leaf)
        elif _looks_like_picture(leaf):
            strays.append(leaf)
        else:
            skipped.append(Skipped(leaf.name, "not_a_picture_name", "it lies outside the class folders"))
    if strays and usable:
        raise LayoutError(
            f"mixed_layout: {len(strays)} pictures lie beside the class folders instead of in one, for example "
            f"{', '.join(leaf.name for leaf in strays[:3])}",
            where=tree.source,
            remedy="move each into the folder of its class, or out of the way",
        )
    if strays:
        raise _no_classes(tree, layout)
    return usable, skipped


def _no_classes(tree: Tree, layout: _Layout) -> LayoutError:
    place = ", ".join(sorted(layout.splits)) or "it"
    what = f"there are no class folders in {place}, so nothing says what the pictures show"
    names = [leaf.name for leaf in tree.leaves] + [skipped.name for skipped in tree.skipped]
    archives = [name for name in names if suffix_of(name) in ARCHIVE_SUFFIXES]
    if archives:
        what += f"; it holds archives ({', '.join(archives[:3])}), which must be unpacked first"
    return LayoutError(what, where=tree.source, remedy=LAYOUT)


def _depth_note(leaves: list[Leaf], start: int) -> list[str]:
    deepest = max((len(leaf.parts) - start - 2 for leaf in leaves), default=0)
    if deepest <= 0:
        return []
    depth = "1 folder" if deepest == 1 else f"{deepest} folders"
    return [f"pictures lie up to {depth} deep inside their class; the first folder names the class"]


def _stamp(leaves: list[Leaf]) -> bytes:
    digest = hashlib.sha256()
    for leaf in leaves:
        line = f"{'/'.join(leaf.parts)}\0{leaf.mark[0]}\0{leaf.mark[1]}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.digest()
