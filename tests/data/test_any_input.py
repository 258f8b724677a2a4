"""Any bytes through the decoder, any name through the tables: what nobody thought of, thought of by hypothesis."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saccade.data.cells import printable, read_csv, write_csv
from saccade.data.listing import FileItem
from saccade.data.sources.open import open_pictures

STEADY = settings(derandomize=True, database=None, deadline=None, max_examples=200)
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
# What a file system can hold: any text but / and NUL; bytes that are no UTF-8 are half surrogates.
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=300
) | st.text(st.sampled_from("a.é😀한\udc80\udcff\n\r\t\"',;=+-@<>&{}%\\ \u202e\u0301"), min_size=1, max_size=60)

# In a process of its own, so that what it takes can be measured.
ANY_BYTES = """
import io, resource, time
import numpy as np
from hypothesis import given, settings, strategies as st
from PIL import Image
from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation, prepare, whole_picture
from saccade.data.looks import look_at
from saccade.data.refusals import REASONS
from saccade.errors import PictureError

rows, columns = np.mgrid[0:48, 0:64]
picture = Image.fromarray(np.stack([rows * 5, columns * 3, rows + columns], axis=-1).astype(np.uint8))
exif = picture.getexif()
exif[274] = 6
files = []
for kind, options in [("PNG", {"exif": exif}), ("JPEG", {"exif": exif}), ("JPEG", {"progressive": True}), ("GIF", {}),
                      ("WEBP", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}),
                      ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "tiff_deflate"}), ("AVIF", {})]:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    files.append(buffer.getvalue())

place = st.floats(0, 1, exclude_max=True)
change = st.tuples(st.sampled_from(["cut", "flip", "insert", "number"]), place, st.binary(min_size=1, max_size=8))

def changed(data, changes):
    for kind, where, piece in changes:
        at = int(where * len(data))
        if kind == "cut":
            data = data[:at] + data[at + 8 * piece[0] :]
        elif kind == "insert":
            data = data[:at] + piece * 4 + data[at:]
        elif kind == "number":  # sizes stand in the first hundred bytes
            data = data[: at % 100] + piece + data[at % 100 + len(piece) :]
        else:
            data = data[:at] + bytes([data[at] ^ piece[0]]) + data[at + 1 :] if data else data
    return data

file = st.sampled_from(files)
noise = st.binary(max_size=3000)
headed = st.builds(lambda data, end, rest: data[:end] + rest, file, st.integers(4, 64), noise)
damaged = st.builds(changed, file, st.lists(change, max_size=5))
seen, preparation = [], Preparation(32, 3, "squash", DecodeRules())

def look(data):
    began = time.perf_counter()
    try:
        found = prepare(data, "x", preparation)
        assert found.pixels.shape == (32, 32, 3) and found.pixels.dtype == np.uint8
        assert len(look_at(whole_picture(data, "x", found, preparation), "0" * 64, len(data), "x")) == 1
        outcome = "picture"
    except PictureError as error:
        assert error.reason in REASONS and error.what
        outcome = error.reason
    seen.append((outcome, time.perf_counter() - began))

steady = settings(derandomize=True, database=None, deadline=None, max_examples=EXAMPLES)
look(files[0])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for strategy in (noise, headed, damaged):
    steady(given(strategy)(lambda data: look(data)))()
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
outcomes = [outcome for outcome, _ in seen]
print(outcomes.count("picture"), len(set(outcomes)), max(seconds for _, seconds in seen), grown)
"""


def test_any_bytes_are_a_picture_or_a_typed_refusal_within_two_seconds_and_300_megabytes() -> None:
    pytest.importorskip("resource")
    script = ANY_BYTES.replace("EXAMPLES", "400")
    found = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    pictures, outcomes, slowest, grown = found.stdout.split()
    assert int(pictures) > 50
    assert int(outcomes) >= 5  # both pictures and several reasons were reached
    assert float(slowest) < 2
    assert float(grown) < 300


@STEADY
@given(names=st.lists(NAMES, min_size=1, max_size=5))
@example(names=["=HYPERLINK()", "'quoted", "''", "two\r\nlines", "\udcff.png", "x" * 5000, '"', " "])
def test_b10_b11_any_name_survives_a_table_and_is_no_formula(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("any", numbered=True) / "splits.csv"
    write_csv(path, ("path", "split"), [(name, "train") for name in names])
    assert [row["path"] for row in read_csv(path)] == [printable(name) for name in names]
    with path.open(encoding="utf-8", newline="") as file:
        cells = [row[0] for row in csv.reader(file)]
    assert not any(cell.startswith(FORMULAS) for cell in cells)


@settings(STEADY, max_examples=60)
@given(name=NAMES.filter(lambda name: len(name.encode("utf-8", "surrogateescape")) < 200 and name.strip() == name))
@example(name="=1+1")
@example(name="'=1")
def test_b10_any_name_that_a_table_of_ours_holds_opens_again(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    if printable(name) != name or name in (".", ".."):
        return
    root = tmp_path_factory.mktemp("open", numbered=True)
    for file in (name, "other.png"):
        (root / file).write_bytes(b"listed, not decoded")
    write_csv(root / "the table.csv", ("path", "label"), [(name, name), ("other.png", "other")])
    (first, _) = (item for item in open_pictures(root / "the table.csv").items if isinstance(item, FileItem))
    assert first.path == Path(root / name)
