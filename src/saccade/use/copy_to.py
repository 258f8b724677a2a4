"""Pictures copied into a folder per class. Neither the names of files nor those of classes are trusted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from saccade.data.cells import printable
from saccade.data.sources.read import read_item
from saccade.errors import DataError, PictureError, UsageError
from saccade.use.inputs import ArrayItem, Named
from saccade.use.predict import Prediction
from saccade.use.squares import Encoded, Refused

NOT_SURE, UNREADABLE = "_not_sure", "_unreadable"

_LONGEST = 120  # signs of a name; with its number it stays below what file systems allow, in bytes too
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])$", re.IGNORECASE)  # by Windows
_MOST_TRIED = 10_000_000
_MOST_REMEMBERED = 100_000  # names whose next number is known; without it, a thousand `image.jpg` are tried in turn


class Sorter:
    """Copies each picture into the folder of its class, of the unsure or of the unreadable ones; overwrites nothing.

    Args:
        folder: where these folders are made.
        class_names: of the network.

    Attributes:
        num_copied: pictures so far.

    Raises:
        UsageError: `folder` is a file, or a folder of a class in it is a link.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.num_copied = 0
        self._root = folder
        self._folders = _folder_names(class_names)
        self._next: dict[str, int] = {}
        if folder.exists() and not folder.is_dir():
            raise UsageError("the place to copy to is a file", where=f"--copy-to {folder}", remedy="name a folder")
        for name in (*self._folders.values(), NOT_SURE, UNREADABLE):
            if (folder / name).is_symlink():
                raise UsageError(
                    f"{name!r} in the place to copy to is a link, and what it leads to is not trusted",
                    where=f"--copy-to {folder}",
                    remedy="name a new folder",
                )

    def place(
        self, picture: Named, prediction: Prediction, announce: Callable[[Path], None] = lambda target: None
    ) -> Path | None:
        """Copy one; returns where it lies now, None where there are no bytes to copy.

        Args:
            picture: its name is used for the copy, after all that could lead elsewhere was taken out.
            prediction: about it.
            announce: told the name before the copy has it.

        Raises:
            OSError: the disk refuses.
        """
        data = _bytes_of(picture)
        if data is None:
            return None
        folder = self._root / self._folder_of(prediction)
        folder.mkdir(parents=True, exist_ok=True)
        stem, suffix = os.path.splitext(safe_name(_last_part(picture)))  # noqa: PTH122
        target = self._write(folder / stem, suffix, data, announce)
        self.num_copied += 1
        return target

    def _folder_of(self, prediction: Prediction) -> str:
        if prediction.class_name is None:
            return UNREADABLE
        return self._folders[prediction.class_name] if prediction.sure else NOT_SURE

    def _write(self, stem: Path, suffix: str, data: bytes, announce: Callable[[Path], None]) -> Path:
        """Under the first name that is free: `dog.jpg`, `dog-2.jpg`, ...; whole, or not at all."""
        partial = stem.with_name(".copying.partial")
        partial.unlink(missing_ok=True)
        key = f"{stem}{suffix}"
        try:
            with partial.open("xb") as file:
                file.write(data)
            for number in range(self._next.get(key, 1), _MOST_TRIED):
                target = stem.with_name(f"{stem.name}{suffix}" if number == 1 else f"{stem.name}-{number}{suffix}")
                if target.is_symlink() or target.exists():
                    continue
                announce(target)
                with suppress(FileExistsError):
                    _name(partial, target)
                    self._next = self._next if len(self._next) < _MOST_REMEMBERED else {}
                    self._next[key] = number + 1
                    return target
        finally:
            partial.unlink(missing_ok=True)
        raise DataError(f"too many pictures are called {stem.name}{suffix}", where=str(stem.parent))


def _name(partial: Path, target: Path) -> None:
    """Give a whole file its name.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(partial, target)  # fails where the name is taken, in one step
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with target.open("xb") as file:
            file.write(partial.read_bytes())


def safe_name(name: str) -> str:
    """A name that is one file or folder, on every system, and hidden on none; never a path."""
    text = _FORBIDDEN.sub("_", printable(name)).strip(" .") or "_"
    stem, suffix = os.path.splitext(text)  # noqa: PTH122
    if _RESERVED.match(stem):
        stem = f"{stem}_"
    suffix = suffix[:20]
    while len((stem + suffix).encode()) > 2 * _LONGEST or len(stem + suffix) > _LONGEST:
        stem = stem[:-1]
    return (stem.rstrip(" .") or "_") + suffix


def _folder_names(class_names: Sequence[str]) -> dict[str, str]:
    """A folder for each class, no two alike, also where case makes no difference."""
    taken, folders = {NOT_SURE, UNREADABLE}, {}
    for class_name in class_names:
        wanted = safe_name(class_name)
        number, name = 1, wanted
        while name.casefold() in taken:
            number += 1
            name = f"{wanted}-{number}"
        taken.add(name.casefold())
        folders[class_name] = name
    return folders


def _last_part(picture: Named) -> str:
    return re.split(r"[/\\]", picture.name.rstrip("/\\"))[-1]


def _bytes_of(picture: Named) -> bytes | None:
    item = picture.item
    if isinstance(item, Encoded):
        return item.data
    if isinstance(item, ArrayItem | Refused):
        return None
    with suppress(PictureError):
        return read_item(item)
    return None
