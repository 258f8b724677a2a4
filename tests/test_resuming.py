"""A training that was interrupted goes on as if nothing had been, or says why not."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import saccade
import saccade.training.loop
from saccade.cli import run_command_line
from saccade.errors import DivergedError, RecipeError, ResourceError, UsageError
from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.models.weights import save_network
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.resuming import NEWEST
from saccade.runs import RunFolder
from saccade.training.callbacks import StepPosition
from saccade.training.checkpoint import CheckpointFolder, Snapshot
from saccade.training.step import StepResult

pytestmark = pytest.mark.usefixtures("quick_python")

ROOT = Path(__file__).parent.parent
FIXTURE = ROOT / "tests" / "fixtures" / "checkpoint-format-1"
QUICK: dict[str, object] = {"model": "lenet5", "epochs": 3, "batch_size": 8, "workers": 1, "device": "cpu"}
TRANSFER: dict[str, object] = {"recipe": "finetune", "head": "gap", "image_size": 32, "batch_norm": "learn"}

Patch = pytest.MonkeyPatch
Captured = pytest.CaptureFixture[str]
Calm = Callable[[dict[str, object]], tuple[object, ...]]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    save_network(path, build_network(NetworkSpec("lenet5", 7, 32, 3, "gap"), seed=3), {})
    return str(path)


def _recipe(**changes: object) -> dict[str, object]:
    return {**QUICK, **changes}


def _train(pictures: Path | str | None, project: Path, fields: dict[str, object], **place: object) -> RunFolder:
    fields = dict(fields)
    recipe = make_recipe(str(fields.pop("recipe", "scratch")), fields)
    return train(recipe, pictures, Place(project, "run", **place))  # type: ignore[arg-type]


def _outcome(run: RunFolder) -> tuple[object, ...]:
    """The weights, and results.csv without its seconds."""
    with (run.path / "results.csv").open(newline="") as file:
        rows = [row[:6] for row in csv.reader(file)]
    files = [run.path / "weights" / f"{which}.safetensors" for which in ("best", "last")]
    return (*(hashlib.sha256(file.read_bytes()).hexdigest() for file in files), rows)


@pytest.fixture(scope="module")
def undisturbed(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    """The outcome of a training on `colours` that nobody interrupts; each is run once, whatever is compared with it."""
    known: dict[str, tuple[object, ...]] = {}

    def outcome(fields: dict[str, object]) -> tuple[object, ...]:
        key = json.dumps(fields, sort_keys=True)
        if key not in known:
            known[key] = _outcome(_train(colours, tmp_path_factory.mktemp("calm"), fields))
        return known[key]

    return outcome


def _after(number: int, name: str, patch: Patch, do: Callable[[], None]) -> None:
    """Have something done before the call with that number of a function of the loop."""
    whole, calls = getattr(saccade.training.loop, name), [0]

    def counting(*arguments: object, **named: object) -> object:
        calls[0] += 1
        if calls[0] == number:
            do()
        return whole(*arguments, **named)

    patch.setattr(saccade.training.loop, name, counting)


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _interrupted(pictures: Path, project: Path, fields: dict[str, object], where: tuple[str, int]) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        _after(where[1], where[0], patch, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            _train(pictures, project, fields)
    return RunFolder(project / "run")


@pytest.mark.parametrize(
    "where", [("update", 1), ("update", 7), ("update", 5), ("validate_batches", 1), ("update", 15)]
)
@pytest.mark.parametrize(
    "fields",
    [
        {"augment": "standard"},
        {"optimizer": "sgd", "schedule": "cosine"},
        {"optimizer": "rmsprop", "schedule": "plateau", "patience": 2},
        {"optimizer": "adam", "schedule": "constant"},
        {"model": "timm/test_resnet", "image_size": 32, "head": "16,8", "epochs": 3},
        {"ema": 0.9, "accumulate": 3, "warmup": 1.5, "sampling": "balanced", "schedule": "step", "clip_norm": 1.0},
        {
            "ema": 0.9,
            "accumulate": 2,
            "warmup": 0.5,
            "model": "timm/test_resnet",
            "image_size": 32,
            "schedule": "cosine",
        },
        {"ema": 0.5, "schedule": "plateau", "best_by": "val_accuracy", "warmup": 1, "patience": 2, "tensorboard": True},
        {"recipe": "sprint", "model": "sprint", "small_first": "16,24"},
        {"schedule": "triangle", "class_weights": "balanced", "mixup": 0.2, "label_smoothing": 0.1, "l2": "head=1e-3"},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_e03_training_stopped_anywhere_goes_on_to_the_same_bits(
    fields: dict[str, object], where: tuple[str, int], undisturbed: Calm, colours: Path, tmp_path: Path
) -> None:
    fields = _recipe(**fields)
    run = _interrupted(colours, tmp_path / "stopped", fields, where)
    assert not run.is_finished
    assert _outcome(_go_on(run)) == undisturbed(fields)


def test_average_that_is_kept_is_not_the_weights_that_learn(colours: Path, tmp_path: Path) -> None:
    run = _train(colours, tmp_path, _recipe(ema=0.9))
    plain = _train(colours, tmp_path / "plain", QUICK)
    assert _outcome(run)[:2] != _outcome(plain)[:2]
    assert [row["train_loss"] for row in run.results] == [row["train_loss"] for row in plain.results]
    judged = run.metrics["val"]["accuracy"]
    assert judged == max(row["val_accuracy"] for row in run.results), "the best weights are those of the average"


def _cramp(patch: Patch, most: int, after: int) -> None:
    """From a pass through the network on, no more than so many pictures fit into memory."""
    whole, calls = Network.training_outputs, [0]

    def training_outputs(self: Network, images: torch.Tensor) -> object:
        calls[0] += 1
        if calls[0] > after and len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return whole(self, images)

    patch.setattr(Network, "training_outputs", training_outputs)


@pytest.mark.parametrize(
    "model", [{}, {"model": "timm/test_resnet", "image_size": 32, "ema": 0.9}], ids=["lenet5", "norm"]
)
def test_e15_memory_that_ran_out_is_remembered_by_the_run_that_goes_on(
    model: dict[str, object], colours: Path, tmp_path: Path
) -> None:
    fields = _recipe(**model)
    with pytest.MonkeyPatch.context() as patch:
        _cramp(patch, most=4, after=6)
        calm = _outcome(_train(colours, tmp_path / "calm", fields))
    with pytest.MonkeyPatch.context() as patch:
        _cramp(patch, most=4, after=6)
        run = _interrupted(colours, tmp_path / "stopped", fields, ("update", 11))
    assert "memory ran out" in run.log_path.read_text()
    assert _outcome(_go_on(run)) == calm, "there is enough memory now, and yet the pieces stay"
    assert _outcome(_train(colours, tmp_path / "whole", fields)) != calm


def test_own_schedule_and_callbacks_go_on_from_python_and_not_without_the_function(
    colours: Path, tmp_path: Path
) -> None:
    class Counter(saccade.Callback):
        def __init__(self) -> None:
            self.steps = 0

        def after_step(self, position: StepPosition, read: object) -> None:
            self.steps += 1

        def state(self) -> dict[str, int]:
            return {"steps": self.steps}

        def set_state(self, state: Mapping[str, int]) -> None:
            self.steps = state["steps"]

    def halving(epoch: float) -> float:
        return 0.5**epoch

    how: dict[str, Any] = {"model": "lenet5", "epochs": 3, "batch_size": 8, "workers": 1, "quiet": True}
    how |= {"device": "cpu", "recipe": "scratch", "schedule": halving}
    counters = [Counter() for _ in range(3)]
    calm = saccade.train(colours, project=tmp_path / "calm", callbacks=[counters[0]], **how)
    with pytest.MonkeyPatch.context() as patch:
        _after(9, "update", patch, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            saccade.train(colours, project=tmp_path / "stopped", callbacks=[counters[1]], **how)
    with pytest.raises(RecipeError, match="a function of the one who called"):
        saccade.train(project=tmp_path / "stopped", resume=True, quiet=True)
    run = saccade.train(
        project=tmp_path / "stopped", resume=True, quiet=True, schedule=halving, callbacks=[counters[2]]
    )
    assert _outcome(run.folder) == _outcome(calm.folder)
    assert counters[2].steps == counters[0].steps > counters[1].steps
    assert [row["learning_rate"] for row in run.results] == pytest.approx([3e-3 * 0.5**epoch for epoch in (1, 2, 3)])


def _go_on(run: RunFolder) -> RunFolder:
    """As `saccade train --resume RUN` does."""
    return train(make_recipe("advice", {}), None, Place(run.path.parent, resume=str(run.path)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prefix_cache": False},
        {"recipe": "finetune+augment", "views": 2},
        {"recipe": "features", "head": "16"},
    ],
    ids=["features kept", "nothing kept", "views kept", "head of layers"],
)
@pytest.mark.parametrize("where", [("update", 1), ("update", 9)])
def test_e03_transfer_goes_on_to_the_same_bits(
    changes: dict[str, object], where: tuple[str, int], undisturbed: Calm, colours: Path, backbone: str, tmp_path: Path
) -> None:
    fields = _recipe(**{**TRANSFER, **changes}, weights=backbone)
    run = _interrupted(colours, tmp_path / "stopped", fields, where)
    assert _outcome(_go_on(run)) == undisturbed(fields)


@pytest.mark.parametrize("only", ["onecycle", "average"])
def test_e03_killed_at_random_moments_every_restart_succeeds_with_the_same_bits(only: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "kill.py"), "--kills", "4", "--only", only, "--longest", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all the same" in done.stdout


def _killed_while_writing(number: int, patch: Patch) -> None:
    """End the process, as it were, while the file with that number is being written: half of it stays behind."""
    flush, unlink, calls = os.fsync, Path.unlink, itertools.count(1)

    def fsync(file: int) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt
        flush(file)

    def stays(path: Path, missing_ok: bool = False) -> None:
        if path.suffix != ".partial" or missing_ok is False:
            unlink(path, missing_ok)

    patch.setattr("saccade.whole.os.fsync", fsync)
    patch.setattr(Path, "unlink", stays)


def test_e03_killed_while_any_file_before_training_is_written_the_same_folder_goes_on(
    undisturbed: Calm, colours: Path, tmp_path: Path
) -> None:
    calm = undisturbed(QUICK)  # and the pictures are packed
    run, halves = RunFolder(tmp_path / "run"), set[str]()
    for number in itertools.count(1):
        with pytest.MonkeyPatch.context() as patch:
            _killed_while_writing(number, patch)
            with pytest.raises(KeyboardInterrupt):
                _train(colours, tmp_path, QUICK, resume=NEWEST)
        halves |= {path.name for path in run.path.glob("*.partial")}
        if run.is_begun:
            break
    assert {"environment.json.partial", "splits.csv.partial", "recipe.yaml.partial"} < halves
    assert _outcome(_train(colours, tmp_path, QUICK, resume=NEWEST)) == calm
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_best_weights_that_are_newer_than_the_checkpoint_do_not_count(
    undisturbed: Calm, colours: Path, tmp_path: Path
) -> None:
    run = _interrupted(colours, tmp_path / "stopped", QUICK, ("update", 8))
    run.best_path.write_bytes(b"of an epoch that was never finished")
    assert _outcome(_go_on(run)) == undisturbed(QUICK)


def test_rows_after_the_checkpoint_are_cut_and_the_log_goes_on(colours: Path, tmp_path: Path) -> None:
    run = _interrupted(colours, tmp_path, QUICK, ("update", 8))
    with (run.path / "results.csv").open("a") as file:
        file.write("2,1,1,1,1,1,1,1\n3,half a l")
    _go_on(run)
    assert [row["epoch"] for row in run.results] == [1, 2, 3]
    log = run.log_path.read_text()
    assert log.index("stopped by Ctrl-C in epoch 2") < log.index("going on with epoch 2, after batch")
    assert log.count("epoch 1/3") == 1


def test_finished_run_has_neither_checkpoints_nor_a_lock_and_says_that_it_is_finished(
    colours: Path, tmp_path: Path, capsys: Captured
) -> None:
    run = _train(colours, tmp_path, QUICK)
    assert not run.checkpoint_path.exists()
    assert not (run.path / "lock").exists()
    before = run.best_path.stat().st_mtime_ns
    assert run_command_line(["train", "--resume", str(run.path)]) == 0
    assert f"{run.path} is finished" in capsys.readouterr().err.replace("\n", "")
    assert run.best_path.stat().st_mtime_ns == before


def test_resume_without_a_run_exits_with_2_and_says_how_to_begin(tmp_path: Path, capsys: Captured) -> None:
    assert run_command_line(["train", "--resume", "--project", str(tmp_path / "runs")]) == 2
    assert "saccade train PICTURES" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_resume_alone_takes_the_newest_unfinished_run(colours: Path, tmp_path: Path) -> None:
    old = _interrupted(colours, tmp_path, QUICK, ("update", 8))
    time.sleep(0.02)
    new = _interrupted(colours, tmp_path, QUICK, ("update", 9))  # also called run: the folder is numbered
    assert run_command_line(["train", "--resume", "--project", str(tmp_path), "--quiet"]) == 0
    assert not old.is_finished
    assert RunFolder(tmp_path / "run-2").is_finished
    assert new.path == old.path


@pytest.mark.parametrize("words", [["--resume"], []])
def test_same_command_with_resume_begins_then_goes_on_then_is_finished(
    words: list[str], colours: Path, tmp_path: Path, capsys: Captured
) -> None:
    command = ["train", str(colours), "--model", "lenet5", "--epochs", "3", "--batch-size", "8", "--workers", "1"]
    command += ["--project", str(tmp_path), *words]
    with pytest.MonkeyPatch.context() as patch:
        _after(8, "update", patch, _interrupt)
        assert run_command_line(command) == 130
    assert f"go on with it: saccade train --resume {tmp_path / colours.name}" in capsys.readouterr().err
    assert run_command_line(command) == 0
    assert len(list(tmp_path.iterdir())) == (1 if words else 2)
    if words:
        assert run_command_line(command) == 0
        assert "nothing is left to do" in capsys.readouterr().err


def test_folder_that_a_killed_command_left_empty_is_taken_by_the_same_command(colours: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "weights").mkdir(parents=True)
    assert _train(colours, tmp_path, _recipe(epochs=1), resume="newest").path.name == "run"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("somebody's")
    assert RunFolder.create(tmp_path, "own", adopt=True).path.name == "own-2"


def test_e01_step_without_a_finite_loss_is_not_applied(colours: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    whole = saccade.training.step.loss_of

    def loss_of(network: nn.Module, *arguments: object) -> torch.Tensor:
        seen.append({name: value.detach().clone() for name, value in network.named_parameters()})
        return whole(network, *arguments) * (torch.inf if len(seen) == 3 else 1)  # type: ignore[arg-type]

    monkeypatch.setattr("saccade.training.step.loss_of", loss_of)
    run = _train(colours, tmp_path, _recipe(epochs=1))
    changed = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in itertools.pairwise(seen)]
    assert changed == [True, True, False, *[True] * (len(seen) - 4)]
    assert "epoch 1: 1 steps not applied" in run.log_path.read_text()
    assert run.results[0]["train_loss"] < 100


def _diverge(patch: Patch, bad: range) -> None:
    """The loss of these updates is no number."""
    whole, calls = saccade.training.loop.update, [0]

    def update(*arguments: object) -> StepResult:
        calls[0] += 1
        if calls[0] in bad:
            return StepResult(torch.tensor(torch.nan), torch.tensor(0), applied=False)
        return whole(*arguments)  # type: ignore[arg-type]

    patch.setattr(saccade.training.loop, "update", update)


def test_e01_three_in_a_row_bring_back_the_last_good_state_at_half_the_rate(
    colours: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    fields = _recipe(schedule="constant", learning_rate=1e-3)
    _diverge(monkeypatch, range(8, 11))
    run = _train(colours, tmp_path, fields)
    assert [row["epoch"] for row in run.results] == [1, 2, 3]
    assert [row["learning_rate"] for row in run.results][-1] == pytest.approx(5e-4)
    assert "back to the last good state" in run.log_path.read_text()


def test_e01_second_time_stops_and_lists_the_pictures_of_the_batches(
    colours: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    _diverge(monkeypatch, range(8, 1000))
    with pytest.raises(DivergedError, match="left the finite numbers") as caught:
        _train(colours, tmp_path, QUICK)
    run = RunFolder(tmp_path / "run")
    assert str(run.path / "diverged.csv") in str(caught.value.where)
    with (run.path / "diverged.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 16
    assert {row["path"] for row in rows} <= {name for name, part in run.splits.items() if part == "train"}


def test_e02_network_that_learnt_nothing_is_said_with_causes(colours: Path, tmp_path: Path) -> None:
    run = _train(colours, tmp_path, _recipe(optimizer="sgd", learning_rate=1e-9, epochs=2))
    log = run.log_path.read_text()
    assert "the training loss stayed flat" in log
    assert "a learning rate that is too low (--learning-rate 1e-08)" in log


def test_e02_network_that_learns_is_not_doubted(finished: RunFolder) -> None:
    assert "Likely causes" not in finished.log_path.read_text()


def _begin(colours: Path, tmp_path: Path, *words: str) -> tuple[subprocess.Popen[str], RunFolder]:
    """A training in another process, after its first epoch."""
    command = [sys.executable, "-m", "saccade", "train", str(colours), "--model", "lenet5", "--epochs", "5000"]
    command += ["--workers", "1", "--project", str(tmp_path), "--name", "run", *words]
    own = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=own, stderr=subprocess.PIPE, text=True)
    run, deadline = RunFolder(tmp_path / "run"), time.monotonic() + 600
    while not (run.path / "results.csv").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, run


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_e04_e05_signal_saves_within_ten_seconds_and_says_how_to_go_on(
    number: int, code: int, colours: Path, tmp_path: Path
) -> None:
    process, run = _begin(colours, tmp_path)
    began = time.monotonic()
    process.send_signal(number)
    printed = process.communicate(timeout=60)[1]
    assert (process.returncode, time.monotonic() - began < 10) == (code, True)
    assert "the state is saved" in printed
    assert f"saccade train --resume {run.path}" in printed
    found = CheckpointFolder(run.checkpoint_path).newest(pytest.fail)
    assert found is not None
    assert found.values["position"]["epoch"] > 1


def test_e05_second_interrupt_leaves_at_once_with_a_whole_checkpoint(colours: Path, tmp_path: Path) -> None:
    process, run = _begin(colours, tmp_path)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert CheckpointFolder(run.checkpoint_path).newest(pytest.fail) is not None
    assert not list(run.path.glob("**/best*.partial"))


def test_e04_step_that_takes_too_long_is_left_in_the_middle(tmp_path: Path) -> None:
    slow = (
        "import hashlib, signal, saccade.__main__ as m\n"
        "m._PATIENCE_SECONDS = 0.5\nsignal.signal(signal.SIGTERM, m._terminate)\nm._enforce_deadlines()\n"
        "print('ready', flush=True)\nhashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)\n"  # minutes in one operation
    )
    process = subprocess.Popen([sys.executable, "-c", slow], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1)  # well within the one operation
    process.send_signal(signal.SIGTERM)
    printed = process.communicate(timeout=10)[1]
    assert process.returncode == 143
    assert "in the middle of a long step" in printed


def test_e07_disk_that_takes_no_checkpoint_lets_the_training_go_on_and_exits_with_4(
    colours: Path, tmp_path: Path
) -> None:
    code = (
        "import resource, signal, sys\nfrom saccade.__main__ import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (249_500, resource.RLIM_INFINITY))\n"
        f"sys.argv = ['saccade', 'train', {str(colours)!r}, '--model', 'lenet5', '--epochs', '2', '--workers', '1',"
        f" '--project', {str(tmp_path / 'runs')!r}, '--name', 'run']\nmain()"
    )
    command = [sys.executable, "-c", code]
    _train(colours, tmp_path, _recipe(epochs=1))  # the pack and the cache are there
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("no checkpoint could be written (") >= 2
    assert "none of its" in done.stderr
    assert "Traceback" not in done.stderr
    assert RunFolder(tmp_path / "runs" / "run").is_finished


def test_e07_best_weights_wait_in_memory_until_the_disk_takes_them(
    undisturbed: Calm, colours: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    calm = undisturbed(QUICK)
    whole, calls = RunFolder.save_weights, [0]

    def refuse(self: RunFolder, which: str, trained: object) -> None:
        calls[0] += 1
        if calls[0] < 5:
            raise ResourceError("the weights cannot be written: no space")
        whole(self, which, trained)  # type: ignore[arg-type]

    monkeypatch.setattr(RunFolder, "save_weights", refuse)
    run = _train(colours, tmp_path / "full", QUICK)
    assert _outcome(run) == calm
    assert "could not be written" in run.log_path.read_text()


def test_e07_too_little_space_for_the_weights_is_said_before_the_first_step(
    colours: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr("saccade.safekeeping.shutil.disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"need .* MiB, and 0\.1 MiB are free"):
        _train(colours, tmp_path, QUICK)


@pytest.mark.parametrize("number", [2, 13, 30])
def test_e08_folder_that_is_gone_or_read_only_stops_before_the_first_step(
    number: int, colours: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    def refuse(self: CheckpointFolder, snapshot: Snapshot) -> Path:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(CheckpointFolder, "write", refuse)
    monkeypatch.setattr(saccade.training.loop, "update", lambda *arguments: pytest.fail("a step was made"))
    with pytest.raises(ResourceError) as caught:
        _train(colours, tmp_path, QUICK)
    assert caught.value.exit_code == 4


def test_e09_damaged_newest_checkpoint_is_said_and_the_one_before_leads_to_the_same_bits(
    undisturbed: Calm, colours: Path, tmp_path: Path
) -> None:
    run = _interrupted(colours, tmp_path / "stopped", QUICK, ("update", 12))
    newest = sorted(run.checkpoint_path.iterdir())[-1]
    (newest / "state.safetensors").write_bytes((newest / "state.safetensors").read_bytes()[:1000])
    assert _outcome(_go_on(run)) == undisturbed(QUICK)
    assert "is damaged" in run.log_path.read_text()


def test_e11_run_of_the_first_release_goes_on(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE, tmp_path / "old")
    place = Place(tmp_path, resume=str(tmp_path / "old"), allow_change=True)
    run = train(make_recipe("advice", {"workers": 1}), None, place)
    with (FIXTURE / "results_expected.csv").open(newline="") as file:
        expected = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    assert [row["epoch"] for row in run.results] == [1, 2, 3]
    assert run.results[-1]["val_accuracy"] == pytest.approx(expected[-1], abs=0.1)


def test_e12_changed_recipe_is_listed_and_goes_on_when_allowed(colours: Path, tmp_path: Path) -> None:
    run = _interrupted(colours, tmp_path, QUICK, ("update", 8))
    changes = make_recipe("advice", {"epochs": 4, "optimizer": "sgd"})
    with pytest.raises(UsageError) as caught:
        train(changes, None, Place(tmp_path, resume=str(run.path)))
    assert "epochs was 3, now 4" in caught.value.what
    assert "optimizer was 'adamw', now 'sgd'" in caught.value.what
    assert "--allow-change" in str(caught.value.remedy)
    train(changes, None, Place(tmp_path, resume=str(run.path), allow_change=True))
    assert [row["epoch"] for row in run.results] == [1, 2, 3, 4]
    assert run.recipe.optimizer == "sgd"


def test_e12_fields_that_change_no_result_may_change(undisturbed: Calm, colours: Path, tmp_path: Path) -> None:
    run = _interrupted(colours, tmp_path, QUICK, ("update", 8))
    changes = make_recipe("advice", {"workers": 2, "checkpoint_minutes": 5.0})
    assert _outcome(train(changes, None, Place(tmp_path, resume=str(run.path)))) == undisturbed(QUICK)


def test_e12_changed_pictures_are_listed_and_go_on_when_allowed(colours: Path, tmp_path: Path) -> None:
    shutil.copytree(colours, tmp_path / "pictures")
    run = _interrupted(tmp_path / "pictures", tmp_path / "runs", QUICK, ("update", 8))
    Image.new("RGB", (24, 20), (200, 30, 30)).save(tmp_path / "pictures" / "red" / "new.png")
    with pytest.raises(UsageError, match=r"1 pictures are new, among them red/new\.png"):
        _go_on(run)
    train(make_recipe("advice", {}), None, Place(resume=str(run.path), allow_change=True))
    assert "red/new.png" in run.splits
    assert [row["epoch"] for row in run.results] == [1, 2, 3]


def test_e12_pictures_that_were_only_touched_are_the_same(colours: Path, tmp_path: Path) -> None:
    shutil.copytree(colours, tmp_path / "pictures")
    calm = _outcome(_train(tmp_path / "pictures", tmp_path / "calm", QUICK))
    run = _interrupted(tmp_path / "pictures", tmp_path / "runs", QUICK, ("update", 8))
    for path in (tmp_path / "pictures").rglob("*.png"):
        os.utime(path)
    assert _outcome(_go_on(run)) == calm


def test_e10_checkpoint_of_another_network_is_refused_even_when_changes_are_allowed(
    colours: Path, tmp_path: Path, capsys: Captured
) -> None:
    run = _interrupted(colours, tmp_path, QUICK, ("update", 8))
    command = ["train", "--resume", str(run.path), "--head", "gap", "--allow-change", "--quiet"]
    assert run_command_line(command) == 5
    assert "the checkpoint is of another network" in capsys.readouterr().err


def test_e21_run_that_another_process_trains_is_left_alone(colours: Path, tmp_path: Path, capsys: Captured) -> None:
    process, run = _begin(colours, tmp_path)
    try:
        assert run_command_line(["train", "--resume", str(run.path)]) == 4
        assert "another process is training this run" in capsys.readouterr().err
        assert _train(colours, tmp_path, _recipe(epochs=1)).path.name == "run-2"
    finally:
        process.kill()
        process.communicate()


def test_seconds_of_all_processes_are_counted(colours: Path, tmp_path: Path) -> None:
    run = _interrupted(colours, tmp_path, QUICK, ("update", 12))
    state = next(iter(sorted(run.checkpoint_path.iterdir(), reverse=True))) / "state.json"
    position = json.loads(state.read_text())["position"]
    _go_on(run)
    assert run.metrics["seconds"]["training"] > position["seconds_before"] > 0


def test_python_goes_on_too(colours: Path, tmp_path: Path) -> None:
    import saccade

    run = _interrupted(colours, tmp_path, QUICK, ("update", 8))
    assert saccade.train(project=tmp_path, resume=True, quiet=True).path == run.path
    assert run.report_path.exists()
