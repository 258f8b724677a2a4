"""The same pictures by every way out of the door: the command, Python, the server, and the exported file.

Two hundred real photographs, a picture of every odd format that is read, and those that are refused (FAULTS A, F17).
"""

from __future__ import annotations

import csv
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from saccade.api import load
from saccade.cli import run_command_line
from saccade.finished import Run
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder
from saccade.use.export_parity import WITH_RESIZING, WITHOUT_RESIZING
from saccade.use.export_pictures import sample_of_file

pytestmark = pytest.mark.usefixtures("quick_python")

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

_PATIENCE = 300.0  # on a machine that has much else to do; nothing waits for it where it has not
_EXIF_ORIENTATION = 0x0112
_ALL = "100"  # classes: more than there are


class Said(NamedTuple):
    """What one way said about a picture: probabilities by class, the best class, whether it is sure; or a reason."""

    shares: dict[str, float]
    best: str
    sure: bool | None
    reason: str


# --- the pictures ----------------------------------------------------------------------------------------------------


def _encoded(image: Image.Image, picture_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


def _odd(photograph: Image.Image) -> dict[str, bytes]:
    """FAULTS A that are used: formats, modes, depths, frames, turns and shapes, each made of a photograph."""
    grey, small = photograph.convert("L"), photograph.resize((61, 47))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    real = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    clear, grey_clear = photograph.convert("RGBA"), Image.merge("LA", (grey, ImageOps.invert(grey)))
    clear.putalpha(grey)
    palette = photograph.quantize(32)
    turned = {f"a15-turned-{turn}.jpg": _turned(photograph, turn) for turn in range(2, 9)}
    jpeg, frames = _encoded(photograph, "JPEG"), {"save_all": True, "append_images": [grey.convert("RGB")]}
    return turned | {
        "a03-no-trailer.jpg": jpeg[:-2],
        "a07-png-that-is-a-jpeg.png": jpeg,
        "a10.avif": _encoded(photograph, "AVIF"),
        "a10-bitmap.BMP": _encoded(photograph, "BMP"),
        "a10.tiff": _encoded(photograph, "TIFF", compression="tiff_lzw"),
        "a10.webp": _encoded(photograph, "WEBP"),
        "a10-progressive.jfif": _encoded(photograph, "JPEG", progressive=True),
        "a11-cmyk.jpg": _encoded(photograph.convert("CMYK"), "JPEG"),
        "a11-cmyk.tif": _encoded(photograph.convert("CMYK"), "TIFF"),
        "a11-lab.tif": _encoded(photograph.convert("LAB"), "TIFF"),
        "a12-deep.png": _encoded(deep, "PNG"),
        "a12-deep.tif": _encoded(deep, "TIFF"),
        "a12-real.tif": _encoded(real, "TIFF"),
        "a13-bits.png": _encoded(grey.convert("1"), "PNG"),
        "a13-palette.gif": _encoded(photograph.convert("P"), "GIF"),
        "a13-palette-clear.png": _encoded(palette, "PNG", transparency=palette.getpixel((0, 0))),
        "a13-clear.png": _encoded(clear, "PNG"),
        "a13-clear.webp": _encoded(clear, "WEBP", lossless=True),
        "a13-grey-clear.png": _encoded(grey_clear, "PNG"),
        "a14-grey.jpg": _encoded(grey, "JPEG"),
        "a15-broken-exif.jpg": _encoded(photograph, "JPEG", exif=b"Exif\0\0garbage"),
        "a16-moving.gif": _encoded(photograph, "GIF", **frames),
        "a16-moving.webp": _encoded(photograph, "WEBP", **frames),
        "a16-moving.png": _encoded(photograph, "PNG", **frames),
        "a16-pages.tif": _encoded(photograph, "TIFF", **frames),
        "a17-wide.png": _encoded(photograph.resize((400, 9)), "PNG"),
        "a17-tiny.png": _encoded(photograph.resize((8, 8)), "PNG"),
        "a18-large.jpg": _encoded(photograph.resize((2300, 2100)), "JPEG"),
        "a24-constant.png": _encoded(Image.new("RGB", (33, 20), (9, 99, 199)), "PNG"),
        "small.png": _encoded(small, "PNG"),
    }


def _turned(photograph: Image.Image, turn: int) -> bytes:
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = turn
    return _encoded(photograph, "JPEG", exif=exif)


def _refused(photograph: Image.Image) -> dict[str, tuple[bytes, str]]:
    """FAULTS A that are refused, and why."""
    small = photograph.resize((64, 64))
    cut = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "avif": "AVIF"}
    truncated = {f"a02-cut.{suffix}": _encoded(small, kind) for suffix, kind in cut.items()}
    holes = np.full((16, 16), np.nan, np.float32)
    return {name: (data[: len(data) // 2], "truncated") for name, data in truncated.items()} | {
        "a05-empty.jpg": (b"", "empty_file"),
        "a06-page.jpg": (b"<html><body>404</body></html>", "not_an_image"),
        "a08-drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        "a17-small.png": (_encoded(photograph.resize((5, 100)), "PNG"), "too_small"),
        "a19-bomb.png": (_header(30_000, 30_000), "too_many_pixels"),
        "a20-profile.tif": (_encoded(small, "TIFF", icc_profile=bytes(17 * 2**20)), "metadata_too_large"),
        "a21-paper.png": (b"%PDF-1.7\n", "unsupported_format"),
        "a12-integers.tif": (_encoded(small.convert("I"), "TIFF"), "unsupported_depth"),
        "a23-holes.tif": (_encoded(Image.fromarray(holes), "TIFF"), "non_finite_pixels"),
    }


def _header(width: int, height: int) -> bytes:
    """A grey PNG that says how large it is, and has nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


class Pictures(NamedTuple):
    """Files in one folder: photographs and odd ones that are read, and those that are refused, with their reasons."""

    folder: Path
    photographs: list[Path]
    odd: list[Path]
    refused: dict[Path, str]

    @property
    def all(self) -> list[Path]:
        """In the order in which the command meets them."""
        return sorted([*self.photographs, *self.odd, *self.refused])


@pytest.fixture(scope="module")
def animals(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real photographs."""
    root = tmp_path_factory.mktemp("animals")
    with zipfile.ZipFile(shared / "data" / "cats_and_dogs_small.zip") as archive:
        archive.extractall(root)
    return root / "cats_and_dogs_small"


@pytest.fixture(scope="module")
def pictures(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    folder = tmp_path_factory.mktemp("pictures")
    photographs = [path.rename(folder / f"p-{path.name}") for path in sorted(animals.glob("test/*/*.jpg"))]
    one = Image.open(photographs[77]).convert("RGB")
    refused = _refused(one)
    for name, data in (_odd(one) | {name: data for name, (data, _) in refused.items()}).items():
        (folder / name).write_bytes(data)
    odd = sorted(folder / name for name in _odd(one))
    return Pictures(folder, photographs, odd, {folder / name: reason for name, (_, reason) in refused.items()})


@pytest.fixture(scope="module")
def run(animals: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """resnet18 with real weights, its head learned from some of the photographs."""
    few = tmp_path_factory.mktemp("few")
    for path in sorted(animals.glob("train/*/*.jpg"))[::8]:
        (few / path.parent.name).mkdir(exist_ok=True)
        path.rename(few / path.parent.name / path.name)
    weights = str(shared / "weights" / "resnet18_tiny64.safetensors")
    fields = {"model": "resnet18", "weights": weights, "image_size": 96, "device": "cpu"}
    return train(make_recipe("features", fields), few, Place(tmp_path_factory.mktemp("project"), "animals"))


@pytest.fixture(scope="module")
def file(run: RunFolder) -> Path:
    """The run as an ONNX file."""
    path = run.path / "model.onnx"
    Run(run).export(path, quiet=True)
    return path


# --- the ways --------------------------------------------------------------------------------------------------------


def by_command(model: Path, pictures: Pictures, output: Path) -> dict[str, Said]:
    """`saccade predict`, in a process of its own."""
    command = [sys.executable, "-m", "saccade", "predict", str(model), str(pictures.folder), "--device", "cpu"]
    done = subprocess.run(
        [*command, "--top", _ALL, "--output", str(output)], capture_output=True, text=True, timeout=_PATIENCE
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return {Path(row["path"]).name: _said(row) for row in rows}


def by_python(model: Path, pictures: Pictures) -> dict[str, Said]:
    """`saccade.load(...).predict(...)`, some backwards and some alone: the answers must not depend on it."""
    classifier, paths = load(model, device="cpu"), pictures.all[::-1]
    found = [*classifier.predict(paths[:-5], top=int(_ALL)), *(classifier.predict(path)[0] for path in paths[-5:])]
    return {Path(each.name).name: _said(each.to_json()) for each in found}


def by_server(model: Path, pictures: Pictures) -> dict[str, Said]:
    """`saccade serve`, asked by several at once: for some pictures alone, for others in forms of seven."""
    paths = pictures.all
    alone, together = paths[::2], paths[1::2]
    forms = [[path] for path in alone] + [together[start : start + 7] for start in range(0, len(together), 7)]
    with _server(model) as client, ThreadPoolExecutor(6) as pool:
        return {name: said for answers in pool.map(lambda form: _ask(client, form), forms) for name, said in answers}


def _ask(client: httpx.Client, paths: Sequence[Path]) -> list[tuple[str, Said]]:
    files = [("pictures", (path.name, path.read_bytes())) for path in paths]
    answer = client.post(f"/v1/predict?top={_ALL}", files=files)
    assert answer.status_code in (200, 422), answer.text
    rows = answer.json()["predictions"]
    if answer.status_code == 422:
        assert answer.json()["reason"] == rows[0]["reason"]
    return [(row["name"], _said(row)) for row in rows]


@contextmanager
def _server(model: Path) -> Iterator[httpx.Client]:
    flags = ["--port", "0", "--device", "cpu", "--quiet", "--deadline", str(_PATIENCE), "--queue", "500"]
    command = [sys.executable, "-m", "saccade", "serve", str(model), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with httpx.Client(base_url=process.stdout.readline().strip(), timeout=_PATIENCE) as client:
                yield client
        finally:
            process.terminate()


def _said(row: dict[str, Any]) -> Said:
    shares = {guess["class_name"]: guess["probability"] for guess in row["guesses"]}
    return Said(shares, next(iter(shares), ""), row.get("sure"), row.get("reason", ""))


# --- what they say ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(run: RunFolder, pictures: Pictures) -> dict[str, Said]:
    """What Python says."""
    return by_python(run.path, pictures)


@pytest.fixture(scope="module")
def expected_of_file(file: Path, pictures: Pictures) -> dict[str, Said]:
    """What Python says with the exported file."""
    return by_python(file, pictures)


def test_f17_python_answers_all_that_is_read_and_gives_reasons_for_the_rest(
    expected: dict[str, Said], pictures: Pictures
) -> None:
    assert {name: said.reason for name, said in expected.items() if said.reason} == {
        path.name: reason for path, reason in pictures.refused.items()
    }
    good = [expected[path.name] for path in (*pictures.photographs, *pictures.odd)]
    assert (len(pictures.photographs), len(good)) == (200, 237)
    assert {said.best for said in good} == {"cats", "dogs"}
    assert len({tuple(said.shares.values()) for said in good}) > 200
    assert all(sum(said.shares.values()) == pytest.approx(1, abs=1e-12) for said in good)


def test_f17_command_says_what_python_says_to_the_last_bit(
    run: RunFolder, pictures: Pictures, expected: dict[str, Said], tmp_path: Path
) -> None:
    assert by_command(run.path, pictures, tmp_path / "rows.jsonl") == expected


def test_f17_server_says_what_python_says_to_the_last_bit(
    run: RunFolder, pictures: Pictures, expected: dict[str, Said]
) -> None:
    assert by_server(run.path, pictures) == expected


def test_f17_csv_rounds_what_python_says(
    run: RunFolder, pictures: Pictures, expected: dict[str, Said], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    paths = [str(path) for path in (*pictures.odd, *pictures.refused)]
    words = ["predict", str(run.path), *paths, "--device", "cpu", "--top", "2", "--output", str(rows)]
    assert run_command_line(words) == 0
    with rows.open(encoding="utf-8", newline="") as file:
        found = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert len(found) == len(paths)
    for name, row in found.items():
        said = expected[name]
        assert (row["class_1"], row["reason"]) == (said.best, said.reason), name
        if said.best:
            assert row["probability_1"] == f"{said.shares[said.best]:.6f}", name


def test_f17_exported_file_says_the_same_by_command_and_server(
    file: Path, pictures: Pictures, expected_of_file: dict[str, Said], tmp_path: Path
) -> None:
    assert by_command(file, pictures, tmp_path / "rows.jsonl") == expected_of_file
    assert by_server(file, pictures) == expected_of_file


def test_f17_exported_file_is_within_its_bound_of_the_run(
    expected: dict[str, Said], expected_of_file: dict[str, Said]
) -> None:
    """The squares are prepared by the package for both."""
    for name, said in expected.items():
        other = expected_of_file[name]
        assert (other.best, other.reason, other.sure) == (said.best, said.reason, said.sure), name
        assert other.shares == pytest.approx(said.shares, abs=WITHOUT_RESIZING.probability), name


def test_f17_exported_file_in_another_program_is_within_its_bound_of_the_run(
    file: Path, run: RunFolder, pictures: Pictures, expected: dict[str, Said]
) -> None:
    """As docs/export.md has it: photographs by Pillow alone; of odd ones what the decoder gives, at its own size."""
    session = onnxruntime.InferenceSession(file)
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    preparation = run.load().preparation
    for path in (*pictures.photographs, *pictures.odd):
        if path in pictures.odd:
            pixels = sample_of_file(path.name, path.read_bytes(), preparation).pixels
        else:
            pixels = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        probabilities, best = session.run(["probabilities", "class"], {"pictures": pixels[None]})
        said = expected[path.name]
        shares = dict(zip(names, probabilities[0].tolist(), strict=True))
        assert shares == pytest.approx(said.shares, abs=WITH_RESIZING.probability), path.name
        first, second = sorted(said.shares.values(), reverse=True)[:2]
        assert names[best[0]] == said.best or first - second <= WITH_RESIZING.lead, path.name
