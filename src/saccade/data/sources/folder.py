"""A folder per class, on disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from saccade.data.cells import printable
from saccade.data.listing import Skipped
from saccade.data.sources.labelled import Labelled
from saccade.data.sources.names import is_ignored
from saccade.data.sources.tree import Leaf, Parts, Tree, labelled_tree
from saccade.errors import LayoutError


def read_folder(root: Path, *, follow_links: bool = True) -> Labelled:
    """List the pictures below `root`; nothing is opened.

    Every real folder and file is listed once; links come after them, and a link to what was listed already is
    left out and reported.

    Raises:
        LayoutError: `root` cannot be read or does not name the class of every picture.
    """
    walk = _Walk(root, Path(os.path.realpath(root)), Tree(str(root), root), follow_links)
    try:
        walk.enter((), root.stat())
        with os.scandir(root):
            pass
    except OSError as error:
        remedy = "check the path, and that you may read it"
        raise LayoutError(f"the folder cannot be read ({error.strerror})", where=str(root), remedy=remedy) from error
    walk.run()
    if walk.num_outside:
        walk.tree.notes.append(f"followed {walk.num_outside} links that lead out of the folder")
    return labelled_tree(walk.tree)


@dataclass
class _Walk:
    root: Path
    real_root: Path
    tree: Tree
    follow_links: bool
    folders: list[Parts] = field(default_factory=list)
    links: list[Parts] = field(default_factory=list)
    seen: dict[tuple[int, int], Parts] = field(default_factory=dict)
    num_outside: int = 0

    def run(self) -> None:
        """Walk real folders first, so that what a link shares with them is listed under its real name."""
        while self.folders or self.links:
            if self.folders:
                for entry, parts in self._entries(self.folders.pop()):
                    self._visit(entry, parts)
            else:
                self.links.sort(reverse=True)
                self._follow(self.links.pop())

    def enter(self, parts: Parts, status: os.stat_result) -> bool:
        """Remember a folder to be read; False where it was met before under another name."""
        key = (status.st_dev, status.st_ino)
        if key in self.seen:
            return False
        self.seen[key] = parts
        self.folders.append(parts)
        if parts:
            self.tree.folders.add(parts)
        return True

    def _entries(self, folder: Parts) -> Iterator[tuple[os.DirEntry[str], Parts]]:
        try:
            with os.scandir(self.root.joinpath(*folder)) as entries:
                for entry in entries:
                    if is_ignored(entry.name):
                        self.tree.ignored[entry.name] += 1
                    else:
                        yield entry, (*folder, entry.name)
        except OSError as error:
            self._skip(folder, error)

    def _visit(self, entry: os.DirEntry[str], parts: Parts) -> None:
        try:
            if entry.is_symlink():
                self.links.append(parts)
            elif entry.is_dir(follow_symlinks=False):
                # Asked again, because the entry itself knows no inode on Windows.
                self.enter(parts, Path(entry.path).stat())
            else:
                self._add(parts, entry.stat(follow_symlinks=False))
        except OSError as error:
            self._skip(parts, error)

    def _add(self, parts: Parts, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            detail = "a pipe, socket or device; opening it could wait for ever"
            self.tree.skipped.append(Skipped(_name(parts), "not_regular_file", detail))
            return
        self.tree.leaves.append(Leaf(parts, None, (status.st_size, status.st_mtime_ns)))

    def _follow(self, parts: Parts) -> None:
        path = self.root.joinpath(*parts)
        if not self.follow_links:
            self.tree.skipped.append(Skipped(_name(parts), "link_not_followed", "links are not followed, as asked"))
            return
        try:
            status = path.stat()
        except FileNotFoundError:
            self.tree.skipped.append(Skipped(_name(parts), "missing", "a link to something that does not exist"))
            return
        except OSError as error:
            self._skip(parts, error)
            return
        target = Path(os.path.realpath(path))
        if target == self.real_root or self.real_root in target.parents:
            self._follow_inside(parts, status, target)
            return
        self.num_outside += 1
        if stat.S_ISDIR(status.st_mode):
            if not self.enter(parts, status):
                self._skip_seen(parts, target)
        elif self._is_new(status, parts):
            self._add(parts, status)
        else:
            self._skip_seen(parts, target)

    def _follow_inside(self, parts: Parts, status: os.stat_result, target: Path) -> None:
        """A link to something in the same tree: it was listed already, unless it lies in an ignored folder."""
        hidden = any(is_ignored(part) for part in target.relative_to(self.real_root).parts)
        if stat.S_ISDIR(status.st_mode):
            if not self.enter(parts, status):
                self._skip_seen(parts, target)
        elif hidden and self._is_new(status, parts):
            self._add(parts, status)
        else:
            self._skip_seen(parts, target)

    def _is_new(self, status: os.stat_result, parts: Parts) -> bool:
        return self.seen.setdefault((status.st_dev, status.st_ino), parts) == parts

    def _skip_seen(self, parts: Parts, target: Path) -> None:
        own_folder = Path(os.path.realpath(self.root.joinpath(*parts[:-1])))
        loop = target == own_folder or target in own_folder.parents
        reason = "link_loop" if loop else "seen_before"
        detail = f"this link leads to {printable(str(target))}, which is listed already"
        self.tree.skipped.append(Skipped(_name(parts), reason, detail))

    def _skip(self, parts: Parts, error: OSError) -> None:
        if isinstance(error, PermissionError):
            reason = "permission_denied"
        elif isinstance(error, FileNotFoundError):
            reason = "missing"
        else:
            reason = "io_error"
        self.tree.skipped.append(Skipped(_name(parts), reason, error.strerror or str(error)))


def _name(parts: Parts) -> str:
    return printable("/".join(parts))
