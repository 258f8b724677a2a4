"""Several processes train one network together: as one would, and nothing is lost when one of them is."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import saccade
from saccade.errors import ResourceError, UsageError
from saccade.jobs import continued, job_name
from saccade.recipe import Recipe
from saccade.resuming import Place
from saccade.runs import RunFolder
from saccade.screen import QuietScreen
from saccade.training.distributed import world
from saccade.training.gpus import own_device

pytestmark = pytest.mark.usefixtures("quick_python")

WORKER = Path(__file__).parent / "fixtures" / "several_processes.py"
_PYTHON = sys.executable  # a real one, whose children can be found
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SMALL: dict[str, object] = {"recipe": "scratch", "device": "cpu", "precision": "float32", "workers": 1, "epochs": 3}
# 36 pictures are learnt from. Of a last batch of 3 one process has all; 10 has shares of 5, and of 3 in the last.
SAME: dict[str, dict[str, object]] = {
    "plain": SMALL | {"model": "cnn1", "batch_size": 11, "augment": "standard"},
    "mixed": SMALL
    | {"model": "lenet5", "batch_size": 10, "augment": "strong", "mixup": 0.2, "cutmix": 1.0}
    | {"label_smoothing": 0.1, "optimizer": "sgd", "clip_norm": 1.0},
    "pieces": SMALL | {"model": "lenet5", "batch_size": 7, "accumulate": 3, "ema": 0.9, "class_weights": "balanced"},
}
# What the command of `_begin` trains, too.
DIGITS = SMALL | {"model": "cnn1", "epochs": 8}
# BatchNorm sees its own share in each process: 18 and 18 pictures, where one process sees 36.
NORM = SMALL | {"model": "resnet18_cifar", "image_size": 8, "batch_size": 36, "epochs": 2, "augment": "none"}

Patch = pytest.MonkeyPatch


class Together:
    """What the worker script left behind."""

    def __init__(self, folder: Path) -> None:
        self.runs = {name: RunFolder(folder / "process-0" / "runs" / name) for name in (*SAME, "norm", "digits")}
        self.seen: list[dict[str, Any]] = [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def together(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Together:
    folder = tmp_path_factory.mktemp("together")
    # Each of the two decodes its own pictures, step by step; the one process beside them has a pack.
    others = {"norm": NORM, "digits": DIGITS | {"pictures": "digits"}}
    trainings = json.dumps(SAME | {"plain": SAME["plain"] | {"stream": True}} | others)
    command = [sys.executable, *LAUNCH, str(WORKER), str(folder), str(colours), trainings]
    environment = {**os.environ, "SACCADE_CACHE": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    return Together(folder)


@pytest.mark.parametrize("name", SAME)
def test_two_processes_learn_what_one_learns(name: str, together: Together, colours: Path, tmp_path: Path) -> None:
    alone = saccade.train(colours, name=name, project=tmp_path, quiet=True, **SAME[name]).folder  # type: ignore[arg-type]
    both = together.runs[name]
    columns = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")
    rows = [[[row[column] for column in columns] for row in run.results] for run in (alone, both)]
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-4, atol=1e-4)
    one, two = (load_file(run.path / "weights" / "last.safetensors") for run in (alone, both))
    assert one.keys() == two.keys()
    for tensor in one:
        np.testing.assert_allclose(two[tensor], one[tensor], rtol=1e-3, atol=1e-4)
    assert [row["path"] for row in both.predictions] == [row["path"] for row in alone.predictions]
    assert both.metrics["test"]["num_pictures"] == alone.metrics["test"]["num_pictures"]
    assert both.metrics["test"]["loss"] == pytest.approx(alone.metrics["test"]["loss"], abs=1e-4)


def test_batch_norm_of_two_processes_keeps_the_mean_of_their_statistics(
    together: Together, colours: Path, tmp_path: Path
) -> None:
    alone = saccade.train(colours, name="norm", project=tmp_path, quiet=True, **NORM).folder  # type: ignore[arg-type]
    one, two = (load_file(run.path / "weights" / "last.safetensors") for run in (alone, together.runs["norm"]))
    first = next(name for name in one if name.endswith("running_mean"))
    # The mean of the means of equal halves is the mean of all, as long as the weights are those of the beginning; after
    # two updates they nearly are. Shares differ in their deviations, and so do the losses.
    np.testing.assert_allclose(two[first], one[first], rtol=0.05, atol=0.02)
    losses = [run.results[-1]["val_loss"] for run in (alone, together.runs["norm"])]
    assert losses[0] != losses[1]
    assert np.isfinite(losses).all()


def test_only_the_leader_writes(together: Together) -> None:
    leader, other = together.seen
    assert leader["leads"]
    assert not other["leads"]
    assert any(file.endswith("plain/report.html") for file in leader["files"])
    assert other["files"] == []


def test_sums_gradients_and_statistics_of_uneven_shares_are_those_of_the_whole_batch(together: Together) -> None:
    inputs, weight = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [5.0, 7.0]]), np.array([1.0, 2.0])
    answers = inputs @ weight
    gradient = 2 * (answers[:, None] * inputs).mean(axis=0)
    for seen, share in zip(together.seen, (0.75, 0.25), strict=True):
        assert seen["sums"] == pytest.approx([(answers**2).mean(), 3, 4, share, True])
        assert seen["gradient"][0] == pytest.approx(gradient.tolist())
        assert seen["gradient"][1] == pytest.approx([2 * answers.mean()])
        assert seen["unused"]
        assert seen["bad"] is False
        assert seen["statistics"] == [[0.25, 0.25], 7]
        assert seen["gathered"][0] == inputs.tolist()
        assert seen["decided"] == "by 0"
        assert seen["largest"] == 1
        assert seen["tally"] == [1, 20, 1.0]
    assert together.seen[1]["empty"][0] == 0.0
    assert together.seen[1]["empty"][1:] == together.seen[0]["empty"][1:]
    assert together.seen[1]["empty"][2] == [1.0, 2.0]


def test_processes_of_a_machine_share_its_cores(together: Together) -> None:
    expected = max(1, len(os.sched_getaffinity(0)) // 2)
    for seen in together.seen:
        assert seen["processes"] == 2
        assert seen["threads_within"] == expected
        assert "2 processes, all on this machine" in seen["said"]


def test_sync_batch_norm_on_cpus_is_refused(together: Together) -> None:
    assert "GPUs only" in together.seen[0]["refused"]


def _begin(project: Path, *options: str, words: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    fields = [word for name, value in DIGITS.items() for word in (f"--{name}", str(value))]
    command = [_PYTHON, *LAUNCH, *options, "-m", "saccade", "train", "digits", *fields, "--project", str(project)]
    own = os.environ | {"PYTHON_EXEC": sys.executable}  # of the processes that torchrun begins
    return subprocess.Popen([*command, *words], env=own, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _wait_for_epochs(run: Path, num_epochs: int, process: subprocess.Popen[str]) -> None:
    _wait_for_lines(run / "results.csv", "\n", num_epochs + 1, process)


def _wait_for_lines(file: Path, words: str, number: int, process: subprocess.Popen[str]) -> None:
    """Until the words stand in a file so many times."""
    deadline = time.monotonic() + 240
    while not (file.exists() and file.read_text().count(words) >= number):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun began, in the order of their ranks."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = {}
    for child in children:
        with contextlib.suppress(OSError):
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            ranks = [int(each[5:]) for each in environment if each.startswith(b"RANK=")]
            found |= {rank: int(child) for rank in ranks}
    return [found[rank] for rank in sorted(found)]


def _outcome(run: RunFolder) -> list[Any]:
    with (run.path / "results.csv").open(newline="") as file:
        rows = [row[:6] for row in csv.reader(file)]
    return [rows, (run.path / "weights" / "last.safetensors").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
def test_e03_killed_process_of_two_is_begun_again_and_the_run_ends_with_the_same_bits(
    together: Together, tmp_path: Path
) -> None:
    process = _begin(tmp_path / "killed", "--max-restarts", "2")
    run = RunFolder(tmp_path / "killed" / "digits")
    for rank, num_epochs in enumerate((1, 3)):  # first the leader, then, when both have been begun again, the other one
        _wait_for_lines(run.log_path, "goes on from", rank, process)
        _wait_for_epochs(run.path, num_epochs, process)
        os.kill(_workers(process)[rank], signal.SIGKILL)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["digits"]
    assert run.is_finished
    assert len(run.results) == 8
    log = run.log_path.read_text()
    assert log.count("begun again by torchrun") == 2
    assert log.count("goes on from") == 2
    assert _outcome(run) == _outcome(together.runs["digits"])


def test_e04_sigterm_to_torchrun_saves_the_state_and_one_process_can_go_on(tmp_path: Path) -> None:
    process = _begin(tmp_path)
    _wait_for_epochs(tmp_path / "digits", 1, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=25)
    assert process.returncode != 0
    run = RunFolder(tmp_path / "digits")
    assert "stopped by SIGTERM in epoch" in run.log_path.read_text(), said
    assert "the state is saved" in run.log_path.read_text()
    assert not run.is_finished
    done = saccade.train(resume=run.path, quiet=True)
    assert len(done.results) == 8
    assert done.folder.is_finished


def test_one_of_several_leaves_with_its_code_after_exit_functions_and_says_all_that_it_has_said() -> None:
    leaving = (
        "import atexit, saccade.__main__ as m\n"
        "atexit.register(print, 'at exit')\n"
        "print('said')\n"
        "try:\n    m._leave(3)\nfinally:\n    print('taken apart')\n"
    )
    for size, expected in (("2", "said\nat exit\n"), ("1", "said\ntaken apart\nat exit\n")):
        environment = os.environ | {"WORLD_SIZE": size}
        done = subprocess.run(
            [sys.executable, "-c", leaving], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (3, expected), done.stderr


def test_mistake_is_said_once_and_the_others_end(tmp_path: Path) -> None:
    process = _begin(tmp_path, words=("--schedule", "step", "--step-epochs", "x"))
    _, said = process.communicate(timeout=240)
    assert process.returncode != 0
    assert said.count("the epochs 'x' cannot be read") == 1
    assert "process 1 of 2: ends, because another one has ended" in said


def test_world_is_one_process_where_nobody_launched_several(monkeypatch: Patch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert world() == (0, 1, 0, 1)


def _launch(monkeypatch: Patch, **values: str) -> None:
    environment = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"} | values
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_each_process_takes_the_gpu_with_its_number_and_names_what_is_missing(monkeypatch: Patch) -> None:
    _launch(monkeypatch)
    assert own_device("cpu").type == "cpu"
    taken: list[int] = []
    monkeypatch.setattr("saccade.training.gpus.choose_device", lambda wanted: saccade_device(wanted))
    monkeypatch.setattr("torch.cuda.set_device", taken.append)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert str(own_device("cuda")) == "cuda:1"
    assert taken == [1]
    with pytest.raises(UsageError, match="cannot share one GPU"):
        own_device("cuda:0")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ResourceError, match="2 processes were begun on this machine, and it has 1"):
        own_device("cuda")
    with pytest.raises(UsageError, match="cannot share 'mps'"):
        own_device("mps")


def saccade_device(wanted: str) -> Any:
    """A device by name, whether it is there or not."""
    import torch

    return torch.device(wanted)


def _begun(project: Path, name: str, job: str) -> RunFolder:
    run = RunFolder.create(project, name)
    run.write_environment(["train"], "", job)
    run.write_recipe(Recipe().resolved())
    return run


@pytest.mark.parametrize(
    ("identity", "restarts", "finished", "expected"),
    [
        ("job-7", "0", False, "mine"),  # a scheduler began the job again
        ("job-7", "1", False, "mine"),
        ("job-7", "1", True, "mine"),  # one died when all was done: nothing is trained twice
        ("job-7", "0", True, ""),  # the same name for a new training
        ("none", "0", False, ""),
        ("other", "1", False, ""),
    ],
)
def test_run_that_a_job_began_is_found_again(
    identity: str, restarts: str, finished: bool, expected: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    mine = _begun(tmp_path, "mine", "job-7")
    _begun(tmp_path, "theirs", "job-8")
    if finished:
        mine.write_metrics({}, {})
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", identity)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
    found = continued(Place(tmp_path), QuietScreen()).resume
    assert Path(found).name == expected
    assert continued(Place(tmp_path, resume="newest"), QuietScreen()).resume == "newest"


def test_job_without_a_name_is_its_torchrun(monkeypatch: Patch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert job_name() == ""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert str(os.getppid()) in job_name().split()
