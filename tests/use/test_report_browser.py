"""The report and the comparison in a real browser: silence, width, and pictures that a cell shows without script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.pipeline import train
from saccade.presets import make_recipe
from saccade.resuming import Place
from saccade.runs import RunFolder
from saccade.use.comparison_page import write_comparison
from saccade.use.report import write_report

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
ATTACK = "<img src=x onerror=alert(1)>"
LONG = "a class whose name has sixty letters, which is rather a lot!"
SILENT = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--allow-file-access-from-files",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nor does the browser itself ask anybody
)
# Looks at the page in a frame of each width, chooses every cell, and writes down what there is to see.
PROBE = """<!doctype html><body><script>
const found = {};
async function look(width) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width: ${width}px; height: 900px; border: 0`;
  frame.src = "PAGE";
  const loaded = new Promise(done => frame.onload = done);
  document.body.append(frame);
  await loaded;
  const page = frame.contentDocument, root = page.documentElement;
  const seen = {width: root.scrollWidth, images: page.images.length, foreign: 0, broken: 0, cells: []};
  seen.onerror = page.querySelectorAll("[onerror], script, iframe, [onclick]").length;
  for (const image of page.images) {
    if (!image.src.startsWith("data:")) seen.foreign++;
    if (image.complete && !image.naturalWidth) seen.broken++;
  }
  const shown = () => [...page.querySelectorAll(".cell")].filter(cell => cell.checkVisibility()).map(cell => cell.id);
  seen.before = shown();
  const entries = frame.contentWindow.performance.getEntriesByType("resource");
  seen.asked = entries.map(entry => entry.name).filter(name => !name.startsWith("data:"));
  for (const link of page.querySelectorAll(".matrix td a")) {
    link.focus({focusVisible: true});
    const focused = shown();
    link.blur();
    link.click();
    await new Promise(done => setTimeout(done, 50));
    seen.cells.push([link.hash.slice(1), focused, shown()]);
  }
  found[width] = seen;
}
(async () => {
  await look(1280);
  await look(390);
  document.body.innerHTML = "";
  const text = document.createElement("pre");
  text.textContent = JSON.stringify(found);
  document.body.append(text);
})();
</script></body>"""

Looked = tuple[dict[str, dict[str, object]], str]

pytestmark = pytest.mark.skipif(not BROWSER, reason="needs chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with mistakes, of classes with a hostile and a long name, and its page."""
    root = tmp_path_factory.mktemp("browser")
    random = np.random.default_rng(0)
    for name in (ATTACK, LONG, "c"):
        (root / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 256, (48, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "pictures" / name / f"{number} {'x' * 40}.png")
    fields = {"model": "lenet5", "image_size": 40, "epochs": 2, "workers": 1, "device": "cpu", "test_share": 0.5}
    found = train(make_recipe("scratch", fields), root / "pictures", Place(root / "runs", "run"))
    write_report(found)
    return found


@pytest.fixture(scope="module")
def comparison(run: RunFolder) -> Path:
    """The page of a comparison of many recipes, one of them with a hostile name."""
    folder = run.path.parent
    labels = [ATTACK, LONG, *(f"resnet18 recipe {number}" for number in range(8))]
    standings = [
        {
            "label": label,
            "accuracy": 0.9 - 0.05 * rank,
            "interval": [0.85 - 0.05 * rank, 0.95 - 0.05 * rank],
            "runs": {"run": 0.9, "gone": 0.8},
            "behind_best": 0.05 * rank if rank else None,
            "behind_best_interval": None,
            "p": 0.03 * rank if rank else None,
            "distinguishable": rank == 1 if rank else None,
            "seconds": 10.0 * (rank + 1),
            "parameters": 11_000_000,
            "learning": 1026,
            "megabytes": 44.8,
            "pictures_per_second": 100.0 + rank,
        }
        for rank, label in enumerate(labels)
    ]
    points = [{"num_train": number, "accuracy": 0.5, "interval": [0.4, 0.6]} for number in (60, 600)]
    about = {"num_pictures": 200, "num_seeds": 2, "baseline": 0.3, "in_words": f"{ATTACK} is the best"}
    about |= {"standings": standings, "pairwise": [{"first": ATTACK, "second": LONG, "p": 0.0001}]}
    about |= {"learning_curves": [{"label": label, "points": points, "in_words": "unknown"} for label in labels]}
    (folder / "compare.json").write_text(json.dumps(about))
    return write_comparison(folder)


def look_at(page: Path, folder: Path) -> Looked:
    """What the probe saw by width, and what the browser logged."""
    probe = folder / "probe.html"
    probe.write_text(PROBE.replace("PAGE", page.as_uri()))
    command = [BROWSER, *SILENT, f"--user-data-dir={folder / 'profile'}"]
    command += ["--window-size=1400,1000", "--virtual-time-budget=60000", "--dump-dom", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    text = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert text is not None, done.stdout[-500:] + done.stderr[-2000:]
    return json.loads(text[1].replace("&lt;", "<").replace("&amp;", "&")), done.stderr


@pytest.fixture(scope="module")
def seen(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Looked:
    """The report in the browser."""
    return look_at(run.report_path, tmp_path_factory.mktemp("report-seen"))


@pytest.fixture(scope="module")
def seen_comparison(comparison: Path, tmp_path_factory: pytest.TempPathFactory) -> Looked:
    """The comparison in the browser."""
    return look_at(comparison, tmp_path_factory.mktemp("comparison-seen"))


@pytest.mark.parametrize("which", ["seen", "seen_comparison"])
def test_page_with_a_hostile_class_says_nothing_on_the_console(which: str, request: pytest.FixtureRequest) -> None:
    found, log = request.getfixturevalue(which)
    assert [line for line in log.splitlines() if "CONSOLE" in line] == []
    assert all(each["onerror"] == 0 and each["foreign"] == 0 and each["broken"] == 0 for each in found.values())


@pytest.mark.parametrize("which", ["seen", "seen_comparison"])
def test_page_asks_for_nothing_but_itself(which: str, request: pytest.FixtureRequest) -> None:
    found, _ = request.getfixturevalue(which)
    assert [each["asked"] for each in found.values()] == [[], []]


@pytest.mark.parametrize("which", ["seen", "seen_comparison"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_is_no_wider_than_its_window(which: str, width: int, request: pytest.FixtureRequest) -> None:
    found, _ = request.getfixturevalue(which)
    assert found[str(width)]["width"] <= width


def test_cell_shows_its_pictures_alone_when_focused_and_when_chosen(
    seen: Looked,
) -> None:
    found = seen[0]["1280"]
    cells = found["cells"]
    assert found["before"] == []
    assert isinstance(cells, list)
    assert len(cells) > 2
    assert [(focused, chosen) for name, focused, chosen in cells] == [([name], [name]) for name, _, _ in cells]
