"""Names of files and folders: which are nobody's picture, which are parts, and how they are shown."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from saccade.data.cells import printable
from saccade.data.listing import TEST, TRAIN, VAL

SPLIT_OF_FOLDER: Mapping[str, str] = MappingProxyType(
    {
        "train": TRAIN,
        "training": TRAIN,
        "val": VAL,
        "valid": VAL,
        "validation": VAL,
        "test": TEST,
        "testing": TEST,
    }
)

_SYSTEM_NAMES = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "__macosx",
        "@eadir",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "icon\r",
    }
)

ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})

# Extensions that no picture has. Whatever else there is (also no extension) is decided by its content.
NOT_PICTURE_SUFFIXES = ARCHIVE_SUFFIXES | frozenset(
    {
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".rst", ".xml", ".html", ".htm", ".css", ".js"),
        *(".yaml", ".yml", ".toml", ".ini", ".cfg", ".log", ".py", ".pyc", ".ipynb", ".sh", ".bat", ".m", ".r"),
        *(".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".ods", ".rtf", ".tex", ".url", ".lnk"),
        *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".mp3", ".wav", ".flac", ".ogg", ".srt"),
        *(".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".pth", ".safetensors", ".onnx"),
        *(".parquet", ".db", ".sqlite", ".exe", ".dll", ".so", ".part", ".crdownload"),
    }
)


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name belongs to the system, to an editor or is hidden: never a class."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def suffix_of(name: str) -> str:
    """The extension in lower case, with its dot; empty where there is none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - four times as fast, and asked for every file


def ignored_note(ignored: Counter[str]) -> list[str]:
    """One sentence on everything that was ignored by name; nothing where nothing was."""
    if not ignored:
        return []
    examples = ", ".join(printable(name) for name, _ in ignored.most_common(3))
    return [f"ignored {ignored.total()} hidden or system files and folders ({examples})"]


def class_name_of(folder: str) -> str:
    """The class that a folder names: NFC, so that the same word typed on two systems is one class."""
    return unicodedata.normalize("NFC", printable(folder))


def name_conflicts(folders: Iterable[str]) -> list[str]:
    """A sentence for each group of class folders that look alike, from their names as stored."""
    groups: dict[str, set[str]] = {}
    for folder in folders:
        groups.setdefault(class_name_of(folder).strip().casefold(), set()).add(folder)
    return [_conflict_note(sorted(group)) for _, group in sorted(groups.items()) if len(group) > 1]


def _conflict_note(group: list[str]) -> str:
    shown = ", ".join(ascii(name) for name in group)
    if len({class_name_of(name) for name in group}) == 1:
        return f"folders whose names are the same letters stored differently are one class: {shown}"
    return f"class names that differ only in case or spaces are kept apart: {shown}; rename them if they are one"
