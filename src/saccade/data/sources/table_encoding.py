"""In which encoding a text file is: said by its first bytes, proved by its bytes, or asked for; never guessed."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

from saccade.errors import TableError

# Old encodings of spreadsheets. Most bytes mean something in each of them, so only the files' names can decide.
_OLD = ("cp949", "cp932", "gb18030", "big5", "cp1252")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CHUNK = 2**20


def encoding_of(path: Path, fits: Callable[[str], bool]) -> str:
    """The encoding of a text file, as Python calls it.

    Args:
        path: the file.
        fits: whether, read in this encoding, what the file names exists.

    Raises:
        TableError: several encodings are possible, or none is.
    """
    with path.open("rb") as file:
        head = file.read(64)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return _checked(path, encoding)
    if b"\0" in head:
        return _checked(path, "utf-16-le" if head[1:2] == b"\0" else "utf-16-be")
    if _first_wrong_byte(path, "utf-8") is None:
        return "utf-8"
    possible = [encoding for encoding in _OLD if _first_wrong_byte(path, encoding) is None]
    proved = [encoding for encoding in possible if fits(encoding)]
    if len(proved) == 1:
        return proved[0]
    raise _unknown(path, possible)


def _checked(path: Path, encoding: str) -> str:
    wrong = _first_wrong_byte(path, encoding)
    if wrong is None:
        return encoding
    raise TableError(
        f"damaged_text: the file begins like {encoding.removesuffix('-sig')} and is not, at byte {wrong:,}",
        where=str(path),
        remedy="save it again as UTF-8",
    )


def _first_wrong_byte(path: Path, encoding: str) -> int | None:
    """Roughly where the file stops being text in this encoding (exactly, where it fails within a piece)."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done = 0
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                return done + error.start
            done += len(piece)
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return done
    return None


def _unknown(path: Path, possible: list[str]) -> TableError:
    wrong = _first_wrong_byte(path, "utf-8") or 0
    with path.open("rb") as file:
        before = file.read(wrong)
        line = before.rpartition(b"\n")[2] + file.read(200).partition(b"\n")[0]
    readings = "; ".join(f"as {name} {line.decode(name, 'replace').strip()[:60]!r}" for name in possible)
    row = before.count(b"\n") + 1
    return TableError(
        f"unknown_encoding: the table is not UTF-8, and what else it is cannot be told: row {row} reads {readings}",
        where=f"{path}, row {row}",
        remedy='save it as "CSV UTF-8" (spreadsheets), or convert it: iconv -f CP949 -t UTF-8 OLD.csv > NEW.csv',
    )
