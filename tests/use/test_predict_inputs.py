"""Every form in which pictures are named, and FAULTS A: one answer per picture, whatever it is."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from saccade.api import Classifier
from saccade.api import load as load_classifier
from saccade.cli import run_command_line
from saccade.errors import ArchiveError, TableError
from saccade.runs import RunFolder
from saccade.use.inputs import lines_of, listed

pytestmark = pytest.mark.usefixtures("quick_python")

NAMES = ("blue/03.png", "green/11.png", "red/07.png")


@pytest.fixture(scope="module")
def classifier(finished: RunFolder) -> Iterator[Classifier]:
    found = load_classifier(finished.path, device="cpu", workers=1)
    yield found
    found.answerer.close()


def _zip(root: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for name in NAMES:
            archive.write(root / name, name)


def _tar(root: Path, target: Path) -> None:
    with tarfile.open(target, "w:gz" if target.suffix == ".tgz" else "w") as archive:
        for name in NAMES:
            archive.add(root / name, name)


def _csv(root: Path, target: Path) -> None:
    rows = "".join(f"{number},{root / name}\n" for number, name in enumerate(NAMES))
    target.write_text("number,Filename\n" + rows)


def _tsv(root: Path, target: Path) -> None:
    _zip(root, target.with_name("inside.zip"))
    target.write_text("path\tx\n" + "".join(f"inside.zip/{name}\t1\n" for name in NAMES))


def _parquet(root: Path, target: Path) -> None:
    parquet.write_table(pyarrow.table({"image": [str(root / name) for name in NAMES]}), target)


def _folder(root: Path, target: Path) -> None:
    for name in NAMES:
        (target / name).parent.mkdir(parents=True)
        (target / name).write_bytes((root / name).read_bytes())


FORMS: dict[str, Callable[[Path, Path], None]] = {
    "a.zip": _zip,
    "a.tar": _tar,
    "a.tgz": _tar,
    "a.csv": _csv,
    "a.tsv": _tsv,
    "a.parquet": _parquet,
    "folder": _folder,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_answers(classifier: Classifier, colours: Path, tmp_path: Path, form: str) -> None:
    FORMS[form](colours, tmp_path / form)
    expected = [one.guesses for one in classifier.predict([colours / name for name in NAMES])]
    found = classifier.predict(tmp_path / form)
    assert [one.guesses for one in found] == expected
    assert [one.name.endswith(name) for one, name in zip(found, NAMES, strict=True)] == [True] * 3
    assert [one.class_name for one in found] == ["blue", "green", "red"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_standard_input_gives_a_picture_per_line(colours: Path, end: bytes) -> None:
    text = end.join(os.fsencode(colours / name) for name in NAMES)
    found = [name for name, _ in lines_of(io.BytesIO(text), b"\0" if end == b"\0" else b"\n")]
    assert found == [str(colours / name) for name in NAMES]


def test_command_reads_zero_ended_paths_from_standard_input(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    odd = tmp_path / "two\nlines.png"
    odd.write_bytes((colours / NAMES[0]).read_bytes())
    given = b"\0".join((os.fsencode(odd), os.fsencode(colours / NAMES[2])))
    command = [sys.executable, "-m", "saccade", "predict", str(finished.path), "-", "--null", "--json", "--quiet"]
    done = subprocess.run(command, input=given, capture_output=True, check=True)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["guesses"][0]["class_name"] for record in records] == ["blue", "red"]
    assert records[0]["path"] == str(odd)


def test_generator_without_end_is_taken_as_it_is_needed(classifier: Classifier) -> None:
    taken = count()
    frames = (np.full((24, 24, 3), next(taken) % 256, dtype=np.uint8) for _ in count())
    assert len(list(islice(classifier.predict_iter(frames), 40))) == 40
    assert next(taken) < 200


def test_paths_and_arrays_may_alternate(classifier: Classifier, colours: Path) -> None:
    paths = [colours / name for name in NAMES]
    mixed = [one for path in paths for one in (path, np.asarray(Image.open(path)))]
    found = classifier.predict(mixed)
    for number in range(0, 6, 2):
        assert found[number].guesses == found[number + 1].guesses


def test_link_back_up_ends_the_walk(tmp_path: Path, colours: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes((colours / NAMES[0]).read_bytes())
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    assert [name for name, _ in listed(str(tmp_path))] == [str(tmp_path / "a" / "1.png")]


def test_d01_archive_that_points_outside_is_refused(classifier: Classifier, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../evil.png", b"x")
    with pytest.raises(ArchiveError, match="points outside"):
        classifier.predict(tmp_path / "evil.zip")


def test_member_that_is_an_archive_itself_keeps_its_row(classifier: Classifier, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", b"PK")
    assert [one.reason for one in classifier.predict(tmp_path / "outer.zip")] == ["nested_archive"]


def test_c07_table_without_a_column_of_paths_is_refused(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match="header_missing"):
        classifier.predict(tmp_path / "list.csv")


def test_row_of_a_table_without_a_file_keeps_its_row(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('path,b\n"",2\nnowhere.png,3\n')
    assert [one.reason for one in classifier.predict(tmp_path / "list.csv")] == ["missing", "missing"]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _faults(folder: Path, good: Path) -> dict[str, str]:
    """FAULTS A: file name -> reason code, "" for what must be used."""
    image, noise = Image.open(good), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in ("jpg", "webp", "gif", "bmp", "png"):
        Image.fromarray(noise).save(folder / f"cut.{suffix}")
        data = (folder / f"cut.{suffix}").read_bytes()
        (folder / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
    (folder / "empty.jpg").touch()
    (folder / "page.jpg").write_text("<html><body>not here</body></html>")
    (folder / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (folder / "paper.png").write_bytes(b"%PDF-1.7\n" + bytes(100))
    (folder / "wrong_extension.jpg").write_bytes(good.read_bytes())
    Image.new("L", (4, 4)).save(folder / "small.png")
    image.convert("CMYK").save(folder / "printed.jpg", quality=95)
    image.convert("RGBA").save(folder / "transparent.png")
    image.convert("P").save(folder / "palette.gif")
    Image.fromarray(np.full((24, 24), 40_000, dtype=np.uint16)).save(folder / "deep.png")
    image.save(folder / "UPPER.AVIF", "AVIF")
    size = (30_000).to_bytes(4, "big") * 2
    rows = zlib.compress(bytes(30_001) * 30)
    chunks = ((b"IHDR", size + b"\x08\0\0\0\0"), (b"IDAT", rows), (b"IEND", b""))
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks))
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe" / "fifo.png")
    bad = {f"cut.{suffix}": "truncated" for suffix in ("jpg", "webp", "gif", "bmp", "png")}
    bad |= {"empty.jpg": "empty_file", "page.jpg": "not_an_image", "drawing.svg": "unsupported_format"}
    bad |= {"paper.png": "unsupported_format", "small.png": "too_small", "bomb.png": "too_many_pixels"}
    bad |= {"fifo.png": "not_regular_file"}
    used = ("wrong_extension.jpg", "printed.jpg", "transparent.png", "palette.gif", "deep.png", "UPPER.AVIF")
    return bad | dict.fromkeys(used, "")


def test_a_every_bad_picture_has_one_row_with_its_reason(
    finished: RunFolder, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = tmp_path / "pictures", tmp_path / "rows.csv"
    folder.mkdir()
    expected = _faults(folder, colours / "red" / "00.png")
    assert run_command_line(["predict", str(finished.path), str(folder), "--output", str(output)]) == 0
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["path"]).name: row["reason"] for row in rows} == expected
    assert len(rows) == len(expected)
    assert all(bool(row["class_1"]) != bool(row["reason"]) for row in rows)
    assert "12 could not be used (truncated 5" in capsys.readouterr().err


def test_line_for_people_shows_no_sign_that_commands_a_terminal(
    finished: RunFolder, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a\x1b[2J\nb.png").write_bytes((colours / NAMES[0]).read_bytes())
    assert run_command_line(["predict", str(finished.path), str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "\x1b" not in printed
