"""--copy-to: pictures sorted into folders by what they show; no name, of a file or of a class, leads anywhere else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from saccade.cli import run_command_line
from saccade.data.listing import FileItem
from saccade.errors import UsageError
from saccade.runs import RunFolder
from saccade.use.copy_to import NOT_SURE, UNREADABLE, Sorter, safe_name
from saccade.use.inputs import Named
from saccade.use.predict import Guess, Prediction
from saccade.use.predict_job import parts_of
from saccade.use.squares import Encoded


def _answer(name: str, class_name: str = "", sure: bool = True) -> Prediction:
    return Prediction(
        name, (Guess(class_name, 0.9),) if class_name else (), "" if class_name else "truncated", "", sure
    )


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_command_sorts_pictures_by_class(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "sorted"
    for name in ("a/x.png", "b/x.png", "b/y.png", "b/broken.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        colour = {"a/x.png": "red", "b/x.png": "red"}.get(name, "blue")
        (source / name).write_bytes((colours / colour / "00.png").read_bytes()[: 60 if "broken" in name else None])
    words = ["predict", str(finished.path), str(source), str(tmp_path / "missing.png"), "--copy-to", str(target)]
    assert run_command_line(words) == 0
    expected = [f"{UNREADABLE}/broken.png", "blue/y.png", "red/x-2.png", "red/x.png"]
    assert _files(target) == expected
    assert run_command_line([*words, "--output", str(tmp_path / "rows.csv")]) == 0
    assert len(_files(target)) == 8  # nothing was overwritten
    assert (target / "blue" / "y-2.png").read_bytes() == (source / "b" / "y.png").read_bytes()


def test_unsure_pictures_go_into_a_folder_of_their_own(tmp_path: Path) -> None:
    sorter = Sorter(tmp_path, ("cat", "dog"))
    sorter.place(Named("1.jpg", Encoded("1.jpg", b"x")), _answer("1.jpg", "cat", sure=False))
    assert _files(tmp_path) == [f"{NOT_SURE}/1.jpg"]


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.png",
        "..",
        ".",
        "/etc/passwd",
        "..\\..\\evil.png",
        "a\0b.png",
        "C:\\x.png",
        "x/../../y",
        ".hidden",
        "",
    ],
)
def test_f06_names_of_files_never_lead_out(tmp_path: Path, name: str) -> None:
    target = tmp_path / "deep" / "sorted"
    placed = Sorter(target, ("cat",)).place(Named(name, Encoded(name, b"x")), _answer(name, "cat"))
    assert placed is not None
    assert placed.parent == target / "cat"
    assert len(_files(tmp_path)) == 1
    assert not placed.name.startswith(".")


def test_names_of_classes_never_lead_out_nor_meet(tmp_path: Path) -> None:
    class_names = ("../up", "/root", "..", "a/b", "a_b", "A_B", "CON", NOT_SURE, UNREADABLE)
    sorter = Sorter(tmp_path / "sorted", class_names)
    for class_name in class_names:
        sorter.place(Named("1.png", Encoded("1.png", class_name.encode())), _answer("1.png", class_name))
    found = _files(tmp_path)
    assert len(found) == len(class_names)
    folders = [re.fullmatch(r"sorted/([^/]+)/1\.png", name) for name in found]
    names = {match.group(1).casefold() for match in folders if match}
    assert len(names) == len(class_names)
    assert not names & {NOT_SURE, UNREADABLE, "con", "..", "."}


def test_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sorted").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sorted" / "cat").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="link"):
        Sorter(tmp_path / "sorted", ("cat",))


def test_link_under_the_wanted_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "sorted" / "cat").mkdir(parents=True)
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / "sorted" / "cat" / "1.png").symlink_to(tmp_path / "victim")
    Sorter(tmp_path / "sorted", ("cat",)).place(Named("1.png", Encoded("1.png", b"x")), _answer("1.png", "cat"))
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert (tmp_path / "sorted" / "cat" / "1-2.png").read_bytes() == b"x"


def test_copy_is_no_link_to_the_original(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    picture = Named("1.png", FileItem("1.png", tmp_path / "1.png"))
    placed = Sorter(tmp_path / "sorted", ("cat",)).place(picture, _answer("1.png", "cat"))
    assert placed is not None
    assert placed.stat().st_nlink == 1
    assert placed.stat().st_ino != (tmp_path / "1.png").stat().st_ino


@pytest.mark.parametrize("name", ["a" * 300 + ".jpeg", "é" * 200 + ".png", "x." + "y" * 300])
def test_long_names_fit_into_a_file_system(tmp_path: Path, name: str) -> None:
    (tmp_path / safe_name(name)).touch()


def test_killed_copying_goes_on_and_copies_nothing_twice(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(700):
            colour = ("red", "green", "blue")[number % 3]
            archive.write(colours / colour / f"{number % 20:02}.png", f"{number}/same.png")
    output, target = tmp_path / "rows.csv", tmp_path / "sorted"
    words = ["predict", str(finished.path), str(tmp_path / "many.zip"), "--output", str(output), "--quiet"]
    words += ["--resume", "--workers", "1", "--copy-to", str(target)]
    process = subprocess.Popen([sys.executable, "-m", "saccade", *words])
    deadline = time.monotonic() + 120
    while not (target / "blue").is_dir() or len(os.listdir(target / "blue")) < 20:  # noqa: PTH208
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (parts_of(output) / "copied.jsonl").stat().st_size
    assert run_command_line(words) == 0
    assert len(_files(target)) == 700
