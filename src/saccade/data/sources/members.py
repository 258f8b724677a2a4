"""The members of a zip under the names that listing and reading agree on."""

from __future__ import annotations

import zipfile

_UTF8_FLAG = 0x800


def decoded_name(info: zipfile.ZipInfo) -> str:
    """The name of a member. Many programs write UTF-8 without saying so, which zipfile takes for CP437."""
    name = info.filename
    if name.isascii() or info.flag_bits & _UTF8_FLAG:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def has_undeclared_name(info: zipfile.ZipInfo) -> bool:
    """Whether nobody can say which letters the folders in the name of this member stand for."""
    folders, _, _ = info.filename.rpartition("/")
    if folders.isascii() or info.flag_bits & _UTF8_FLAG:
        return False
    return decoded_name(info) == info.filename


def by_name(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Name -> member. Of several members with one name, the first (zipfile itself would hand out the last)."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        members.setdefault(decoded_name(info), info)
    return members
