"""The command line as a person meets it: what is printed where, exit codes, and no traceback for a user's mistake."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from saccade.cli import run_command_line
from saccade.commands.terminal import how_to_be_found
from saccade.runs import RunFolder

pytestmark = pytest.mark.usefixtures("quick_python")

_PYTHON = sys.executable  # a real one, with its own standard output

Captured = pytest.CaptureFixture[str]
_PATIENCE = 600.0  # seconds for a training to begin: torch is loaded in 3 on a quiet core, in minutes on a busy one


def _mistake(arguments: list[str], capsys: Captured) -> tuple[int, str]:
    code = run_command_line(arguments)
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return code, printed.err


def test_version_is_printed_to_stdout(capsys: Captured) -> None:
    assert run_command_line(["--version"]) == 0
    assert capsys.readouterr().out.startswith("saccade 0.")


@pytest.mark.parametrize("command", ["demo", "pack", "train", "evaluate", "predict", "report", "models"])
def test_help_of_every_command_shows_an_example_or_says_what_happens(command: str, capsys: Captured) -> None:
    assert run_command_line([command, "--help"]) == 0
    assert f"saccade {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian", "digits"], "Did you mean 'train'?"),
        (["train", "digits", "--epocs", "3"], "--epochs"),
        (["train"], "Missing argument 'PICTURES'"),
        (["train", "digits", "--epochs", "many"], "--epochs"),
        (["train", "digits", "--epochs", "0"], "epochs = 0 does not fit"),
        (["train", "digits", "--model", "lente5"], "did you mean lenet5"),
        (["train", "digits", "--recipe", "scrach"], "did you mean 'scratch'?"),
        (["train", "digits", "--head", "128,,3"], "cannot be read"),
    ],
)
def test_usage_mistake_exits_with_2_and_says_what_to_do(
    arguments: list[str], expected: str, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed = _mistake(arguments, capsys)
    assert code == 2
    assert expected in printed


def test_pictures_that_are_not_there_exit_with_2(capsys: Captured, tmp_path: Path) -> None:
    code, printed = _mistake(["train", str(tmp_path / "nowhere")], capsys)
    assert code == 2
    assert "what to do:" in printed


def test_run_that_is_not_there_exits_with_5(capsys: Captured, tmp_path: Path) -> None:
    assert _mistake(["evaluate", str(tmp_path / "nowhere")], capsys)[0] == 5


def test_project_that_cannot_be_written_exits_with_4(capsys: Captured, tmp_path: Path, colours: Path) -> None:
    (tmp_path / "file").touch()
    command = ["train", str(colours), "--model", "lenet5", "--epochs", "1", "--workers", "1", "--quiet"]
    assert _mistake([*command, "--project", str(tmp_path / "file")], capsys)[0] == 4


def test_debug_shows_the_traceback(capsys: Captured, tmp_path: Path) -> None:
    run_command_line(["evaluate", str(tmp_path / "nowhere"), "--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_bug_exits_with_1_and_asks_for_a_report(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saccade.runs.RunFolder.open", lambda path: 1 / 0)
    code, printed = _mistake(["report", "anything"], capsys)
    assert code == 1
    assert "saccade has a bug: ZeroDivisionError" in printed


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=["python", "library", "thread", "system"],
)
def test_e16_want_of_memory_is_no_bug_and_says_what_to_do(
    error: Exception, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise error

    monkeypatch.setattr("saccade.runs.RunFolder.open", refuse)
    code, printed = _mistake(["report", "anything"], capsys)
    assert code == 4
    assert "the memory does not suffice" in printed
    assert "--batch-size" in printed
    assert "bug" not in printed


def test_train_as_json_prints_nothing_but_json_to_stdout(capsys: Captured, tmp_path: Path, colours: Path) -> None:
    command = ["train", str(colours), "--model", "lenet5", "--epochs", "1", "--workers", "1", "--json"]
    assert run_command_line([*command, "--project", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["test"]["num_pictures"] == list(RunFolder.open(printed["run"]).splits.values()).count("test")
    assert RunFolder.open(printed["run"]).report_path.is_file()


def test_recipe_of_a_run_trains_the_same_again(capsys: Captured, tmp_path: Path, colours: Path) -> None:
    base = ["--quiet", "--json", "--project", str(tmp_path)]
    first = ["train", str(colours), "--model", "lenet5", "--epochs", "1", "--zoom", "0.2", "--workers", "1", *base]
    assert run_command_line(first) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    assert run_command_line(["train", str(colours), "--recipe", f"{run}/recipe.yaml", *base]) == 0
    again = json.loads(capsys.readouterr().out)["run"]
    files = [Path(folder) / "weights" / "last.safetensors" for folder in (run, again)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_evaluate_gives_the_accuracy_of_the_training(finished: RunFolder, capsys: Captured) -> None:
    assert run_command_line(["evaluate", str(finished.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == finished.metrics["test"]["accuracy"]
    assert found["loss"] == pytest.approx(finished.metrics["test"]["loss"], abs=1e-6)


def test_evaluate_prints_scikit_learns_report_and_the_matrix(finished: RunFolder, capsys: Captured) -> None:
    assert run_command_line(["evaluate", str(finished.path), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "weighted avg" in printed
    assert "confusion matrix" in printed


def test_evaluate_on_other_pictures_writes_a_row_per_picture(
    finished: RunFolder, colours: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "judged.csv"
    assert run_command_line(["evaluate", str(finished.path), str(colours), "--output", str(path)]) == 0
    with path.open() as file:
        assert len(list(csv.DictReader(file))) == 60


def test_predict_prints_a_line_per_picture(finished: RunFolder, colours: Path, capsys: Captured) -> None:
    assert run_command_line(["predict", str(finished.path), str(colours / "red")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert all("  red " in line for line in lines)


def test_predict_writes_exactly_one_row_per_picture_errors_included(
    finished: RunFolder, colours: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "broken.jpg").write_bytes((colours / "red" / "00.png").read_bytes()[:100])
    paths = [str(colours / "green" / "*.png"), str(tmp_path / "broken.jpg"), str(tmp_path / "missing.png")]
    output = tmp_path / "predictions.csv"
    assert run_command_line(["predict", str(finished.path), *paths, "--output", str(output)]) == 0
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["reason"] for row in rows] == [""] * 20 + ["truncated", "missing"]
    assert {row["class_1"] for row in rows[:20]} == {"green"}


def test_predict_of_unreadable_pictures_only_exits_with_3(
    finished: RunFolder, tmp_path: Path, capsys: Captured
) -> None:
    assert _mistake(["predict", str(finished.path), str(tmp_path / "missing.png")], capsys)[0] == 3


def test_predict_as_json_has_a_record_per_picture(finished: RunFolder, colours: Path, capsys: Captured) -> None:
    assert run_command_line(["predict", str(finished.path), str(colours / "blue"), "--json", "--top", "2"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(record["guesses"]) for record in records] == [2] * 20


def test_report_names_the_page_it_wrote(finished: RunFolder, capsys: Captured, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", str(finished.path), str(copy)], check=True)
    assert run_command_line(["report", str(copy)]) == 0
    assert capsys.readouterr().out.strip() == str(copy / "report.html")


@contextmanager
def _training(colours: Path, folder: Path, num_lines: int) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A training in another process that has written so many lines of results; the process, and the file."""
    command = [sys.executable, "-m", "saccade", "train", str(colours), "--model", "lenet5", "--epochs", "5000"]
    own = os.environ | {"SACCADE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command += ["--project", str(folder / "runs"), "--workers", "1"]
    with subprocess.Popen(command, env=own, stderr=subprocess.PIPE, text=True) as process:
        try:
            results, deadline = folder / "runs" / colours.name / "results.csv", time.monotonic() + _PATIENCE
            while not (results.exists() and results.read_text().count("\n") >= num_lines):
                assert time.monotonic() < deadline, "the training did not begin"
                assert process.poll() is None
                time.sleep(0.1)
            yield process, results
        finally:
            process.kill()


def test_interrupt_exits_with_130_and_leaves_no_half_file(colours: Path, tmp_path: Path) -> None:
    with _training(colours, tmp_path, 3) as (process, results):
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "stopped; what was written so far is whole" in printed
    assert not list(tmp_path.rglob("*.partial*"))
    assert results.read_text().endswith("\n")


def test_output_into_a_closed_pipe_ends_quietly(finished: RunFolder, colours: Path) -> None:
    command = f"{sys.executable} -m saccade predict {finished.path} {colours} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)  # noqa: S602
    assert done.stdout.count("\n") == 1
    assert "rror" not in done.stderr


def test_no_arguments_show_the_help_and_no_empty_error(capsys: Captured) -> None:
    code, printed = _mistake([], capsys)
    assert code == 2
    assert "error" not in printed


def test_e22_terminal_without_unicode_gets_an_answer_not_an_error() -> None:
    own = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "saccade", "models", "lenet5"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
    assert "pictures of 32?32?3" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_full_disk_behind_stdout_exits_with_4(finished: RunFolder) -> None:
    command = f"{_PYTHON} -m saccade evaluate {finished.path} --quiet > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)  # noqa: S602
    assert "bug" not in done.stderr
    assert done.returncode == 4


def test_refusal_of_the_system_exits_with_4_and_names_the_place(
    finished: RunFolder, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise OSError(28, "No space left on device", "runs/a/report.html")

    monkeypatch.setattr("saccade.runs.RunFolder.open", refuse)
    code, printed = _mistake(["report", "anything"], capsys)
    assert code == 4
    assert "where: runs/a/report.html" in printed


@pytest.mark.parametrize("output", [".", "nowhere/x.csv"])
def test_output_that_cannot_be_written_is_said_before_the_work(
    finished: RunFolder, colours: Path, capsys: Captured, output: str
) -> None:
    code, printed = _mistake(["predict", str(finished.path), str(colours), "--output", output], capsys)
    assert code == 2
    assert "--output" in printed


def test_folder_without_pictures_and_glob_without_files_keep_a_row(
    finished: RunFolder, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "empty").mkdir()
    paths = [str(tmp_path / "empty"), str(tmp_path / "*.png")]
    assert run_command_line(["predict", str(finished.path), *paths]) == 3
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_batch_of_one_that_batch_norm_cannot_learn_from_is_explained(
    colours: Path, tmp_path: Path, capsys: Captured
) -> None:
    command = [
        "train",
        str(colours),
        "--recipe",
        "scratch",
        "--model",
        "resnet18",
        "--image-size",
        "32",
        "--batch-size",
        "1",
        "--epochs",
        "1",
    ]
    code, printed = _mistake([*command, "--workers", "1", "--quiet", "--project", str(tmp_path)], capsys)
    assert code == 2
    assert "--batch-size 2" in printed


def test_mistake_in_what_learns_leaves_no_run_folder(colours: Path, tmp_path: Path, capsys: Captured) -> None:
    command = ["train", str(colours), "--model", "lenet5", "--train", "layer9", "--workers", "1", "--quiet"]
    assert _mistake([*command, "--project", str(tmp_path / "runs")], capsys)[0] == 2
    assert not (tmp_path / "runs").exists()


def test_e04_sigterm_while_training_exits_with_143_and_says_so(colours: Path, tmp_path: Path) -> None:
    with _training(colours, tmp_path, 1) as (process, _):
        process.terminate()
        printed = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert "stopped by SIGTERM" in printed
    assert not list(tmp_path.rglob("*.partial*"))


def test_shell_that_does_not_find_saccade_is_told_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "activate").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert how_to_be_found().endswith("type: source .venv/bin/activate")
    (folder / "saccade").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(folder))
    assert how_to_be_found() == ""
