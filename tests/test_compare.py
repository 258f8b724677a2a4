"""compare.py: the same pictures for everybody, nothing twice, and a table that can be trusted."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from saccade.cli import run_command_line
from saccade.commands.compare import LiveProgress
from saccade.compare import Compared, Progress, compare, compare_finished, keep_finished
from saccade.errors import DataError, RecipeError, RunError, UsageError
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.models.weights import save_network
from saccade.pipeline import train
from saccade.plan import PLAN, Plan, jobs_of
from saccade.presets import make_recipe
from saccade.resuming import NEWEST, Place
from saccade.runs import RunFolder
from saccade.screen import RichScreen
from saccade.use.comparison_page import write_comparison, write_missing_reports
from saccade.use.comparison_table import comparison_in_words, write_comparison_csv

module = import_module("saccade.compare")  # as an attribute of the package that name is the function of api.py
FAST = {"epochs": 1, "image_size": 16, "device": "cpu", "workers": 1}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in brightness, 40 pictures each."""
    folder, rng = tmp_path_factory.mktemp("compared") / "pictures", np.random.default_rng(0)
    for name, level in (("dark", 70), ("light", 150)):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            pixels = np.clip(rng.normal(level, 60, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def _plan(**changes: Any) -> Plan:
    plan = Plan(("lenet5", "alexnet_cifar"), ("scratch",), {**FAST, "image_size": 32})
    return plan._replace(**changes)


@pytest.fixture(scope="module")
def compared(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    project = tmp_path_factory.mktemp("compared-runs")
    return compare(_plan(seeds=2), pictures, Place(project))


def _runs(compared: Compared) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(compared.folder.iterdir()) if path.is_dir()]


def test_comparison_trains_every_recipe_from_every_seed_on_the_same_parts(compared: Compared) -> None:
    runs = _runs(compared)
    assert len(runs) == 4
    assert all(run.is_finished for run in runs)
    assert len({json.dumps(run.splits, sort_keys=True) for run in runs}) == 1
    assert {run.recipe.seed for run in runs} == {0, 1}
    first, second = (run for run in runs if run.recipe.model == "lenet5")
    assert first.best_path.read_bytes() != second.best_path.read_bytes(), "other seeds, other weights"


def test_comparison_says_what_its_runs_say(compared: Compared) -> None:
    for standing in compared.comparison.standings:
        own = [run for run in _runs(compared) if run.recipe.model in standing.label]
        accuracies = [run.metrics["test"]["accuracy"] for run in own]
        assert standing.accuracy == pytest.approx(np.mean(accuracies))
        assert list(standing.accuracies.values()) == accuracies
        assert standing.interval.low <= standing.accuracy <= standing.interval.high
        assert standing.price is not None
        network = own[0].load().network
        assert standing.price.parameters == sum(each.numel() for each in network.parameters())
        assert standing.price.pictures_per_second is not None
    accuracies = [standing.accuracy for standing in compared.comparison.standings]
    assert accuracies == sorted(accuracies, reverse=True)
    assert compared.comparison.num_pictures == Counter(_runs(compared)[0].splits.values())["test"]


def test_comparison_as_table_file_and_json_agree(compared: Compared, tmp_path: Path) -> None:
    text = comparison_in_words(compared.comparison)
    with write_comparison_csv(tmp_path / "compare.csv", compared.comparison).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    about = json.loads((compared.folder / "compare.json").read_text(encoding="utf-8"))
    for row, standing, written in zip(rows, compared.comparison.standings, about["standings"], strict=True):
        assert row["label"] == standing.label == written["label"]
        assert float(row["accuracy"]) == pytest.approx(written["accuracy"], abs=1e-6)
        assert f"{standing.accuracy:.1%}" in text
    assert "always saying the biggest class" in text


def test_comparison_in_a_narrow_terminal_keeps_accuracy_and_interval(compared: Compared) -> None:
    wide, narrow = comparison_in_words(compared.comparison), comparison_in_words(compared.comparison, 60)
    assert max(map(len, narrow.splitlines())) <= 60 < max(map(len, wide.splitlines()))
    for standing in compared.comparison.standings:
        low, high = standing.interval
        line = next(line for line in narrow.splitlines() if line.startswith(standing.label))
        assert line.split()[len(standing.label.split()) :][:4] == [
            f"{standing.accuracy:.1%}",
            f"{low:.1%}",
            "to",
            f"{high:.1%}",
        ]
    assert comparison_in_words(compared.comparison, 1000) == wide


def test_comparison_packs_and_looks_once(pictures: Path, tmp_path: Path) -> None:
    compare(_plan(), pictures, Place(tmp_path))
    logs = [run.log_path.read_text(encoding="utf-8") for run in map(RunFolder, tmp_path.glob("*/*-seed0"))]
    assert len(logs) == 2
    assert all("reused, nothing changed" in log for log in logs[1:])


def test_comparison_that_was_stopped_goes_on_where_it_was(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, real = 0, module.train

    def stop_third(*arguments: Any) -> RunFolder:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(module, "train", stop_third)
    with pytest.raises(KeyboardInterrupt):
        compare(_plan(seeds=2), pictures, Place(tmp_path))
    before = {run.path.name: run.best_path.stat().st_mtime_ns for run in map(RunFolder, tmp_path.glob("*/*-seed0"))}
    assert len(before) == 2
    found = compare(_plan(), None, Place(tmp_path, resume=NEWEST))
    assert len(list(tmp_path.iterdir())) == 1
    assert all(
        (found.folder / name / "weights/best.safetensors").stat().st_mtime_ns == at for name, at in before.items()
    )
    assert found.comparison.num_seeds == 2, "the plan that was begun counts, not the one of the second command"


def test_comparison_that_was_killed_before_a_training_began_trains_it_in_its_own_folder(
    pictures: Path, tmp_path: Path
) -> None:
    folder = compare(_plan(models=("lenet5",), seeds=2), pictures, Place(tmp_path)).folder
    run = RunFolder(next(folder.glob("*-seed1")))
    whole, names = run.best_path.read_bytes(), {path.name for path in folder.iterdir()}
    for path in run.path.rglob("*"):
        if path.is_file() and path.name != "environment.json":
            path.unlink()
    (run.path / "recipe.yaml.partial").write_text("model: le", encoding="utf-8")
    found = compare(_plan(), None, Place(tmp_path, resume=NEWEST))
    assert found.comparison.num_seeds == 2
    assert {path.name for path in folder.iterdir()} == names
    assert run.best_path.read_bytes() == whole


def test_folds_judge_every_picture_once_and_never_by_a_network_that_saw_it(pictures: Path, tmp_path: Path) -> None:
    plan = _plan(models=("lenet5",), folds=4)
    found = compare(plan, pictures, Place(tmp_path))
    runs = _runs(found)
    judged = Counter(row["path"] for run in runs for row in run.predictions)
    assert len(runs) == 4
    assert set(judged.values()) == {1}
    assert found.comparison.num_pictures == len(judged) == 80
    for run in runs:
        assert {path for path, part in run.splits.items() if part == "test"} == {row["path"] for row in run.predictions}


def test_fractions_are_nested_and_judged_by_the_same_pictures(pictures: Path, tmp_path: Path) -> None:
    found = compare(_plan(models=("lenet5",), fractions=(0.25, 0.5, 1.0)), pictures, Place(tmp_path))
    runs = sorted(_runs(found), key=lambda run: run.recipe.fraction)
    learned = [{path for path, part in run.splits.items() if part == "train"} for run in runs]
    assert learned[0] < learned[1] < learned[2]
    assert len({tuple(row["path"] for row in run.predictions) for run in runs}) == 1
    (curve,) = found.curves
    assert [point.num_train for point in curve.points] == [len(each) for each in learned]
    assert curve.points[-1].accuracy == found.comparison.standings[0].accuracy
    assert "training pictures the accuracy of" in curve.in_words()


def test_progress_is_told_run_by_run(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[Progress] = []
    with LiveProgress(RichScreen()) as live:

        def watch(progress: Progress) -> None:
            told.append(progress)
            live.show(progress)

        compare(_plan(), pictures, Place(tmp_path), watch=watch)
    lines = [line for line in capsys.readouterr().err.splitlines() if "runs done" in line]
    assert lines[0] == "0 of 2 runs done; lenet5, seed 0"
    assert lines[1].startswith("1 of 2 runs done; alexnet_cifar, seed 0 (so far lenet5 leads with ")
    assert lines[2:] == ["2 of 2 runs done"]
    assert [told[0].done, told[-1].done, told[-1].total] == [0, 2, 2]
    assert told[0].so_far is None
    assert len(told[-1].so_far.standings) == 2  # type: ignore[union-attr]


def _of_one_seed(compared: Compared) -> list[Path]:
    return [run.path for run in _runs(compared) if run.recipe.seed == 0]


def test_finished_runs_of_the_same_pictures_are_compared_and_others_refused(
    compared: Compared, pictures: Path, tmp_path: Path
) -> None:
    paths = _of_one_seed(compared)
    found = compare_finished(paths)
    assert {standing.label for standing in found.standings} == {path.name for path in paths}
    other = train(
        make_recipe("scratch", {**FAST, "model": "lenet5", "image_size": 32, "split_seed": 5}),
        pictures,
        Place(tmp_path),
    )
    with pytest.raises(DataError, match="different pictures"):
        compare_finished([paths[0], other.path])


def test_finished_runs_that_differ_only_in_their_seed_are_the_row_that_the_comparison_made_of_them(
    compared: Compared,
) -> None:
    said: list[str] = []
    found = compare_finished([run.path for run in reversed(_runs(compared))], said.append)
    assert len(said) == 2
    assert all("differ only in their seed: one row" in sentence for sentence in said)
    for again, before in zip(found.standings, compared.comparison.standings, strict=True):
        assert (again.accuracies, again.accuracy, again.interval) == (
            before.accuracies,
            before.accuracy,
            before.interval,
        )
        assert (again.p, again.num_seeds) == (before.p, 2)
        assert again.label.endswith("-seed0 (seeds 0, 1)")
    assert "2 seeds each" in comparison_in_words(found)


def test_run_without_a_second_seed_stands_beside_one_with_two_and_that_is_said(compared: Compared) -> None:
    first, _, third, fourth = (run.path for run in _runs(compared))
    found = compare_finished([first, third, fourth])
    assert sorted(each.num_seeds for each in found.standings) == [1, 2]
    assert found.num_seeds == 1
    words = comparison_in_words(found)
    assert "1 to 2 seeds each" in words
    assert "judged as that very network" in words


@pytest.mark.parametrize(
    ("change", "rows"),
    [({"learning_rate": 0.5}, 2), ({"workers": 2, "device": "auto"}, 1), ({"seed": 0}, 2)],
)
def test_runs_are_brought_together_only_where_nothing_that_is_learned_differs(
    compared: Compared, tmp_path: Path, change: dict[str, object], rows: int
) -> None:
    first, second = (run for run in _runs(compared) if run.recipe.model == "lenet5")
    other = RunFolder(Path(shutil.copytree(second.path, tmp_path / "other")))
    other.write_recipe(other.recipe.model_copy(update=change))
    assert len(compare_finished([first.path, other.path]).standings) == rows


def test_run_that_is_named_twice_is_refused(compared: Compared) -> None:
    path = _runs(compared)[0].path
    with pytest.raises(UsageError, match="named twice"):
        compare_finished([path, path / "../" / path.name])


@pytest.mark.parametrize("field", ["model", "recipe", "folds", "fold", "fraction"])
def test_changes_that_a_comparison_decides_itself_are_refused(field: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"decides {field} for each of its runs"):
        compare(_plan(changes={**FAST, field: 0.5}), pictures, Place(tmp_path))
    assert not list(tmp_path.iterdir())


def test_finished_runs_are_compared_in_a_folder_of_their_own_and_stay_as_they_are(
    compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = _of_one_seed(compared)
    before = {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}
    monkeypatch.chdir(tmp_path)
    assert run_command_line(["compare", *map(str, runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == "runs/compare"
    assert run_command_line(["compare", *map(str, runs)]) == 0
    assert "runs/compare-2/compare.html" in "".join(capsys.readouterr().err.split())
    assert run_command_line(["compare", *map(str, runs), "--output", "my/own", "--quiet"]) == 0
    assert {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")} == before
    for folder in ("runs/compare", "runs/compare-2", "my/own"):
        names = {path.name for path in Path(folder).iterdir()}
        assert names == {"compare.json", "compare.csv", "compare.html", "environment.json"}
        with Path(folder, "compare.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["label"] for row in rows] == [each["label"] for each in found["standings"]]
    again = Path("my/own/compare.html").read_bytes()
    assert run_command_line(["report", "my/own", "--quiet"]) == 0
    assert Path("my/own/compare.html").read_bytes() == again


def test_page_of_finished_runs_leads_to_their_reports(compared: Compared, tmp_path: Path) -> None:
    runs = [shutil.copytree(run.path, tmp_path / f"else {run.path.name}" / "run") for run in _runs(compared)[:3]]
    (runs[0] / "report.html").write_text("a page")
    kept = keep_finished(compare_finished(runs), runs, tmp_path / "output", Place())
    assert write_missing_reports(kept.folder, lambda done, total: None) == 0
    links = re.findall(r'<a href="([^"]*)"', write_comparison(kept.folder).read_text(encoding="utf-8"))
    assert {(kept.folder / unquote(link)).resolve() for link in links} == {runs[0] / "report.html"}


def test_folder_of_a_run_or_of_another_comparison_takes_no_comparison(compared: Compared) -> None:
    runs = [run.path for run in _runs(compared)[:2]]
    for output in (compared.folder, runs[0]):
        with pytest.raises(UsageError, match="belongs to"):
            keep_finished(compare_finished(runs), runs, output, Place())


def test_output_of_a_comparison_that_trains_is_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["compare", str(pictures), "--output", str(tmp_path / "x")]) == UsageError.exit_code
    assert "--project" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_unfinished_run_is_not_compared(compared: Compared, tmp_path: Path) -> None:
    run = _runs(compared)[0]
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("recipe.yaml", "classes.json", "data_report.json"):
        (copy / name).write_bytes((run.path / name).read_bytes())
    with pytest.raises(RunError, match="not finished"):
        compare_finished([run.path, copy])


def test_recipes_that_need_weights_are_left_out_of_networks_that_have_none() -> None:
    jobs, left_out = jobs_of(Plan(("cnn4", "resnet18"), ("scratch", "finetune"), {}))
    assert [job.label for job in jobs] == ["cnn4 scratch", "resnet18 scratch", "resnet18 finetune"]
    assert "cnn4" in left_out[0]
    assert jobs[1].recipe.weights == "none"
    with pytest.raises(UsageError, match="nothing is left"):
        jobs_of(Plan(("cnn4",), ("finetune",), {}))


def test_weights_file_of_one_of_several_networks_leaves_its_recipes_out_of_the_others(tmp_path: Path) -> None:
    file = tmp_path / "lenet5.safetensors"
    save_network(file, build_network(NetworkSpec("lenet5", 3)), {})
    jobs, left_out = jobs_of(Plan(("cnn4", "lenet5"), ("scratch", "features", "finetune"), {"weights": str(file)}))
    assert [job.label for job in jobs] == ["cnn4 scratch", "lenet5 scratch", "lenet5 features", "lenet5 finetune"]
    assert [job.recipe.weights for job in jobs[1:]] == ["none", str(file), str(file)]
    assert [line.rsplit(", so ")[1] for line in left_out] == ["features is left out", "finetune is left out"]
    assert all("these weights belong to another network: file: lenet5" in line for line in left_out)


def test_weights_of_the_comparison_are_not_those_of_scratch() -> None:
    jobs, _ = jobs_of(Plan(("resnet18",), ("scratch", "finetune"), {"weights": "some.safetensors"}))
    assert [job.recipe.weights for job in jobs] == ["none", "some.safetensors"]


def test_mistake_in_a_recipe_is_said_before_a_folder_is_made(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        compare(_plan(recipes=("scratch", "finetun")), pictures, Place(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["", "{", '{"pictures": "x"}', '{"pictures": "x", "jobs": [{}], "left_out": []}'])
def test_damaged_plan_is_refused(damage: str, tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / PLAN).write_text(damage, encoding="utf-8")
    with pytest.raises(RunError, match="cannot be read"):
        compare(_plan(), None, Place(tmp_path, resume=NEWEST))


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no comparison"):
        compare(_plan(), None, Place(tmp_path, resume=NEWEST))
