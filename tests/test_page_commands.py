"""Every command of the pages about single commands is run as it stands there, on a few small pictures.

Added flags make trainings and comparisons short: a small network, one epoch. What serves until it is stopped has tests
of its own (test_serve_running.py), as have training.md (test_learning.py), the tutorial, the how-to pages
(test_docs_commands.py) and the exercises.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli import run_command_line

DOCS = Path(__file__).resolve().parent.parent / "docs"
Command = Callable[[Sequence[str], Path], str]
PAGES = (
    "check",
    "compare",
    "evaluate",
    "explain",
    "export",
    "predict",
    "report",
    "sprint",
    "transfer",
    "how-to/browser",
)
# The later of two values of a flag counts. `layer2` of explain.md is a stage of a ResNet.
PLAIN = "--epochs 1 --precision float32 --layout channels_last --compile off"  # else all ways to compute are timed
SHORT = f"--image-size 32 --batch-size 16 {PLAIN}"
SMALL = f"--model resnet20_cifar {SHORT}"
SHORTER = {"train": SMALL, "compare": f"--model lenet5 --recipe scratch --seeds 1 {SHORT}"}
OF_A_PAGE = {
    "explain": SHORT,
    "sprint": f"--small-first 20 {PLAIN}",
    "transfer": f"{SMALL} --weights runs/animals/weights/best.safetensors",
}
NOT_RUN = re.compile(r"\.\.\.")  # `saccade compare animals/ ...` stands for any of them


def _commands(page: str) -> list[str]:
    """The lines of a page that begin with saccade, in a block or indented, without the words behind them."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    text = re.sub(r"\\\n +", "", text)
    lines = re.findall(r"^(?: {4})?(saccade .*)$", text, flags=re.MULTILINE)
    return [re.split(r" {3,}|  #", line)[0].strip() for line in lines]


def _picture(side: int, kind: str, rng: np.random.Generator) -> Image.Image:
    pixels = rng.integers(0, 90, (side, side, 3), dtype=np.uint8)
    pixels[:, :, 0 if kind == "cat" else 2] += 150
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages name: animals/, holiday/, new-pictures/, archive.tar, dog.jpg, and finished runs."""
    folder, rng = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    for collection, number in (("animals", 24), ("new-pictures", 3), ("holiday", 2)):
        for kind in ("cat", "dog"):
            home = folder / collection / kind if collection != "holiday" else folder / collection
            home.mkdir(parents=True, exist_ok=True)
            for each in range(number):
                _picture(32, kind, rng).save(home / f"{kind}{each}.png")
    _picture(32, "dog", rng).save(folder / "dog.jpg")
    with tarfile.open(folder / "archive.tar", "w") as archive:
        archive.add(folder / "holiday", "holiday")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run_command_line(shlex.split(f"train animals --recipe scratch --name animals --quiet {SMALL}")) == 0
        for name in ("animals-2", "a", "b", "digits"):
            shutil.copytree("runs/animals", f"runs/{name}")
        assert run_command_line(["export", "runs/animals", "--output", "animals.onnx", "--quiet"]) == 0
        assert run_command_line(shlex.split(f"compare animals --quiet {SHORTER['compare']}")) == 0
    return folder


def test_commands_are_found_on_every_page() -> None:
    assert [page for page in PAGES if not _commands(page)] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_run_as_they_stand(
    page: str, place: Path, fewer: Path, command: Command, tmp_path: Path
) -> None:
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    (tmp_path / "cifar10.zip").symlink_to(fewer / "data" / "cifar10-few.zip")
    for name in ("animals", "digits") if "saccade export" in "".join(_commands(page)) else ():
        shutil.rmtree(tmp_path / "runs" / name)  # a network with fewer layers is written sooner
        shutil.copytree(next((tmp_path / "runs" / "compare-animals").glob("*-seed0")), tmp_path / "runs" / name)
    run = 0
    for line in _commands(page):
        if NOT_RUN.search(line):
            continue
        words = shlex.split(line.replace("../shared", str(fewer)))[1:]
        if words[0] in SHORTER and not (len(words) > 1 and words[1].startswith("runs/")) and "--resume" not in words:
            words += shlex.split(OF_A_PAGE.get(page, SHORTER[words[0]]))
        command(words, tmp_path)
        run += 1
    assert run > 0
