"""Checkpoints on disk: written whole or not at all, checked by checksum, never pickled, two of them kept.

    checkpoint/00000007/       the one before
    checkpoint/00000008/       the newest
      state.safetensors        every tensor
      state.json               everything else
      best.safetensors         files that belong to it, here the best weights; a hard link where the disk has them
      SHA256SUMS               the checksum of each; `sha256sum -c SHA256SUMS` checks them

docs/formats.md describes them. What is in the state, training/resume.py decides.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from saccade.errors import RunError

CHECKPOINT_FORMAT = 1
_TENSORS, _VALUES, _SUMS = "state.safetensors", "state.json", "SHA256SUMS"
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([a-z]+\.[a-z]+)")
_KEPT = 2


class Snapshot(NamedTuple):
    """What is to be kept: tensors by name on any device, plain JSON values, and whole files that belong to them."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class Checkpoint:
    """One that lies on the disk and whose checksums are right.

    Attributes:
        path: its folder.
        values: what was written, as plain JSON values.
    """

    path: Path
    values: Mapping[str, Any]

    def tensors(self) -> dict[str, Tensor]:
        """All of them, on the CPU."""
        return load_file(self.path / _TENSORS)

    def tensors_of(self, part: str) -> dict[str, Tensor]:
        """Those whose names begin with `part/`, by the rest of their names."""
        prefix = f"{part}/"
        with safe_open(self.path / _TENSORS, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (not a dict)
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


class DamagedError(Exception):
    """Why a checkpoint cannot be used; never seen by users."""


class CheckpointFolder:
    """The checkpoints of one training.

    Args:
        folder: of these alone; it is made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, snapshot: Snapshot) -> Path:
        """Add a checkpoint; older ones than the one before it are removed once it has been read back.

        Raises:
            OSError: the disk refused; the ones before are as they were.
        """
        self.folder.mkdir(exist_ok=True)
        self._sweep()
        try:
            return self._write(snapshot)
        except OSError as error:
            if error.errno != errno.ENOSPC or len(self._paths()) < _KEPT:
                raise
        self._forget(self._paths()[:-1])  # the disk is full: the one before makes room, the newest stays
        return self._write(snapshot)

    def newest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """The newest whole one; None where there is none at all.

        Args:
            warn: told of each that is damaged.

        Raises:
            RunError: all of them are damaged, or one was written by a newer version.
        """
        paths = self._paths()
        for path in reversed(paths):
            try:
                return _open(path)
            except (DamagedError, OSError) as error:
                warn(f"the checkpoint {path} is damaged ({error})" + ("; the one before is used" * (path != paths[0])))
        if not paths:
            return None
        raise RunError(
            "every checkpoint of this run is damaged, so it cannot be continued",
            where=str(self.folder),
            remedy="remove that folder and the same command begins the run anew; "
            f"what it had learnt best is in {self.folder.parent / 'weights'}",
        )

    def clear(self) -> None:
        """Remove them all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, snapshot: Snapshot) -> Path:
        paths = self._paths()
        target = self.folder / f"{int(paths[-1].name) + 1 if paths else 1:08}"
        partial = target.with_name(f"{target.name}.partial")
        try:
            partial.mkdir()
            _fill(partial, snapshot)
            partial.rename(target)
            _sync(self.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._forget(paths[: 1 - _KEPT])
        return target

    def _paths(self) -> list[Path]:
        """Whole or damaged, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if re.fullmatch(r"\d{8}", path.name))

    def _forget(self, paths: Sequence[Path]) -> None:
        for path in paths:
            removed = path.with_name(f"{path.name}.removed")  # a name that nobody reads, should this be interrupted
            path.rename(removed)
            shutil.rmtree(removed, ignore_errors=True)

    def _sweep(self) -> None:
        for path in (*self.folder.glob("*.partial"), *self.folder.glob("*.removed")):
            shutil.rmtree(path, ignore_errors=True)


def _fill(folder: Path, snapshot: Snapshot) -> None:
    """Write everything, read it back, and only then write the checksums that make it count."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in snapshot.tensors.items()}
    names = [file.name for file in snapshot.files]
    head = {"format": CHECKPOINT_FORMAT, "written_by": version("saccade"), "files": names}
    try:
        save_file(tensors, folder / _TENSORS)
    except SafetensorError as error:
        number = _errno_in(str(error))
        raise OSError(number, os.strerror(number), str(folder)) from None
    text = json.dumps(head | dict(snapshot.values), indent=1, ensure_ascii=True, allow_nan=False) + "\n"
    (folder / _VALUES).write_text(text, encoding="utf-8")
    for file in snapshot.files:
        _link(file, folder / file.name)
    _compare(folder, tensors, text)
    # The state comes last: a list that is cut off anywhere is one that lacks it.
    lines = [f"{_checksum(folder / name)}  {name}\n" for name in (*names, _TENSORS, _VALUES)]
    (folder / _SUMS).write_text("".join(lines), encoding="ascii")
    for name in (*names, _TENSORS, _VALUES, _SUMS):
        _sync(folder / name)
    _sync(folder)


def _compare(folder: Path, tensors: Mapping[str, Tensor], text: str) -> None:
    """Read back what was written.

    Raises:
        OSError: it is not the same.
    """
    _sync(folder / _TENSORS)
    try:
        with safe_open(folder / _TENSORS, framework="pt") as file:
            same = all(_same_bits(file.get_tensor(name), tensor) for name, tensor in tensors.items())
    except SafetensorError:
        same = False
    if not same or (folder / _VALUES).read_text(encoding="utf-8") != text:
        raise OSError(errno.EIO, "what was written could not be read back", str(folder))


def _same_bits(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.view(-1).view(torch.uint8), second.view(-1).view(torch.uint8))


def _open(path: Path) -> Checkpoint:
    """Check every byte of a checkpoint.

    Raises:
        DamagedError, OSError: it is not what was written.
        RunError: a newer version wrote it.
    """
    sums = _read_sums(path)
    for name, checksum in sums.items():
        if _checksum(path / name) != checksum:
            raise DamagedError(f"the checksum of {name} is wrong")
    values = json.loads((path / _VALUES).read_text(encoding="utf-8"))
    if values["format"] > CHECKPOINT_FORMAT:
        raise RunError(
            f"the checkpoint has format {values['format']} (saccade {values['written_by']}), "
            f"this saccade {version('saccade')} reads up to {CHECKPOINT_FORMAT}",
            where=str(path),
            remedy="pip install --upgrade saccade",
        )
    if list(sums) != [*values["files"], _TENSORS, _VALUES]:
        raise DamagedError("the list of checksums is not complete")
    return Checkpoint(path, values)


def _read_sums(path: Path) -> dict[str, str]:
    text = (path / _SUMS).read_bytes().decode("ascii", errors="replace")
    lines = [_SUM_LINE.fullmatch(line) for line in text.split("\n")[:-1]]
    sums = {line[2]: line[1] for line in lines if line}
    if not text.endswith("\n") or len(sums) != len(lines) or not {_TENSORS, _VALUES} <= sums.keys():
        raise DamagedError(f"{_SUMS} is cut off or changed")
    return sums


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, so that replacing the first leaves this one; a copy where links are unknown.

    Raises:
        OSError: the disk is full, or the file is gone.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOSPC, errno.EDQUOT):
            raise
        shutil.copyfile(source, target)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Have the system bring a file, or the names in a folder, to the disk."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _errno_in(message: str) -> int:
    """The system's number in the words of safetensors, `... (os error 28)`."""
    found = re.search(r"os error (\d+)", message)
    return int(found[1]) if found else errno.EIO
