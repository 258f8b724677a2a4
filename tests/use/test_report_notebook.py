"""Results in a notebook: they show themselves, names stay text, and progress needs no widgets."""

from __future__ import annotations

import sys
from html import unescape
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from saccade.api import Run
from saccade.evaluation.evidence import Evidence
from saccade.runs import RunFolder
from saccade.screen import RichScreen

ATTACK = "<img src=x onerror=alert(1)>"


class FakeNotebook(ModuleType):
    """IPython.display as far as it is used: what was shown, newest last."""

    def __init__(self) -> None:
        super().__init__("IPython.display")
        self.shown: list[str] = []

    def HTML(self, text: str) -> str:
        """A piece of a page."""
        return text

    def display(self, text: str, *, display_id: bool) -> SimpleNamespace:
        """Show; what comes back can show something else in the same place."""
        assert display_id
        self.shown.append(text)
        return SimpleNamespace(update=self.shown.append)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> FakeNotebook:
    """A notebook without ipywidgets."""
    found = FakeNotebook()
    monkeypatch.setitem(sys.modules, "IPython.display", found)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    return found


def test_bar_in_a_notebook_moves_and_disappears_without_widgets(
    notebook: FakeNotebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = RichScreen()
    monkeypatch.setattr(screen.console, "is_jupyter", True)
    monkeypatch.setattr("saccade.screen._NOTEBOOK_PAUSE", -1.0)
    with screen.bar("epoch <1>", 10) as bar:
        bar(3, ATTACK)
        bar(12, "over")
    first, moved, full, last = notebook.shown
    assert first == last == ""
    assert '<progress max="10" value="3">' in moved
    assert '<progress max="10" value="10">' in full
    assert "<img" not in moved
    assert unescape(moved).startswith("epoch <1>")


def test_bar_in_a_notebook_is_not_drawn_for_every_picture(
    notebook: FakeNotebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = RichScreen()
    monkeypatch.setattr(screen.console, "is_jupyter", True)
    with screen.bar("decoding", 10_000) as bar:
        for done in range(10_000):
            bar(done, "")
    assert len(notebook.shown) < 20


def test_evidence_in_a_notebook_shows_its_classes_as_text() -> None:
    labels = np.arange(40) % 2
    probabilities = np.where(np.arange(40)[:, None] % 4 == 0, [[0.4, 0.6]], np.eye(2)[labels] * 0.8 + 0.1)
    found = Evidence("test", (ATTACK, "b"), labels, probabilities, tuple(map(str, range(40))))
    shown = found._repr_html_()
    assert "<img" not in shown
    assert f"<th>{ATTACK}</th>" in unescape(shown)
    recall = found.classes[0].recall
    assert recall.interval is not None
    assert f"{recall.value:.1%} ({100 * recall.interval.low:.1f} to {100 * recall.interval.high:.1f})" in shown


def test_evidence_of_many_classes_in_a_notebook_says_how_many_more() -> None:
    labels = np.arange(80) % 40
    found = Evidence("test", tuple(map(str, range(40))), labels, np.eye(40)[labels], tuple(map(str, range(80))))
    assert found._repr_html_().count("<tr>") == 31
    assert "and 10 more classes" in found._repr_html_()


def test_run_in_a_notebook_shows_its_accuracy_and_its_path_as_text(finished: RunFolder, tmp_path: Path) -> None:
    assert f"{finished.metrics['test']['accuracy']:.1%}" in Run(finished)._repr_html_()
    hostile = tmp_path / "<b>run"
    hostile.mkdir()
    assert "&lt;b&gt;run" in Run(RunFolder(hostile))._repr_html_()
