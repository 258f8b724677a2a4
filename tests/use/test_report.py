"""The report of real, small runs: its numbers against the files of the run, its silence against hostile names."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saccade.api import train
from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation
from saccade.errors import UsageError
from saccade.evaluation.slices import slices_by
from saccade.metrics import Evaluation
from saccade.models.catalogue import build_network
from saccade.models.certainty import Certainty, Step
from saccade.models.network import NetworkSpec
from saccade.models.weights import save_network
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork
from saccade.use.report import render_report, write_report
from saccade.use.report_page import duration, moment, percent
from saccade.use.report_pictures import Seen, fill_cells, find_mistakes

ATTACK = "<img src=x onerror=alert(1)>"
CLASSES = (ATTACK, "고양이 'quoted' \"twice\"", "two\nlines & 😀")
PLACE = "taken at 52.5200 N 13.4050 E"
PAGE_ELEMENTS = """
html head meta title link style body main header section footer h1 h2 h3 p ul ol li dl dt dd div span b i small
strong bdi code pre a table thead tbody tfoot tr th td details summary figure img svg g defs path use text clippath rect
"""
PAGE_ATTRIBUTES = """
charset http-equiv content name rel href lang id class style title scope colspan src alt aria-hidden aria-label role
viewbox d transform x y width height clip-path xlink:href
"""


class Page(HTMLParser):
    """A page taken apart: its elements with their attributes, and the text inside them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._collecting: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, each gap one space."""
        return " ".join(" ".join(self.texts).split())

    def attributes(self, name: str) -> list[str]:
        """The values of an attribute, in the order of the page."""
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def cells(page: str, section: str, table: int = 0) -> list[list[str]]:
    """The rows of a table of a section, as text; small print is left out."""
    page = re.sub(r"<small>.*?</small>", "", page)
    part = page.partition(f'<section id="{section}">')[2].partition("</section>")[0]
    rows = re.findall(r"<tr.*?</tr>", re.findall(r"<table.*?</table>", part, re.DOTALL)[table], re.DOTALL)
    found = [re.findall(r"<(?:th|td).*?>(.*?)</(?:th|td)>", row, re.DOTALL) for row in rows]
    return [["".join(Page(cell).texts) for cell in row] for row in found]


def words_with_id(page: str, name: str) -> str:
    """The text of the element with an id."""
    found = re.search(rf'id="{name}">(.*?)</(?:b|strong|code)>', page, re.DOTALL)
    assert found is not None
    return Page(found[1]).text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    """A run on photographs in classes with hostile names; one file is broken, all carry EXIF."""
    root = tmp_path_factory.mktemp("report")
    random = np.random.default_rng(0)
    for class_name in CLASSES:
        folder = root / "pictures" / class_name
        folder.mkdir(parents=True)
        for number in range(12):
            patches = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
            picture = Image.fromarray(patches).resize((60, 48), Image.Resampling.NEAREST)
            exif = picture.getexif()
            exif[0x010E] = PLACE
            picture.save(folder / f'{number} " onload="alert(2) <b>강.jpg', exif=exif)
    folder.joinpath("broken <script>alert(4)<.jpg").write_bytes(b"")
    shutil.copy(folder / '0 " onload="alert(2) <b>강.jpg', folder / os.fsdecode(b"latin\xe9.jpg"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SACCADE_CACHE", str(root / "cache"))
        wanted = {"epochs": 2, "model": "lenet5", "image_size": 40, "workers": 1, "test_share": 0.4, "max_bad": 0.2}
        yield train(root / "pictures", project=root / "runs", name="a <b>run", quiet=True, **wanted).folder  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(run: RunFolder) -> str:
    """The page that training wrote."""
    return run.report_path.read_text(encoding="utf-8")


@pytest.fixture
def copy(run: RunFolder, tmp_path: Path) -> RunFolder:
    """The same run in another place, to be changed."""
    return RunFolder(shutil.copytree(run.path, tmp_path / "copy"))


def change_json(run: RunFolder, name: str, **changes: Any) -> None:
    """Change entries of a JSON file of a run."""
    path = run.path / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rename_classes(run: RunFolder, class_names: tuple[str, ...]) -> Evaluation:
    """Give a run other classes and the results of a judge who is often wrong."""
    random, num_classes = np.random.default_rng(1), len(class_names)
    labels = np.repeat(np.arange(num_classes), 20)
    probabilities = random.dirichlet(np.ones(num_classes), len(labels)) + np.eye(num_classes)[labels] * 0.05
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = Evaluation("test", class_names, labels, probabilities, tuple(str(n) for n in range(len(labels))))
    run.write_classes(class_names)
    run.write_predictions(found)
    run.write_metrics({"val": found, "test": found}, {"pictures": 1.0})
    change_json(run, "data_report.json", classes={name: {"train": 60, "val": 20, "test": 20} for name in class_names})
    return found


def test_report_headline_equals_metrics(run: RunFolder, page: str) -> None:
    test = run.metrics["test"]
    low, high = test["interval"]
    expected = (f"{test['accuracy']:.1%}", f"{low:.1%} to {high:.1%}", f"{test['baseline']:.1%}")
    assert tuple(words_with_id(page, name) for name in ("accuracy", "interval", "baseline")) == expected


def test_report_class_table_equals_metrics(run: RunFolder, page: str) -> None:
    report = run.metrics["test"]["report"]
    expected = [
        [name, *(f"{report[name][key]:.1%}" for key in ("precision", "recall", "f1-score"))]
        for name in (*sorted(CLASSES), "macro avg", "weighted avg")
    ]
    assert [row[:4] for row in cells(page, "classes", 1)[1:]] == expected


def test_report_areas_equal_metrics_the_smallest_first(run: RunFolder, page: str) -> None:
    known = sorted(run.metrics["test"]["classes"], key=lambda each: (each["roc_auc"], each["average_precision"]))
    expected = [
        [
            each["name"],
            f"{each['roc_auc']:.4f}",
            "{:.3f} to {:.3f}".format(*each["roc_auc_interval"]),
            f"{each['average_precision']:.4f}",
            "{:.3f} to {:.3f}".format(*each["average_precision_interval"]),
            str(each["support"]),
        ]
        for each in known
    ]
    assert cells(page, "curves")[1:] == expected
    assert {line["class"] for line in run.curves["roc"]} == set(CLASSES)


def test_report_matrix_equals_predictions(run: RunFolder, page: str) -> None:
    counts = Counter((row["label"], row["predicted"]) for row in run.predictions)
    names = sorted(CLASSES)
    shown = [[int(cell) for cell in row[1:]] for row in cells(page, "classes", 0)[2:]]
    assert shown == [[counts[true, predicted] for predicted in names] for true in names]


def test_report_mistakes_are_the_most_confident_of_predictions(copy: RunFolder) -> None:
    rename_classes(copy, ("ant", "bee", "fly"))
    wrong = [row for row in copy.predictions if row["label"] != row["predicted"]]
    expected = sorted((float(row["probability"]) for row in wrong), reverse=True)[:24]
    shown = re.findall(r'<span class="sure">(.*?)</span>', render_report(copy))
    assert shown == [f"{probability:.1%}" for probability in expected]


def test_report_class_counts_equal_splits(run: RunFolder, page: str) -> None:
    parts = Counter(run.splits.values())
    total = cells(page, "pictures", 0)[-1]
    assert total[:4] == ["all", str(parts["train"]), str(parts["val"]), str(parts["test"])]


def test_report_names_the_reason_of_skipped_pictures(page: str) -> None:
    assert ["empty file", "1"] in cells(page, "pictures", 2)


def test_report_epochs_equal_results(run: RunFolder, page: str) -> None:
    shown = [row[:3] for row in cells(page, "learning", 0)[1:]]
    rows = run.results
    assert shown == [[f"{r['epoch']:.0f}", f"{r['train_loss']:.4f}", f"{r['val_loss']:.4f}"] for r in rows]


def test_report_shows_the_exact_command(copy: RunFolder) -> None:
    change_json(copy, "environment.json", command=["saccade", "train", "my pictures", "--epochs", "3"])
    assert words_with_id(render_report(copy), "command") == "saccade train 'my pictures' --epochs 3"


def test_report_with_hostile_names_has_only_its_own_elements(page: str) -> None:
    assert {tag for tag, _ in Page(page).elements} <= set(PAGE_ELEMENTS.split())


def test_report_with_hostile_names_has_only_its_own_attributes(page: str) -> None:
    assert {name for _, attributes in Page(page).elements for name in attributes} <= set(PAGE_ATTRIBUTES.split())


def test_report_images_are_thumbnails_only(page: str) -> None:
    images = [attributes["src"] for tag, attributes in Page(page).elements if tag == "img"]
    assert images
    assert all(source.startswith("data:image/") for source in images)


@pytest.mark.parametrize("name", [ATTACK, "고양이 'quoted' \"twice\"", "two lines & 😀", "a <b>run"])
def test_report_shows_hostile_names_as_text(page: str, name: str) -> None:
    assert name in Page(page).text


def test_report_asks_nothing_of_the_network(page: str) -> None:
    found = Page(page)
    addresses = [*found.attributes("src"), *found.attributes("href"), *found.attributes("xlink:href")]
    addresses += re.findall(r"url\(['\"]?([^)]*)\)", page) + re.findall(r"@import\s*(\S+)", page)
    assert [address for address in addresses if not address.startswith(("data:", "#"))] == []


def test_report_forbids_everything_but_inline_styles_and_data_images(page: str) -> None:
    (policy,) = (a["content"] for _, a in Page(page).elements if a.get("http-equiv") == "Content-Security-Policy")
    expected = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert policy == expected


def test_report_thumbnails_carry_no_metadata(page: str) -> None:
    sources = [source for source in Page(page).attributes("src") if source.startswith("data:image/jpeg")]
    pictures = [base64.b64decode(source.partition(",")[2]) for source in sources]
    assert pictures
    assert [data for data in pictures if b"Exif" in data or PLACE.encode() in data] == []


def test_report_thumbnail_is_the_picture_it_names(run: RunFolder, page: str) -> None:
    """The first mistake against the file of that name, decoded by Pillow."""
    image = next(attributes for tag, attributes in Page(page).elements if tag == "img")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))), dtype=float)
    pictures = Path(run.data_report["source"])
    original = Image.open(pictures / os.fsdecode(image["alt"])).convert("RGB")
    assert shown.shape[:2] == (32, 40)  # of 60 × 48, squashed into 40 × 40
    original = original.resize((40, 32), Image.Resampling.BOX)
    assert np.corrcoef(shown.ravel(), np.asarray(original, dtype=float).ravel())[0, 1] > 0.9


def test_report_shows_what_was_found_in_the_pictures(copy: RunFolder) -> None:
    change_json(
        copy,
        "data_report.json",
        duplicates={
            "num_pairs": {"exact": 2, "near": 1},
            "num_groups": 2,
            "groups": [["a/1", f"b/{ATTACK}"], ["c", "d"]],
        },
        leaks={"num_test": 3, "num_val": 0, "num_copies": 4, "dropped": False, "pictures": ["test/9.png"]},
        conflicts={"num_pictures": 0, "pictures": []},
        outliers={"blurry": {"num_pictures": 1, "pictures": ["a/7.png"]}, "dark": {"num_pictures": 0, "pictures": []}},
        shortcuts=[{"fact": "size", "accuracy": 0.91, "chance": 0.5}],
        imbalance={"largest": "a", "smallest": ATTACK, "ratio": 12.0, "baseline": 0.7},
    )
    text = Page(render_report(copy)).text
    for expected in (
        "3 test, 0 val",
        "test/9.png",
        f"a/1 = b/{ATTACK}",
        "2 exact, 1 near",
        "a/7.png",
        "91%",
        "12.0 times",
    ):
        assert expected in text, expected
    assert "In two classes" not in text


def test_report_of_a_run_that_looked_for_less_is_made_all_the_same(copy: RunFolder) -> None:
    path = copy.path / "data_report.json"
    known = {"duplicates", "leaks", "conflicts", "outliers", "shortcuts", "imbalance", "sizes", "formats", "num_grey"}
    report = json.loads(path.read_text())
    assert known <= report.keys()
    path.write_text(json.dumps({key: value for key, value in report.items() if key not in known}))
    assert "What was found" not in render_report(copy)


def test_report_without_pictures_says_so(copy: RunFolder) -> None:
    change_json(copy, "data_report.json", source="/nowhere/<b>pictures")
    assert (
        "listed without their pictures: the pictures this run was trained on are no longer there"
        in Page(render_report(copy)).text
    )


def test_report_without_pictures_has_no_image(copy: RunFolder) -> None:
    change_json(copy, "data_report.json", source="/nowhere")
    assert "<img" not in render_report(copy)


def test_report_of_changed_pictures_says_so(copy: RunFolder) -> None:
    change_json(copy, "data_report.json", fingerprint="another")
    assert "have changed since" in Page(render_report(copy)).text


def test_report_without_mistakes_says_so(copy: RunFolder) -> None:
    (copy.path / "predictions.csv").write_text("path,split,label,predicted,probability,label_probability\n")
    assert "every test picture was named correctly" in Page(render_report(copy)).text


def test_report_of_an_unfinished_run_says_so(copy: RunFolder) -> None:
    (copy.path / "metrics.json").unlink()
    (copy.path / "results.csv").unlink()
    assert "This run is not finished" in Page(render_report(copy)).text


def test_report_of_many_classes_shows_pairs_instead_of_a_matrix(copy: RunFolder) -> None:
    found = rename_classes(copy, tuple(f"class {number:02d}" for number in range(31)))
    confusion = found.confusion - np.diag(np.diag(found.confusion))
    assert cells(render_report(copy), "classes", 0)[1][2] == str(confusion.max())


def test_report_of_a_class_called_accuracy_keeps_its_row(copy: RunFolder) -> None:
    rename_classes(copy, ("accuracy", "macro avg", "other"))
    assert [row[0] for row in cells(render_report(copy), "classes", 1)[1:4]] == ["accuracy", "macro avg", "other"]


def test_report_shows_what_the_log_warned_of(copy: RunFolder) -> None:
    copy.log_path.write_text("hello\nwarning: <u>few</u> pictures\n")
    assert "<u>few</u> pictures" in Page(render_report(copy)).text


def test_report_class_intervals_equal_evaluate(run: RunFolder, page: str) -> None:
    part = page.partition('<section id="classes">')[2].partition("</section>")[0]
    shown = re.findall(r"<small>([\d.]+ to [\d.]+)</small>", part)
    shares = [scores[key] for scores in run.metrics["test"]["classes"] for key in ("precision", "recall", "f1")]
    expected = [each["interval"] for each in shares if each["interval"]] + [run.metrics["test"]["macro_f1_interval"]]
    assert shown == [f"{100 * low:.1f} to {100 * high:.1f}" for low, high in expected]


def test_report_cells_show_the_surest_mistakes_and_the_least_sure_hits(run: RunFolder, page: str) -> None:
    names = sorted(CLASSES)
    for row, true in enumerate(names):
        for column, predicted in enumerate(names):
            inside = [r for r in run.predictions if (r["label"], r["predicted"]) == (true, predicted)]
            sure = sorted((float(r["probability"]) for r in inside), reverse=row != column)
            expected = [f"{share:.1%}" for share in sure[: 4 if row == column else 8]]
            part = page.partition(f'id="cell-{row}-{column}">')[2].partition("</ul>")[0] if inside else ""
            assert re.findall(r'<span class="sure">(.*?)</span>', part) == expected
            assert (f'href="#cell-{row}-{column}"' in page) == bool(inside)


def test_report_mistakes_have_heat_beside_them(page: str) -> None:
    part = page.partition('<section id="mistakes">')[2].partition("</section>")[0]
    shown = part.count('<div class="seen">')
    assert shown == part.count('alt="what spoke for ') > 0
    assert "Grad-CAM, block" in part


def test_report_of_a_network_without_maps_says_why_there_is_no_heat(
    copy: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise UsageError("no stage of this network gives a map")

    monkeypatch.setattr("saccade.use.report_pictures.heat_maps", refuse)
    page = render_report(copy)
    assert "There are no heat maps: no stage of this network gives a map." in page
    assert "what spoke for" not in page.replace("what spoke for the answer", "")


def test_report_calibration_equals_metrics(run: RunFolder, page: str) -> None:
    bins, steps = (run.metrics["test"][key] for key in ("reliability", "coverage"))
    right = [percent(each["accuracy"]) for each in bins]
    assert [row[2] for row in cells(page, "trust", 0)[1:]] == right
    assert [row[2] for row in cells(page, "trust", 1)[1:]] == [percent(hits / answered) for _, answered, hits in steps]


def test_report_tells_when_the_answer_is_not_sure(copy: RunFolder) -> None:
    trained = copy.load()
    steps = (Step(0.7, 50, 50), Step(0.3, 100, 60))
    certainty = Certainty(temperature=2.0, remark="", num_pictures=100, steps=steps, min_accuracy=0.9)
    copy.save_weights("best", trained._replace(certainty=certainty))
    test = copy.metrics["test"] | {"temperature": 2.0}
    test["not_sure"] = {"min_accuracy": 0.9, "threshold": 0.7, "num_answered": 4, "num_correct": 3}
    change_json(copy, "metrics.json", test=test)
    text = Page(render_report(copy)).text
    assert "a temperature of 2, fitted on 100 validation pictures" in text
    assert certainty.in_words()[1:] in text
    assert "4 are answered, 75.0% of them rightly" in text


def test_report_accuracy_by_sharpness_equals_metrics(copy: RunFolder) -> None:
    values, right = np.linspace(0, 1, 40), np.arange(40) % 3 > 0
    groups = [each.to_json() for each in slices_by(values, right)]
    change_json(copy, "metrics.json", test=copy.metrics["test"] | {"by_sharpness": groups})
    shown = [[row[2], row[4]] for row in cells(render_report(copy), "weaker", 0)[1:]]
    assert shown == [[percent(each["accuracy"]), str(each["num_pictures"])] for each in groups]
    assert len(shown) == 4


def test_report_of_leaked_pictures_names_them_and_the_rest(copy: RunFolder) -> None:
    rows = copy.predictions
    path = copy.path / "predictions.csv"
    names = list(rows[0])
    lines = [",".join('"' + row[name].replace('"', '""') + '"' for name in names) for row in rows]
    leaked = [line + (",yes" if index < 2 else ",no") for index, line in enumerate(lines)]
    path.write_text("\n".join([",".join([*names, "leaked"]), *leaked]) + "\n")
    change_json(copy, "metrics.json", test_without_leaks=copy.metrics["test"] | {"accuracy": 0.123})
    text = Page(render_report(copy)).text
    assert "2 of the test pictures have a copy" in text
    assert "Without them the accuracy is 12.3%" in text
    assert rows[1]["path"] in text


def test_report_of_a_run_from_before_the_evidence_is_made_all_the_same(copy: RunFolder) -> None:
    old = ("accuracy", "interval", "num_pictures", "num_correct", "loss", "top_3", "top_5", "baseline", "confusion")
    test = copy.metrics["test"]
    change_json(copy, "metrics.json", test={key: test[key] for key in (*old, "report")})
    page = render_report(copy)
    assert 'id="trust"' not in page
    assert 'id="curves"' not in page
    assert 'id="weaker"' not in page
    assert cells(page, "classes", 1)[1][1]


def test_report_of_a_run_whose_weights_are_gone_lists_its_mistakes(copy: RunFolder) -> None:
    copy.best_path.unlink()
    page = render_report(copy)
    assert "listed without their pictures" in page
    assert "<img" not in page


def test_report_pictures_of_noise_stay_below_three_megabytes() -> None:
    """Noise is what JPEG makes least of, and every picture that a page can show is there."""
    num_classes, side = 20, 160
    names = tuple(f"class {number}" for number in range(num_classes))
    network = build_network(NetworkSpec("lenet5", num_classes, side, 3, "gap"))
    preparation = Preparation(side, 3, "pad", DecodeRules())
    pixels = np.random.default_rng(0).integers(0, 256, (num_classes**2, side, side, 3), dtype=np.uint8)
    pack = SimpleNamespace(images=pixels, preparation=preparation, looks=np.zeros(len(pixels)))
    pairs = [(true, said) for true in names for said in names]
    rows = [
        {"path": str(number), "label": true, "predicted": said, "probability": "0.5"}
        for number, (true, said) in enumerate(pairs)
    ]
    seen = Seen(TrainedNetwork(network, names, preparation), pack, {row["path"]: int(row["path"]) for row in rows})  # type: ignore[arg-type]
    mistakes, found = find_mistakes(rows, seen, ""), fill_cells(rows, names, seen)
    images = [image for each in mistakes.shown for image in (each.image, each.heat)]
    images += [picture.image for cell in found for picture in cell.shown]
    assert len(images) == 2 * 24 + 180
    assert sum(len(image or "") for image in images) < 2_500_000


def test_report_written_twice_is_identical(run: RunFolder, page: str) -> None:
    assert write_report(run).read_text(encoding="utf-8") == page


def test_report_is_below_a_megabyte(run: RunFolder) -> None:
    assert run.report_path.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("share", "digits", "expected"),
    [
        (0.5, 1, "50.0%"),
        (1.0, 1, "100.0%"),
        (0.99996, 1, ">99.9%"),
        (0.99996, 2, ">99.99%"),
        (0.0, 1, "0.0%"),
        (0.0001, 1, "<0.1%"),
        (0.98579, 2, "98.58%"),
    ],
)
def test_percent_never_rounds_to_all_or_nothing(share: float, digits: int, expected: str) -> None:
    assert percent(share, digits) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.04, "0.0 s"), (12.34, "12.3 s"), (252, "4 min 12 s"), (7500, "2 h 05 min")]
)
def test_duration_is_in_words(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_moment_is_in_universal_time() -> None:
    assert moment("2026-11-22T06:10:03+02:00") == "2026-11-22 04:10 UTC"


def test_report_of_a_solved_head_speaks_of_no_epochs(colours: Path, tmp_path: Path) -> None:
    weights = tmp_path / "backbone.safetensors"
    save_network(weights, build_network(NetworkSpec("lenet5", 7, 32, 3, "gap")), {})
    fields: dict[str, Any] = {"model": "lenet5", "head": "gap", "weights": str(weights), "image_size": 32, "workers": 1}
    fields |= {"project": tmp_path / "runs", "epochs": 2, "quiet": True}
    solved = render_report(train(colours, recipe="features", **fields).folder)
    assert "head solved" in solved
    assert "without epochs" in solved
    assert "epoch 0 of" not in solved
    assert "kept: epoch" not in solved, "no curve of a single point"
    tuned = render_report(train(colours, recipe="finetune", **fields).folder)
    assert "2 epochs" in tuned
    assert "epoch 0 of" not in tuned
