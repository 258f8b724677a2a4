"""examples/long_runs.py and timed.py: what a page waits for is filled in once it was measured, and not before."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def _load(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_waiting_marker_becomes_a_number_when_its_record_exists_and_else_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # long_runs.py finds its neighbours by it
    module, page = _load("long_runs"), tmp_path / "5-family.md"
    waiting = "has <!--~ family.a:.1% -->not yet<!-- --> and <!--~ family.b:d -->not yet<!-- -->.\n"
    page.write_text(waiting)
    module.filled_in(page, {"family": {"b": 3}})
    assert page.read_text() == waiting.replace("<!--~ family.b", "<!--= family.b")
    module.filled_in(page, {"family": {"a": 0.5}})
    assert "<!--~" not in page.read_text()


def test_waiting_figure_becomes_a_picture_when_it_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    module, page = _load("long_runs"), tmp_path / "5-family.md"
    monkeypatch.setattr(module, "PAGES", tmp_path)
    page.write_text("<!--~ figures/family.svg: Accuracy over seconds -->\n")
    module.filled_in(page, {})
    assert page.read_text() == "<!--~ figures/family.svg: Accuracy over seconds -->\n"
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "family.svg").write_text("<svg/>")
    module.filled_in(page, {})
    assert page.read_text() == "![Accuracy over seconds](figures/family.svg)\n"


def test_timed_counts_the_processor_and_the_memory_of_the_command_alone(tmp_path: Path) -> None:
    code = "import time; block = bytearray(80_000_000)\nwhile time.process_time() < 0.5: pass"
    command = [sys.executable, str(EXAMPLES / "timed.py"), "busy", "--", sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    subprocess.run([*command[:-1], "raise SystemExit(3)"], cwd=tmp_path, check=False)
    lines = [json.loads(line) for line in (tmp_path / "runs" / "costs.jsonl").read_text().splitlines()]
    assert [line["code"] for line in lines] == [0, 3]
    sums = _load("timed").costs_of("busy", tmp_path / "runs" / "costs.jsonl")
    assert 0.5 <= sums["processor_seconds"] < 3
    assert 80 <= sums["resident_mb"] < 300
    assert _load("timed").costs_of("idle", tmp_path / "runs" / "costs.jsonl") == {}
