"""Looks: what is kept of a picture, and that it does not depend on the network the pack was made for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from saccade.data.decode import DecodeRules
from saccade.data.looks import LOOK, LOOKS_FILE
from saccade.data.pack import Pack, open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sources.open import open_pictures

WORK = Work(1, False, lambda done, total: None)


def pack_at(folder: Path, side: int, fit: str = "squash") -> Pack:
    return open_pack(open_pictures(folder), PackSettings(side, False, fit, DecodeRules()), WORK)  # type: ignore[arg-type]


@pytest.fixture
def folder(cache, encode, noise, write_files, tmp_path) -> Path:
    files = {f"{name}/{index}.png": encode(noise(40, 30, 3, index + ord(name))) for name in "ab" for index in range(4)}
    return write_files(tmp_path / "x", files | {"a/broken.png": b"x", "b/photo.jpg": encode(noise(50, 60, 1), "JPEG")})


def test_looks_are_the_same_for_every_network(folder):
    first, second = pack_at(folder, 10), pack_at(folder, 30, "crop")
    assert first.folder != second.folder
    assert (first.looks == second.looks).all()


def test_looks_say_what_the_files_are(folder):
    pack = pack_at(folder, 10)
    for row, name in enumerate(pack.names):
        look, data = pack.looks[row], (folder / name).read_bytes()
        if pack.reasons[row]:
            assert look == np.zeros(1, dtype=LOOK)[0]
            continue
        assert look["sha256"].decode() == hashlib.sha256(data).hexdigest()
        assert look["num_bytes"] == len(data)
        assert (look["width"], look["height"]) == ((60, 50) if name.endswith("jpg") else (30, 40))
        assert look["format"] == (b"JPEG" if name.endswith("jpg") else b"PNG")


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_pack_whose_looks_are_damaged_is_built_again(folder, damage):
    pack = pack_at(folder, 10)
    expected = np.array(pack.looks)
    path = pack.folder / LOOKS_FILE
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    again = pack_at(folder, 10)
    assert not again.reused
    assert (again.looks == expected).all()
