"""Small pictures and files, built by Pillow, numpy or struct: what the tests of the data part start from."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def make_noise(height: int = 24, width: int = 32, channels: int = 3, seed: int = 0) -> Pixels:
    """uint8 (H, W, C) noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encode_picture(pixels: Any, picture_format: str = "PNG", **options: Any) -> bytes:
    """An array (or a Pillow image) as the bytes of a file."""
    if isinstance(pixels, np.ndarray):
        pixels = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    pixels.save(buffer, picture_format, **options)
    return buffer.getvalue()


def make_smooth(height: int = 40, width: int = 48) -> Pixels:
    """uint8 (H, W, 3), soft enough for lossy formats to keep."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [rows * 255 / height, columns * 255 / width, (rows + columns) * 255 / (height + width)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files under `root`, folders included; a name that ends with / is an empty folder."""
    for name, data in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.fixture(scope="session")
def noise() -> Callable[..., Pixels]:
    """The function that makes noise: (height, width, channels, seed)."""
    return make_noise


@pytest.fixture(scope="session")
def smooth() -> Pixels:
    """One soft picture, 40 x 48."""
    return make_smooth()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """The function that turns an array or a Pillow image into a file: (pixels, format, **options of Pillow)."""
    return encode_picture


@pytest.fixture(scope="session")
def write_files() -> Callable[[Path, Mapping[str, bytes]], Path]:
    """The function that writes files under a root."""
    return write_tree


@pytest.fixture
def png() -> bytes:
    """A small valid PNG."""
    return encode_picture(make_noise())


@pytest.fixture
def make_folder(tmp_path: Path, png: bytes) -> Callable[..., Path]:
    """Write a PNG under each of the names (below one root) and hand back the root."""

    def make(*names: str, root: str = "pictures") -> Path:
        return write_tree(tmp_path / root, dict.fromkeys(names, png))

    return make


@pytest.fixture
def make_zip(tmp_path: Path, png: bytes) -> Callable[..., Path]:
    """Write a zip that holds a PNG under each of the names."""

    def make(*names: str, file_name: str = "pictures.zip") -> Path:
        path = tmp_path / file_name
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"" if name.endswith("/") else png)
        return path

    return make


@pytest.fixture
def deny_reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make one path unreadable, also for root, who may read everything."""

    def deny(denied: Path) -> None:
        real_scandir, real_open = os.scandir, io.open

        def scandir(path: Any = ".") -> Any:
            if Path(path) == denied:
                raise PermissionError(13, "Permission denied", str(path))
            return real_scandir(path)

        def open_file(file: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(file, int) and Path(file) == denied:
                raise PermissionError(13, "Permission denied", str(file))
            return real_open(file, *arguments, **options)

        monkeypatch.setattr(os, "scandir", scandir)
        monkeypatch.setattr(io, "open", open_file)

    return deny


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SACCADE_CACHE", str(folder))
    return folder
