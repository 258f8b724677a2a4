"""`saccade check`: what is printed, written and shown, and that nothing is touched."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.cli import run_command_line
from saccade.data.sources.open import open_pictures
from saccade.data.sources.read import read_item
from saccade.runs import RunFolder

pytestmark = pytest.mark.usefixtures("quick_python")

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def bad(tmp_path: Path, colours: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The colours, with one of everything that is wrong; the working directory is beside them."""
    root = tmp_path / "bad <i>pictures"
    for path in sorted(colours.rglob("*.png")):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        (root / path.parent.name / path.name).write_bytes(path.read_bytes())
    (root / "red" / "copy.png").write_bytes((root / "red" / "00.png").read_bytes())
    (root / "red" / "both.png").write_bytes((root / "blue" / "00.png").read_bytes())
    Image.open(root / "green" / "00.png").resize((200, 240)).save(root / "green" / "larger.png")
    Image.new("RGB", (20, 24), (9, 9, 9)).save(root / "blue" / "flat.png")
    (root / "blue" / "broken.png").write_bytes(b"nothing")
    place = Image.Exif()
    place[0x010E] = "secret place"
    Image.open(root / "red" / "05.png").save(root / "red" / "<script>x.png", exif=place)
    monkeypatch.chdir(tmp_path)
    return root


def report(capsys: Captured, *arguments: str) -> dict:
    assert run_command_line(["check", *arguments, "--json", "--quiet"]) == 0
    found: dict = json.loads(capsys.readouterr().out)
    return found


def test_check_counts_what_was_planted(bad: Path, capsys: Captured) -> None:
    found = report(capsys, str(bad))
    assert found["duplicates"]["num_pairs"] == {"exact": 2, "near": 2, "mirrored": 0}
    assert found["conflicts"]["pictures"] == ["blue/00.png", "red/both.png"]
    assert found["outliers"]["constant"]["pictures"] == ["blue/flat.png"]
    assert found["skipped"] == {"not_an_image": 1}
    assert sum(sum(parts.values()) for parts in found["classes"].values()) == found["num_used"] == 65
    assert found["leaks"]["num_test"] == 0


def test_check_writes_the_same_as_a_file(bad: Path, capsys: Captured) -> None:
    printed = report(capsys, str(bad), "--output", "found.json")
    assert json.loads(Path("found.json").read_text()) == printed


def test_check_prints_a_table_and_exits_with_0(bad: Path, capsys: Captured) -> None:
    assert run_command_line(["check", str(bad), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^blue +\d+ +\d+ +\d+ +21$", out, re.MULTILINE)
    assert "! 2 pictures show the same as a picture of another class" in out
    assert "constant: 1" in out


def test_check_strict_exits_with_3_where_something_was_found(bad: Path, colours: Path) -> None:
    assert run_command_line(["check", str(bad), "--quiet", "--strict"]) == 3
    assert run_command_line(["check", str(colours), "--quiet", "--strict"]) == 0


def test_check_fix_writes_a_table_that_opens_and_touches_no_picture(bad: Path, capsys: Captured) -> None:
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in bad.rglob("*.png")}
    assert run_command_line(["check", str(bad), "--quiet", "--fix", "fixed.csv"]) == 0
    listing = open_pictures("fixed.csv")
    kept = {Path(item.name).name for item in listing.items}
    # 60 pictures, of which one is in two classes and one (of two copies) is the smaller.
    assert len(listing) == 59
    assert "larger.png" in kept
    assert kept.isdisjoint({"flat.png", "broken.png", "both.png"})
    assert listing.class_names == ("blue", "green", "red")
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in bad.rglob("*.png")} == before


@pytest.mark.parametrize("form", ["zip", "tar", "gztar"])
def test_check_fix_of_an_archive_reopens_with_the_same_pictures(bad: Path, tmp_path: Path, form: str) -> None:
    packed = shutil.make_archive(str(tmp_path / "packed"), form, bad)
    kept = {}
    for name, source in (("files.csv", bad), ("members.csv", packed)):
        (tmp_path / "tables").mkdir(exist_ok=True)
        assert run_command_line(["check", str(source), "--quiet", "--fix", f"tables/{name}"]) == 0
        listing = open_pictures(f"tables/{name}")
        labels = [listing.class_names[label] for label in listing.labels.tolist()]
        found = [hashlib.sha256(read_item(item)).hexdigest() for item in listing.items]  # type: ignore[arg-type]
        kept[name] = sorted(zip(found, labels, strict=True))
    assert len(kept["files.csv"]) == 59
    assert kept["members.csv"] == kept["files.csv"]


@pytest.mark.parametrize("parts", [False, True])
def test_check_fix_of_arrays_writes_arrays_that_reopen(bad: Path, parts: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    images[7], images[9] = images[5], 33  # a copy, and one of a single colour
    labels = np.array(["b", "a"])[np.arange(40) % 2]
    cut = {"X_train": images[:30], "y_train": labels[:30], "X_test": images[30:], "y_test": labels[30:]}
    np.savez("all.npz", **(cut if parts else {"images": images, "labels": labels}))
    assert run_command_line(["check", "all.npz", "--quiet", "--fix", "fixed.csv"]) == 2
    assert run_command_line(["check", "all.npz", "--quiet", "--fix", "fixed.npz"]) == 0
    listing = open_pictures("fixed.npz")
    rows = np.delete(np.arange(40), [7, 9])
    assert listing.array is not None
    assert np.array_equal(listing.array, images[rows])
    assert [listing.class_names[label] for label in listing.labels.tolist()] == labels[rows].tolist()
    assert listing.splits.tolist() == [("train" if row < 30 else "test") if parts else "unassigned" for row in rows]


def test_check_fix_keeps_names_and_classes_that_look_like_formulas(bad: Path, capsys: Captured) -> None:
    (bad / "green").rename(bad / "=green()")
    (bad / "=green()" / "00.png").rename(bad / "=green()" / '-1, "x".png')
    assert run_command_line(["check", str(bad), "--quiet", "--fix", str(bad / "fixed.csv")]) == 0
    listing = open_pictures(bad / "fixed.csv")
    assert listing.class_names == ("=green()", "blue", "red")
    assert all(item.path.is_file() for item in listing.items)  # type: ignore[union-attr]


def test_check_fix_of_files_into_arrays_is_a_usage_error(bad: Path, capsys: Captured) -> None:
    assert run_command_line(["check", str(bad), "--quiet", "--fix", "fixed.npz"]) == 2
    assert "must end in .csv" in capsys.readouterr().err
    assert not Path("fixed.npz").exists()


def test_check_in_python_finds_what_the_command_finds(bad: Path, capsys: Captured) -> None:
    found = saccade.check(bad, quiet=True)
    assert json.loads(json.dumps(found.report)) == report(capsys, str(bad))
    assert found.conflicts["pictures"] == ["blue/00.png", "red/both.png"]
    assert found.outliers["constant"]["num_pictures"] == 1
    assert (found.suspects, found.skipped) == (None, {"not_an_image": 1})
    assert "constant: 1" in str(found)
    assert found.to_html("page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert found.fix("fixed.csv") == 66 - 59
    shown = found._repr_html_()
    assert shown.startswith("<iframe sandbox")
    assert "<script" not in shown


def test_check_in_python_takes_arrays() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 9, 9), dtype=np.uint8)
    images[3] = images[1]
    found = saccade.check((images, np.arange(20) % 2), quiet=True)
    assert found.duplicates["num_pairs"]["exact"] == 1
    assert found.classes.keys() == {"0", "1"}


def test_a25_f20_check_page_is_escaped_self_contained_and_without_exif(bad: Path, capsys: Captured) -> None:
    assert run_command_line(["check", str(bad), "--quiet", "--html", "page.html"]) == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "default-src 'none'; img-src data:" in page
    assert "<script" not in page
    assert "&lt;script&gt;x.png" in page
    assert "bad &lt;i&gt;pictures" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "secret place" not in page
    assert page.count('<img src="data:image/') >= 8


def test_check_with_a_run_looks_for_wrong_labels(bad: Path, finished: RunFolder, capsys: Captured) -> None:
    (bad / "red" / "wrong.png").write_bytes(Image.open(bad / "green" / "07.png").rotate(90, expand=True)._repr_png_())
    found = report(capsys, str(bad), "--run", str(finished.path))
    assert found["suspects"]["accuracy"] > 0.8
    named = [each["picture"] for each in found["suspects"]["pictures"]]
    assert "red/wrong.png" in named
    assert found["suspects"]["pictures"][named.index("red/wrong.png")]["likely"] == "green"


def test_check_without_a_network_says_that_labels_were_not_looked_at(
    colours: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert report(capsys, str(colours), "--output", str(tmp_path / "x.json"))["suspects"] is None


def test_check_of_arrays_of_unlike_kinds_works(tmp_path: Path, capsys: Captured) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 12, 12), dtype=np.uint8)
    images[1] = images[0]
    np.savez(tmp_path / "x.npz", x_train=images, y_train=np.arange(40) % 2)
    found = report(capsys, str(tmp_path / "x.npz"), "--output", str(tmp_path / "x.json"))
    assert found["duplicates"]["num_pairs"]["exact"] == 1
    assert found["formats"] == {"array": 40}


def test_check_of_what_is_not_there_exits_with_2(tmp_path: Path, capsys: Captured) -> None:
    assert run_command_line(["check", str(tmp_path / "nowhere"), "--output", str(tmp_path / "x.json")]) == 2
    assert "what to do:" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--html", "--fix", "--output"])
def test_check_into_a_folder_that_is_not_there_is_said_first(flag: str, tmp_path: Path, colours: Path) -> None:
    assert run_command_line(["check", str(colours), flag, str(tmp_path / "no" / "file")]) == 2
