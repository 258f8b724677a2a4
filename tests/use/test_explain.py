"""Explanations for people: one per picture, as PNG files, by Python and by the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.api import Classifier, Run, load
from saccade.cli import run_command_line
from saccade.errors import DataError, UsageError
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder
from saccade.use.explain import Explanation, Explanations
from saccade.use.explain_run import own_pictures
from saccade.use.heatmaps import Question, heat_maps
from saccade.use.sheets import CELL, coloured, enlarged, heat_over


@pytest.fixture(scope="module")
def classifier(finished: RunFolder) -> Classifier:
    return load(finished.path, device="cpu")


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on noise whose class is told by a strip along the left or the top edge alone."""
    root, rng = tmp_path_factory.mktemp("marked"), np.random.default_rng(0)
    for name in ("left", "top"):
        (root / name).mkdir()
        for number in range(120):
            pixels = rng.integers(60, 200, (32, 32), dtype=np.uint8)
            strip = pixels[:, :3] if name == "left" else pixels[:3]
            strip[:] = 255
            Image.fromarray(pixels).save(root / name / f"{number:03}.png")
    recipe = make_recipe("scratch", {"model": "lenet5", "epochs": 8, "batch_size": 16, "workers": 1, "device": "cpu"})
    return train(recipe, root, Place(tmp_path_factory.mktemp("project"), "marked"))


@pytest.fixture
def wrong(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """The finished run, whose predictions.csv is made to hold two mistakes and their confidence."""
    copy = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "wrong")))
    lines = (copy.path / "predictions.csv").read_text().splitlines()
    for number, share in ((1, "0.700000"), (2, "0.900000")):
        cells = lines[number].split(",")
        cells[3] = next(name for name in ("blue", "green", "red") if name != cells[2])
        cells[4] = share
        lines[number] = ",".join(cells)
    (copy.path / "predictions.csv").write_text("\n".join(lines) + "\n")
    return copy


@pytest.mark.parametrize("method", ["gradcam", "occlusion", "features"])
def test_explain_gives_an_explanation_per_picture_in_order(
    classifier: Classifier, colours: Path, method: str, tmp_path: Path
) -> None:
    paths = [colours / "red" / "00.png", tmp_path / "not-there.png", colours / "blue" / "01.png"]
    found = classifier.explain(paths, method=method)  # type: ignore[arg-type]
    assert [each.name for each in found] == [str(path) for path in paths]
    assert [each.reason for each in found] == ["", "missing", ""]
    written = found.save(tmp_path / "out")
    assert [path.name if path else None for path in written] == [f"00-{method}.png", None, f"01-{method}.png"]
    for path in (written[0], written[2]):
        assert path is not None
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width >= 2 * CELL


def test_class_and_probability_are_those_of_predict(classifier: Classifier, colours: Path) -> None:
    path = colours / "green" / "02.png"
    said = {guess.class_name: guess.probability for guess in classifier.predict(path)[0].guesses}
    for name in ("blue", "green"):
        about = classifier.explain(path, class_name=name)[0].about
        assert about["class"] == name
        assert about["predicted"] == "green"
        assert about["probability"] == pytest.approx(said[name], abs=1e-6)


def test_unknown_class_is_refused_with_the_nearest(classifier: Classifier, colours: Path) -> None:
    with pytest.raises(UsageError, match="no class 'gren'") as refusal:
        classifier.explain(colours / "red" / "00.png", class_name="gren")
    assert "did you mean green?" in str(refusal.value)


def test_unknown_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean gradcam"):
        Question("grad-cam")  # type: ignore[arg-type]


def test_stage_for_a_method_that_looks_at_none_is_refused() -> None:
    with pytest.raises(UsageError, match="looks at no stage"):
        Question("occlusion", "block1_conv1")


def test_heat_maps_in_batches_equal_those_one_by_one(finished: RunFolder) -> None:
    trained = finished.load()
    squares = [np.random.default_rng(n).integers(0, 256, (24, 24, 3), dtype=np.uint8) for n in range(70)]
    together = list(heat_maps(trained, squares, Question()))
    assert len(together) == 70
    for number in (0, 63, 64, 69):
        alone = next(heat_maps(trained, squares[number : number + 1], Question()))
        np.testing.assert_allclose(alone.heat, together[number].heat, rtol=1e-3, atol=1e-5)
        assert alone.predicted == together[number].predicted


def test_heat_map_as_png_is_the_array_over_the_picture(finished: RunFolder, tmp_path: Path) -> None:
    square = np.full((24, 24, 3), 90, dtype=np.uint8)
    found = next(heat_maps(finished.load(), [square], Question(), ["red"]))
    (tmp_path / "heat.png").write_bytes(found.png(64))
    with Image.open(tmp_path / "heat.png") as image:
        np.testing.assert_array_equal(np.asarray(image), found.over(64))
    assert found.over(64).shape == (64, 64, 3)


def test_heat_is_brightest_where_it_is_greatest_and_a_picture_without_heat_stays_grey() -> None:
    pixels, heat = np.full((96, 96, 3), 100, dtype=np.uint8), np.zeros((6, 6), dtype=np.float32)
    assert len(np.unique(heat_over(pixels, heat))) == 1
    heat[1, 4] = 2.0
    over = heat_over(pixels, heat).astype(int).sum(axis=2)
    row, column = np.unravel_index(int(over.argmax()), over.shape)
    assert (row * 6 // CELL, column * 6 // CELL) == (1, 4)


def test_tiny_pictures_are_enlarged_pixel_by_pixel_and_larger_ones_smoothly() -> None:
    rng = np.random.default_rng(0)
    tiny = rng.integers(0, 256, (28, 28, 1), dtype=np.uint8)
    assert set(np.unique(enlarged(tiny))) == set(np.unique(tiny))
    large = rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)
    np.testing.assert_array_equal(enlarged(large), large)


def test_colours_of_heat_rise_evenly_in_brightness() -> None:
    for name in ("viridis", "inferno"):
        ramp = coloured(np.linspace(0, 1, 64, dtype=np.float32)[None], name)
        brightness = np.asarray(Image.fromarray(ramp).convert("L"), dtype=int)[0]
        assert (np.diff(brightness) >= -1).all()
        assert brightness[-1] - brightness[0] > 150


def test_two_pictures_of_one_name_get_two_files(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    same = [Explanation(f"{place}/dog.jpg", "dog", image, {"method": "gradcam"}) for place in "ab"]
    names = [path.name for path in Explanations(same).save(tmp_path) if path]
    assert names == ["dog-gradcam.png", "dog-gradcam-2.png"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "<img src=x>", "한글", "-rf", "a\nb", "CON/x", "x" * 400])
def test_b10_hostile_names_stay_inside_the_folder(name: str, tmp_path: Path) -> None:
    found = Explanation(name, f"sheet-{name}", np.zeros((4, 4, 3), dtype=np.uint8), {"method": "gradcam"})
    (path,) = Explanations([found]).save(tmp_path)
    assert path is not None
    assert path.parent == tmp_path
    assert path.is_file()
    assert not set(path.name) & set('/\\<>:"|?*\n')


def test_hostile_names_are_escaped_in_html(classifier: Classifier, tmp_path: Path) -> None:
    bad = "<img src=x onerror=alert(1)>.png"
    Image.new("RGB", (24, 24), "red").save(tmp_path / bad, "PNG")
    shown = classifier.explain([tmp_path / bad, tmp_path / "<b>gone</b>.png"])._repr_html_()
    assert shown.count("<img ") == 1
    assert "<b>" not in shown


def test_sheets_hold_every_class_and_say_when_heat_lies_at_the_border(marked: RunFolder, tmp_path: Path) -> None:
    found = Run(marked).explain(per_class=3, device="cpu")
    assert [each.name for each in found] == ["left", "top"]
    assert [path.name for path in found.save(tmp_path) if path] == ["sheet-left-gradcam.png", "sheet-top-gradcam.png"]
    assert len(found.warnings) >= 1
    assert "36% of its area" in found.warnings[0]


def test_sheets_of_pictures_without_a_mark_raise_no_alarm(finished: RunFolder) -> None:
    assert Run(finished).explain(per_class=2, device="cpu").warnings == ()


def test_mistakes_are_drawn_most_confident_first_for_both_classes(wrong: RunFolder) -> None:
    rows = wrong.predictions
    found = Run(wrong).explain(mistakes=5, device="cpu")
    pictures = found[0].about["pictures"]
    assert isinstance(pictures, list)
    assert [each["path"] for each in pictures] == [rows[1]["path"], rows[0]["path"]]
    assert [each["class"] for each in pictures] == [rows[1]["predicted"], rows[0]["predicted"]]
    assert [each["label"] for each in pictures] == [rows[1]["label"], rows[0]["label"]]
    assert found.remarks == ("2 mistakes; these are the 2 most confident",)


def test_run_without_mistakes_says_so(finished: RunFolder) -> None:
    right = [row for row in finished.predictions if row["label"] != row["predicted"]]
    found = Run(finished).explain(mistakes=5, device="cpu")
    assert right == []
    assert len(found) == 0
    assert found.remarks == ("the run made no mistake on its test pictures",)


def test_pictures_that_are_gone_are_said_to_be_gone(finished: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "moved")))
    report = copy.data_report | {"source": str(tmp_path / "gone")}
    (copy.path / "data_report.json").write_text(json.dumps(report))
    with pytest.raises(DataError, match="no longer there") as refusal:
        own_pictures(copy, copy.load())
    assert "saccade explain RUN PATH" in str(refusal.value)


def test_command_writes_into_the_run_and_prints_where(
    finished: RunFolder, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finished.path, tmp_path / "run")
    assert run_command_line(["explain", str(run), str(colours / "red" / "00.png")]) == 0
    assert capsys.readouterr().out == f"{run}/explain/00-gradcam.png\n"
    assert (run / "explain" / "00-gradcam.png").is_file()


def test_command_with_json_prints_a_line_per_picture(
    finished: RunFolder, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", str(finished.path), str(colours / "red" / "00.png"), str(tmp_path / "gone.png")]
    assert run_command_line([*words, "--class", "blue", "--output", str(tmp_path / "out"), "--json"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["class"], first["method"], first["file"]) == ("blue", "gradcam", f"{tmp_path}/out/00-gradcam.png")
    assert (second["reason"], second["file"]) == ("missing", None)


def test_command_for_filters_needs_no_picture(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", str(finished.path), "--method", "filters", "--output", str(tmp_path)]
    assert run_command_line(words) == 0
    assert capsys.readouterr().out == f"{tmp_path}/lenet5-filters.png\n"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "nothing to explain"),
        (["x.png", "--sheet"], "PATH and --sheet do not go together"),
        (["--sheet", "--mistakes", "3"], "--sheet and --mistakes do not go together"),
        (["--sheet", "--method", "features"], "sheets of test pictures show heat"),
        (["--mistakes", "3", "--class", "red"], "both of their classes"),
        (["x.png", "--stage", "block9"], "no stage of this network is called 'block9'"),
    ],
)
def test_command_that_asks_for_what_does_not_fit_is_a_usage_error(
    finished: RunFolder, colours: Path, words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [str(colours / "red" / "00.png") if word == "x.png" else word for word in words]
    assert run_command_line(["explain", str(finished.path), *named]) == 2
    assert what in capsys.readouterr().err


def test_command_whose_pictures_cannot_be_read_ends_with_the_code_for_data(finished: RunFolder, tmp_path: Path) -> None:
    words = ["explain", str(finished.path), str(tmp_path / "gone.png"), "--output", str(tmp_path / "out")]
    assert run_command_line(words) == DataError.exit_code
