"""The README's commands are run as they stand there; only long trainings are cut to one epoch."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    lines = [line.strip() for block in _blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("saccade ")]


def _short(command: str) -> list[str]:
    words = shlex.split(re.sub(r"--epochs \d+", "--epochs 1", command))
    return [sys.executable, "-m", *words]


def _run(arguments: list[str], folder: Path) -> str:
    own = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, cwd=folder, env=own, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_readme_shows_commands() -> None:
    assert len(_commands()) >= 6


def test_readme_quick_commands_run_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    for command in _commands():
        if "../shared/data/" not in command:
            _run(_short(command), tmp_path)


def _on_shared_data() -> list[str]:
    return [command for command in _commands() if "train ../shared/data/" in command]


@pytest.mark.parametrize("command", _on_shared_data())
def test_readme_commands_on_shared_data_run(command: str, shared: Path, tmp_path: Path) -> None:
    words = [word.replace("../shared", str(shared)) for word in _short(command)]
    _run(words, tmp_path)


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_readme_python_runs(number: int, tmp_path: Path) -> None:
    code = re.sub(r"epochs=\d+", "epochs=1", _blocks("python")[number])
    _run([sys.executable, "-c", code], tmp_path)


def test_readme_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_docs_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_set_up_of_the_readme_is_two_make_commands() -> None:
    assert [line.split("#")[0].strip() for line in _blocks("sh")[0].splitlines()] == ["make demo", "make test"]
