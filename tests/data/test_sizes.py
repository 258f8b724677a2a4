"""sizes.py: how large pictures are, from their headers alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.data.decode import DecodeRules, decode, size_of
from saccade.data.sizes import typical_size
from saccade.data.sources.open import open_pictures
from saccade.errors import PictureError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")


def _stored(size: tuple[int, int], kind: str) -> bytes:
    held = io.BytesIO()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(held, kind)
    return held.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_size_of_every_format_is_that_of_the_decoded_picture(kind: str) -> None:
    data = _stored((37, 21), kind)
    assert size_of(data, "a") == decode(data, "a", DecodeRules()).original_size == (37, 21)


@pytest.mark.parametrize("data", [b"words", b"\x89PNG\r\n\x1a\nwithout a header"], ids=["text", "cut"])
def test_size_of_what_is_no_picture_is_a_picture_error(data: bytes) -> None:
    with pytest.raises(PictureError):
        size_of(data, "a")


def _folder(root: Path, sizes: list[tuple[int, int]]) -> Path:
    for number, size in enumerate(sizes):
        folder = root / ("a", "b")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03}.png").write_bytes(_stored(size, "PNG"))
    return root


def test_typical_size_is_the_median_and_skips_what_cannot_be_read(tmp_path: Path) -> None:
    root = _folder(tmp_path / "pictures", [(30, 20), (40, 50), (400, 300), (50, 60)])
    (root / "a" / "broken.png").write_bytes(b"nothing")
    assert typical_size(open_pictures(root)) == (45, 55)


def test_typical_size_of_many_pictures_reads_some_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _folder(tmp_path / "pictures", [(16, 12)] * 60)
    asked: list[str] = []

    def counted(data: bytes, name: str) -> tuple[int, int]:
        asked.append(name)
        return size_of(data, name)

    monkeypatch.setattr("saccade.data.sizes.size_of", counted)
    assert typical_size(open_pictures(root)) == (16, 12)
    assert len(set(asked)) == len(asked) == 25
    assert {name.split("/")[0] for name in asked} == {"a", "b"}


def test_typical_size_of_arrays_is_theirs(tmp_path: Path) -> None:
    images = np.zeros((4, 20, 30, 3), dtype=np.uint8)
    images[1::2] = 255
    np.savez(tmp_path / "a.npz", images=images, labels=np.array([0, 1, 0, 1]))
    assert typical_size(open_pictures(tmp_path / "a.npz")) == (30, 20)


def test_typical_size_without_a_readable_picture_is_nothing(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "0.png").write_bytes(b"nothing")
    assert typical_size(open_pictures(tmp_path)) == (0, 0)
