"""The page of a comparison: its numbers against compare.json, its links against the folder, its silence."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from saccade.compare import Compared, Plan, compare
from saccade.errors import RunError
from saccade.evaluation.learning_curve import LearningCurve, Point
from saccade.evaluation.rivals import Paired
from saccade.evaluation.standings import Comparison, Standing
from saccade.metrics import Interval
from saccade.resuming import Place
from saccade.use.comparison_page import is_comparison, render_comparison, write_comparison, write_missing_reports

ATTACK = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def compared(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Two networks from two seeds, on half and on all of the pictures."""
    changes = {"workers": 1, "epochs": 2, "batch_size": 8, "device": "cpu", "image_size": 28}
    plan = Plan(("lenet5", "cnn1"), ("scratch",), changes, seeds=2, fractions=(0.5, 1.0))
    return compare(plan, colours, Place(tmp_path_factory.mktemp("compare"), "both"))


@pytest.fixture
def copy(compared: Compared, tmp_path: Path) -> Path:
    """The same comparison in another place, to be changed."""
    return Path(shutil.copytree(compared.folder, tmp_path / "copy"))


def rows_of(page: str, name: str) -> list[list[str]]:
    """The rows of the table of a class, as text."""
    table = page.partition(f'<table class="{name}">')[2].partition("</table>")[0]
    rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    found = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[" ".join(unescape(re.sub(r"<.*?>", " ", cell)).split()) for cell in row] for row in found]


def change(folder: Path, **changes: Any) -> None:
    """Change entries of compare.json."""
    path = folder / "compare.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_comparison_table_equals_its_records(compared: Compared) -> None:
    shown = [(row[1], row[2], row[3]) for row in rows_of(render_comparison(compared.folder), "standings")[1:]]
    assert shown == [
        (each.label, f"{each.accuracy:.1%}", f"{100 * each.interval.low:.1f} to {100 * each.interval.high:.1f}")
        for each in compared.comparison.standings
    ]


def test_comparison_says_what_the_table_says_and_whether_pictures_would_help(compared: Compared) -> None:
    page = unescape(render_comparison(compared.folder))
    assert compared.comparison.in_words() in page
    for curve in compared.curves:
        assert curve.in_words()[1:] in page


def test_comparison_bars_stand_where_the_intervals_are(compared: Compared) -> None:
    page = render_comparison(compared.folder)
    low, high = (float(each) / 100 for each in re.search(r"<span>(\d+)%</span><span>(\d+)%</span>", page).groups())  # type: ignore[union-attr]
    bars = re.findall(r'<rect x="([\d.]+)" y="3" width="([\d.]+)"', page)
    for (left, width), each in zip(bars, compared.comparison.standings, strict=True):
        assert low + float(left) / 100 * (high - low) == pytest.approx(each.interval.low, abs=1e-4)
        assert float(width) / 100 * (high - low) == pytest.approx(each.interval.high - each.interval.low, abs=1e-4)


def test_comparison_links_lead_to_the_reports_that_are_there(copy: Path) -> None:
    assert "report.html" not in render_comparison(copy)
    told: list[tuple[int, int]] = []
    names = [name for each in json.loads((copy / "compare.json").read_text())["standings"] for name in each["runs"]]
    assert write_missing_reports(copy, lambda done, total: told.append((done, total))) == len(names) == 4
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert write_missing_reports(copy, lambda done, total: None) == 0
    links = [unescape(link) for link in re.findall(r'<a href="([^"]*)"', write_comparison(copy).read_text())]
    assert sorted(links) == sorted(f"{name}/report.html" for name in names)
    assert all((copy / link).is_file() for link in links)


def test_comparison_with_hostile_names_shows_them_as_text(copy: Path) -> None:
    standings = json.loads((copy / "compare.json").read_text())["standings"]
    standings[0] |= {"label": ATTACK, "runs": {'"><script>alert(1)</script>': 0.5, "javascript:alert(1)": 0.5}}
    change(copy, standings=standings, in_words=ATTACK)
    page = render_comparison(copy)
    assert "<img src=x" not in page
    assert "<script" not in page
    assert "javascript:alert(1)" in page
    assert 'href="javascript' not in page
    assert rows_of(page, "standings")[1][1] == ATTACK


def test_comparison_shows_the_command_and_what_was_left_out(copy: Path) -> None:
    for path in copy.glob("*/environment.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"command": ["saccade", "compare", "my pictures"]}))
    plan = json.loads((copy / "plan.json").read_text()) | {"left_out": ["cnn1 has no published weights"]}
    (copy / "plan.json").write_text(json.dumps(plan))
    page = unescape(re.sub(r"<.*?>", "", render_comparison(copy)))
    assert "saccade compare 'my pictures'" in page
    assert "cnn1 has no published weights" in page


def test_comparison_without_prices_and_curves_is_made_all_the_same(copy: Path) -> None:
    standings = json.loads((copy / "compare.json").read_text())["standings"]
    for each in standings:
        for key in ("parameters", "learning", "megabytes", "pictures_per_second"):
            del each[key]
    change(copy, standings=standings[:1], learning_curves=[])
    page = render_comparison(copy)
    assert 'id="curves"' not in page
    assert 'id="prices"' not in page


def test_comparison_that_is_not_finished_says_how_to_go_on(copy: Path) -> None:
    (copy / "compare.json").unlink()
    assert is_comparison(copy)
    with pytest.raises(RunError, match="not finished") as caught:
        write_comparison(copy)
    assert "--resume" in caught.value.remedy


def test_comparison_that_is_garbled_says_so(copy: Path) -> None:
    change(copy, standings=[{"label": "a"}])
    with pytest.raises(RunError, match="cannot be read"):
        render_comparison(copy)


def test_run_folder_is_no_comparison(compared: Compared) -> None:
    name = next(iter(compared.comparison.standings[0].accuracies))
    assert not is_comparison(compared.folder / name)


def test_compared_in_a_notebook_shows_names_as_text() -> None:
    interval = Interval(0.8, 0.9)
    standings = (
        Standing(ATTACK, {"a": 0.85}, 0.85, interval, None, None, 3.0),
        Standing("b", {"b": 0.8}, 0.8, interval, Paired(0.05, interval, 0.2), 0.2, 4.0),
    )
    curve = LearningCurve(ATTACK, (Point(10, 0.5, interval), Point(20, 0.85, interval)), Paired(0.3, interval, 0.5), 9)
    shown = Compared(Path(ATTACK), Comparison(standings, 200, 1, 0.5, {}), (curve,), (ATTACK,))._repr_html_()
    assert "<img" not in shown
    assert shown.count("&lt;img src=x onerror=alert(1)&gt;") >= 5
    for expected in ("85.0%", "80.0% to 90.0%", "5.0 points", "can be (p 0.200)"):
        assert expected in shown
