"""The README's commands are run as they stand there; only long trainings are cut to one epoch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
Command = Callable[[Sequence[str], Path], str]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    lines = [line.strip() for block in _blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("saccade ")]


def _short(command: str) -> list[str]:
    return shlex.split(re.sub(r"--epochs \d+", "--epochs 1", command))[1:]


def test_readme_shows_commands() -> None:
    assert len(_commands()) >= 6


def test_readme_quick_commands_run_one_after_the_other(command: Command, tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    for line in _commands():
        if "../shared/data/" not in line:
            command(_short(line), tmp_path)


def _on_shared_data() -> list[str]:
    return [command for command in _commands() if "train ../shared/data/" in command]


@pytest.mark.parametrize("line", _on_shared_data())
def test_readme_commands_on_shared_data_run(line: str, command: Command, fewer: Path, tmp_path: Path) -> None:
    words = [word.replace("../shared", str(fewer)) for word in _short(line)]
    # Timing the other modes takes longer than such a training, and the quick commands do it.
    command([*words, "--precision", "float32", "--layout", "channels_last", "--compile", "off"], tmp_path)


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_readme_python_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(re.sub(r"epochs=\d+", "epochs=1", _blocks("python")[number]), {"__name__": "__main__"})  # noqa: S102


def test_readme_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_docs_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_set_up_of_the_readme_is_two_make_commands() -> None:
    assert [line.split("#")[0].strip() for line in _blocks("sh")[0].splitlines()] == ["make demo", "make test"]
