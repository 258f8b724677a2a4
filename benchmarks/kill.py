"""Kill trainings at random moments until they are done, and compare every bit with the training nobody disturbed.

    python benchmarks/kill.py --kills 200
    python benchmarks/kill.py --kills 20 --signal TERM --fresh

Each of the trainings below is run once in peace. Then it is begun again and again with the same command (`saccade
train ... --resume`) and killed after a random time, until one of the processes comes to its end. What is left must be
the same: the weights bit by bit, results.csv but for its seconds. Processes are forked from one that has torch in
memory, so that most kills hit the training and not the import; with --fresh each is a new interpreter.

It stops with exit code 1 at the first difference or failure.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

TINY = ["digits", "--recipe", "scratch", "--model", "lenet5", "--checkpoint-minutes", "0.001", "--workers", "1"]
NORMED = ["--model", "timm/test_resnet", "--image-size", "32", "--head", "32,16"]  # with BatchNorm and dropout
PRETRAINED = ["--head", "gap", "--image-size", "32", "--batch-norm", "learn"]
TRAININGS = {
    "adamw, onecycle": ["--epochs", "12", "--augment", "standard"],
    "sgd, cosine": ["--epochs", "12", "--optimizer", "sgd", "--schedule", "cosine"],
    "adam, constant": ["--epochs", "12", "--optimizer", "adam", "--schedule", "constant", "--patience", "2"],
    "rmsprop, plateau": ["--epochs", "12", "--optimizer", "rmsprop", "--schedule", "plateau"],
    "BatchNorm and dropout": ["--epochs", "4", *NORMED],
    "average, pieces, warm-up, balanced": [
        *("--epochs", "10", "--ema", "0.99", "--accumulate", "3", "--sampling", "balanced", "--clip-norm", "1"),
        *("--schedule", "step", "--warmup", "1.5", "--best-by", "val_loss"),
    ],
    "head solved, features kept": ["--epochs", "12", "--recipe", "finetune", *PRETRAINED],
    "head solved, nothing kept": ["--epochs", "6", "--recipe", "finetune", *PRETRAINED, "--no-prefix-cache"],
    "views kept": ["--epochs", "8", "--recipe", "finetune+augment", *PRETRAINED, "--views", "2"],
    "head of layers, features kept": ["--epochs", "12", "--recipe", "features", *PRETRAINED, "--head", "32"],
}
# What a training loads, and at once: an import is nothing that a kill can harm.
LOADED = ("torch._dynamo", "scipy.stats", "sklearn.linear_model", "saccade.api", "saccade.commands.train")
_GROWS = 1.04  # with every kill


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="in all, over the trainings in turn")
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM", "INT"])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--longest", type=float, default=1.5, help="seconds that a process lives; twice, with --fresh")
    parser.add_argument("--only", help="the trainings whose name has this in it")
    parser.add_argument("--fresh", action="store_true", help="a new interpreter for every process")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SACCADE_CACHE"] = str(Path(folder) / "cache")
        return _kill_all(asked, Path(folder))


def _kill_all(asked: argparse.Namespace, folder: Path) -> int:
    backbone = _backbone(folder)
    names = [name for name in TRAININGS if asked.only is None or asked.only in name]
    rng, total, calm, began = random.Random(asked.seed), Counter[str](), dict[str, Outcome](), time.perf_counter()  # noqa: S311
    for turn in range(10**6):
        name = names[turn % len(names)]
        pretrained = ["--weights", str(backbone)] if "--recipe" in TRAININGS[name] else []
        words = [*TINY, *TRAININGS[name], *pretrained]
        if name not in calm:
            _expect(_run(_command(words, folder / f"calm-{turn}"), asked.fresh), 0)
            calm[name] = outcome_of(folder / f"calm-{turn}" / "run")
        project = folder / f"killed-{turn}"
        hits = _until_done(_command(words, project), project, asked, rng)
        total += hits
        same = outcome_of(project / "run") == calm[name]
        print(f"{name:30} {sum(hits.values()):3} kills, {'the same bits' if same else 'ANOTHER RESULT'}", flush=True)
        if not same:
            print(calm[name], outcome_of(project / "run"), sep="\n")
            print(project.with_suffix(".log").read_text())
            return 1
        if sum(total.values()) >= asked.kills and turn + 1 >= len(names):
            break
    phases = ", ".join(f"{count} {phase}" for phase, count in total.most_common())
    seconds = time.perf_counter() - began
    num_kills = sum(total.values())
    print(f"{num_kills} × SIG{asked.signal} ({phases}) in {turn + 1} trainings, {seconds:.0f} s: all the same")
    return 0


Outcome = tuple[str, str, tuple[tuple[str, ...], ...]]


def outcome_of(run: Path) -> Outcome:
    """Checksums of the weights, and results.csv without its seconds."""
    files = (run / "weights" / f"{which}.safetensors" for which in ("best", "last"))
    best, last = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    with (run / "results.csv").open(newline="") as file:
        rows = tuple(tuple(row[:6]) for row in csv.reader(file))
    return best, last, rows


def _until_done(command: list[str], project: Path, asked: argparse.Namespace, rng: random.Random) -> Counter[str]:
    """Begin the command and kill it, again and again; returns how often it was hit where."""
    number, hits = signal.Signals[f"SIG{asked.signal}"], Counter[str]()
    expected = {0, -number} if asked.signal == "KILL" else {0, 128 + number, -number}
    longest = asked.longest
    while True:
        lives = rng.uniform(0, 2 * longest if asked.fresh else longest * rng.random())
        longest *= _GROWS  # on a machine so busy that nobody gets anywhere in that time, all the same an end
        code = _run(command, asked.fresh, number, lives)
        _expect(code, *expected)
        if code == 0:
            return hits
        hits[_phase(project / "run")] += 1


def _phase(run: Path) -> str:
    """What a killed process was at."""
    if not (run / "checkpoint").exists():
        return "before the first checkpoint"
    if any((run / "checkpoint").glob("*.partial")):
        return "while saving"
    done = (run / "results.csv").read_text().count("\n") - 1 if (run / "results.csv").exists() else 0
    return "in the first epoch" if done < 1 else "later"


def _run(command: list[str], fresh: bool, number: int = 0, lives: float = 0.0) -> int:
    """Run to the end, or send a signal after so many seconds; returns the exit code, negative for a signal."""
    if fresh:
        process = subprocess.Popen([sys.executable, "-m", "saccade", *command], stderr=subprocess.PIPE)
        try:
            process.wait(timeout=lives if number else None)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        process.communicate()
        return process.returncode
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # nobody could answer it within fork itself
    child = os.fork()
    if child == 0:
        _be_saccade(command)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    deadline = time.monotonic() + lives
    while number and time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    if number:
        os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _be_saccade(command: list[str]) -> None:
    """In the forked process: what the command line would do."""
    from saccade.__main__ import main as run

    sys.argv = ["saccade", *command]
    project = Path(command[command.index("--project") + 1])
    log = os.open(project.with_suffix(".log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        run()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except KeyboardInterrupt:  # before anybody could hear it
        code = 130
    finally:
        os._exit(code)


def _command(words: list[str], project: Path) -> list[str]:
    return ["train", *words, "--project", str(project), "--name", "run", "--resume"]


def _backbone(folder: Path) -> Path:
    """Weights of a small network, as if pretrained; loads what a training loads, too, so that every fork has it."""
    for name in LOADED:
        import_module(name)
    from saccade.models.catalogue import build_network
    from saccade.models.network import NetworkSpec
    from saccade.models.weights import save_network

    path = folder / "backbone.safetensors"
    save_network(path, build_network(NetworkSpec("lenet5", 7, 32, 3, "gap"), seed=3), {})
    return path


def _expect(code: int, *expected: int) -> None:
    if code not in expected:
        print(f"a process ended with {code}, expected one of {expected}")
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
