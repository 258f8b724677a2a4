"""What the tutorial and the how-to pages show is run: every command and every program, long trainings cut short."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.models.weights import save_network

pytestmark = pytest.mark.usefixtures("quick_python")

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
Command = Callable[[Sequence[str], Path], str]
Line = Callable[[str, Path], str]
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of the blocks that a reader would run, in their order."""
    return _BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def _short(text: str) -> str:
    return re.sub(r"epochs=\d+", "epochs=1", re.sub(r"--epochs \d+", "--epochs 1", text))


def _run(arguments: list[str], folder: Path) -> str:
    own = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, cwd=folder, env=own, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def one(command: Command) -> Line:
    """Runs a line of a page in a folder, with one epoch of training."""

    def run(line: str, folder: Path) -> str:
        program, *words = shlex.split(_short(line), comments=True)
        assert program in ("saccade", "python"), line
        return command(words, folder) if program == "saccade" else _run([sys.executable, *words], folder)

    return run


@pytest.mark.slow
def test_tutorial_runs_from_its_first_command_to_its_last(one: Line, tmp_path: Path) -> None:
    programs = 0
    for language, text in _blocks("tutorial.md"):
        if language == "python" and programs == 0:
            (tmp_path / "draw.py").write_text(text, encoding="utf-8")  # as the page asks
            programs += 1
        elif language == "python":
            *_, said = _run([sys.executable, "-c", _short(text)], tmp_path).splitlines()
            assert re.fullmatch(r"shapes/stripes/000\.png  (not sure: )?\w+ [\d.]+%  \w+ [\d.]+%", said)
        else:
            for line in text.splitlines():
                one(line, tmp_path)
    assert len(list((tmp_path / "shapes").rglob("*.png"))) == 360
    for name in ("digits/report.html", "shapes/explain", "which/compare.html"):
        assert (tmp_path / "runs" / name).exists(), name


@pytest.mark.parametrize("page", ["how-to/network.md", "how-to/augmentation.md"])
def test_program_of_a_how_to_page_trains_and_tells_an_accuracy(page: str, tmp_path: Path) -> None:
    (text,) = [text for language, text in _blocks(page) if language == "python"]
    (tmp_path / "program.py").write_text(_short(text), encoding="utf-8")
    assert 0 <= float(_run([sys.executable, "program.py"], tmp_path)) <= 1


@pytest.fixture
def scans(colours: Path, tmp_path: Path) -> Path:
    """A folder with scans.csv as the how-to page has it: pictures of patients, four of each."""
    rows = ["path,label,patient"]
    for number, picture in enumerate(sorted(colours.rglob("*.png"))):
        rows.append(f"{picture},{'ill' if picture.parent.name == 'red' else 'healthy'},P{number // 4}")
    (tmp_path / "scans.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_how_to_pages_about_tables_run_one_after_the_other(one: Line, scans: Path) -> None:
    for page in ("how-to/own-table.md", "how-to/imbalance.md"):
        for language, text in _blocks(page):
            for line in text.splitlines() if language == "sh" else []:
                one(line, scans)
    assert {path.name for path in (scans / "runs").iterdir()} >= {"scans", "weighted", "sampled"}


@pytest.mark.slow
def test_vgg16_commands_of_exercise_3_with_random_weights_run(one: Line, fewer: Path, tmp_path: Path) -> None:
    (tmp_path / "cifar10.zip").symlink_to(fewer / "data" / "cifar10.zip")
    script = ROOT / "examples" / "3_three_kinds" / "make_pictures.py"
    own = os.environ | {"SACCADE_SHORT": "1"}
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=own, capture_output=True, timeout=300, check=True)
    save_network(tmp_path / "vgg16.safetensors", build_network(NetworkSpec("vgg16", 3, 32, head="128,64,32")), {})
    blocks = [text for language, text in _blocks("exercises/3-three-kinds.md") if language == "sh" and "vgg16" in text]
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        added = " --weights vgg16.safetensors --image-size 32 --epochs 1" if line.startswith("saccade train") else ""
        printed = one(line + added, tmp_path)
        if line.startswith("saccade models"):
            assert "17,936,515" in printed
            assert "5,581,635" in printed
    assert len(list((tmp_path / "runs").glob("vgg16-*/metrics.json"))) == 3


def test_how_to_page_about_interruptions_begins_and_finds_the_run_finished(one: Line, tmp_path: Path) -> None:
    for language, text in _blocks("how-to/cluster.md"):
        for line in text.splitlines() if language == "sh" else []:
            one(line, tmp_path)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["night"]
    # A job of a queue gives the same command every time: it begins where there is nothing, and finds what is finished.
    again = "saccade train digits --model lenet5 --recipe scratch --epochs 1 --name queue --resume"
    for _ in range(2):
        one(again, tmp_path)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"night", "queue"}
