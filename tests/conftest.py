"""What all tests share."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

from saccade.cli import run_command_line
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder

# How long an example takes says how busy the machine is, and nothing about what it tests.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

_CALLED = ("dog.4101.jpg", "dog.4102.jpg", "dog.4103.jpg")  # pictures that pages name
_NUM_DIGITS = {"train": 1500, "t10k": 1000}  # of MNIST


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the data sets and weights that lie outside the project; tests skip where it is absent."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip(f"needs the shared data at {path}")
    return path


@pytest.fixture(scope="session")
def fewer(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder with fewer pictures, for commands of the pages: with all of them they would take an hour."""
    for name in ("data/cifar10.zip", "data/mnist", "data/cats_and_dogs_small.zip", "weights"):
        if not (shared / name).exists():
            pytest.skip(f"needs {name}")
    folder = tmp_path_factory.mktemp("fewer")
    (folder / "weights").symlink_to(shared / "weights")
    (folder / "data" / "mnist").mkdir(parents=True)
    for name, some, step in (
        ("cifar10.zip", "cifar10.zip", 40),
        ("cifar10.zip", "cifar10-few.zip", 200),
        ("cats_and_dogs_small.zip", "cats_and_dogs_small.zip", 8),
    ):
        _take_some(shared / "data" / name, folder / "data" / some, step)
    for path in (shared / "data" / "mnist").glob("*.gz"):
        _take_first(path, folder / "data" / "mnist" / path.name)
    return folder


def _take_some(archive: Path, target: Path, step: int) -> None:
    """Every so many pictures of a zip, and those that a page calls by their names."""
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(target, "w") as some:
        names = sorted(name for name in whole.namelist() if not name.endswith("/"))
        for name in sorted({*names[::step], *(name for name in names if name.endswith(_CALLED))}):
            some.writestr(name, whole.read(name))


def _take_first(path: Path, target: Path) -> None:
    """The first pictures or labels of one of MNIST's files."""
    content, number = gzip.decompress(path.read_bytes()), _NUM_DIGITS[path.name.partition("-")[0]]
    header, size = (16, 784) if "images" in path.name else (8, 1)
    content = content[:4] + number.to_bytes(4, "big") + content[8 : header + number * size]
    target.write_bytes(gzip.compress(content, 1))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two test processes on two cores: more threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def short_timings() -> Iterator[None]:
    """A comparison times every network for a tenth of a second, not a second: how fast they are no test asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("saccade.compare"), "_SPEED_SECONDS", 0.1)
        yield


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Packs of the tests go into a folder of their own, never into the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("SACCADE_CACHE")
    os.environ["SACCADE_CACHE"] = str(folder)
    yield folder
    os.environ.pop("SACCADE_CACHE")
    if before is not None:
        os.environ["SACCADE_CACHE"] = before


@pytest.fixture(scope="session")
def forks() -> Iterator[Path]:
    """What stands in for a Python interpreter that has begun and imported already; see quick/forks.py."""
    if sys.platform != "linux":  # elsewhere a fork is less safe, or there is none
        yield Path(sys.executable)
        return
    quick, socket = Path(__file__).resolve().parent / "quick", Path(tempfile.mkdtemp()) / "socket"
    own = {"QUICK_PYTHON": sys.executable, "QUICK_STAND_IN": str(quick / "stand_in.py"), "QUICK_FORKS": str(socket)}
    # Threads do not survive a fork: those of numpy's BLAS, and of the allocator in pyarrow.
    without_threads = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    command = [sys.executable, str(quick / "forks.py")]
    os.environ |= own
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=os.environ | without_threads, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield quick / "python"
    shutil.rmtree(socket.parent)
    for name in own:
        os.environ.pop(name)


@pytest.fixture(scope="module")
def quick_python(forks: Path) -> Iterator[None]:
    """New processes in half a second, not five, where it does not matter how they begin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(forks))
        yield


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of 20×24 pixels in three classes that a network tells apart at once: red, green, blue noise."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("blue", "green", "red")):
        (root / name).mkdir()
        for number in range(20):
            pixels = rng.integers(0, 100, (20, 24, 3), dtype=np.uint8)
            pixels[:, :, 2 - channel] += 150
            Image.fromarray(pixels).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def finished(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of lenet5 on `colours`, trained through the pipeline, to look at but not to change."""
    recipe = make_recipe("scratch", {"model": "lenet5", "epochs": 6, "batch_size": 8, "workers": 1, "device": "cpu"})
    return train(recipe, colours, Place(tmp_path_factory.mktemp("project"), "finished"))


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[str], Path], str]:
    """Runs the words behind `saccade` as in a folder, and gives what was printed; no process loads torch for it."""

    def run(words: Sequence[str], folder: Path) -> str:
        monkeypatch.chdir(folder)
        capsys.readouterr()
        code = run_command_line(words)
        printed = capsys.readouterr()
        assert code == 0, f"{words}\n{printed.out}\n{printed.err}"
        return printed.out

    return run
