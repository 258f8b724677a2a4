"""Predictions into one file: one row per picture whatever happens, in constant memory, by one process or several."""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from saccade.api import Classifier
from saccade.api import load as load_classifier
from saccade.cli import run_command_line
from saccade.errors import UsageError
from saccade.runs import RunFolder
from saccade.use.answer import Wanted
from saccade.use.inputs import listed
from saccade.use.predict_job import SHARD, parts_of, predict_into
from saccade.use.predict_output import Output

pytestmark = pytest.mark.usefixtures("quick_python")

_PYTHON = sys.executable  # a real one, with limits and a memory of its own

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def classifier(finished: RunFolder) -> Iterator[Classifier]:
    found = load_classifier(finished.path, device="cpu", workers=1)
    yield found
    found.answerer.close()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 small pictures, of which every hundredth is broken: four shards."""
    return make_many(tmp_path_factory.mktemp("many"), 2000)


def make_many(folder: Path, num_pictures: int) -> Path:
    rng = np.random.default_rng(1)
    for number in range(num_pictures):
        path = folder / f"{number // 1000:03}" / f"{number:06}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 100, (12, 12, 3), dtype=np.uint8)
        pixels[:, :, number % 3] += 150
        Image.fromarray(pixels).save(path)
        if number % 100 == 7:
            path.write_bytes(path.read_bytes()[:60])
    return folder


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_jsonl_and_parquet_say_the_same(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl", "parquet"):
        words = ["predict", str(finished.path), str(colours), str(tmp_path / "none.png"), "--top", "2"]
        assert run_command_line([*words, "--output", str(tmp_path / f"rows.{suffix}")]) == 0
    rows = _rows(tmp_path / "rows.csv")
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    table = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert len(rows) == len(lines) == len(table) == 61
    for row, line, record in zip(rows[:60], lines[:60], table[:60], strict=True):
        best = line["guesses"][0]
        assert row["path"] == line["path"] == record["path"]
        assert row["class_1"] == best["class_name"] == record["class_1"]
        assert record["probability_1"] == best["probability"]
        assert row["probability_1"] == f"{best['probability']:.6f}"
    assert (rows[60]["reason"], lines[60]["reason"], table[60]["reason"]) == ("missing",) * 3
    assert table[60]["sure"] is None


def test_output_of_an_unknown_kind_is_said_before_the_work(
    finished: RunFolder, colours: Path, tmp_path: Path, capsys: Captured
) -> None:
    words = ["predict", str(finished.path), str(colours), "--output", str(tmp_path / "rows.xlsx")]
    assert run_command_line(words) == 2
    assert ".csv, .jsonl or .parquet" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--resume"], ["--sort", "path"]])
def test_flags_about_a_file_need_one(finished: RunFolder, colours: Path, capsys: Captured, words: list[str]) -> None:
    assert run_command_line(["predict", str(finished.path), str(colours), *words]) == 2
    assert "--output" in capsys.readouterr().err


def test_rows_are_sorted_as_asked(classifier: Classifier, colours: Path, tmp_path: Path) -> None:
    paths = [str(colours / "red" / f"{number:02}.png") for number in (5, 3, 9, 1)] + [str(tmp_path / "none.png")]
    found = {}
    for sort in ("input", "path", "confidence"):
        pictures = (picture for path in paths for picture in listed(path))
        output = Output(tmp_path / f"{sort}.csv", sort)
        predict_into(classifier.answerer, pictures, output)
        found[sort] = _rows(output.path)
    assert [row["path"] for row in found["input"]] == paths
    assert [row["path"] for row in found["path"]] == sorted(paths)
    shares = [row["probability_1"] for row in found["confidence"]]
    assert shares == [*sorted(shares[:-1], reverse=True), ""]


def test_names_that_are_formulas_or_have_line_breaks_stay_one_row_and_text(
    finished: RunFolder, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["=cmd|' C calc'!A0.png", "+1.png", "-2.png", "@x.png", "two\nlines.png", "re\rturn.png", 'quo"te,.png']
    monkeypatch.chdir(tmp_path)
    for name in names:
        Path(name).write_bytes((colours / "red" / "00.png").read_bytes())
    assert run_command_line(["predict", str(finished.path), "--output", "rows.csv", "--", *names]) == 0
    rows = _rows(Path("rows.csv"))
    assert [row["path"].removeprefix("'") for row in rows] == names
    assert not any(row["path"].startswith(("=", "+", "-", "@")) for row in rows)


def test_three_kills_lose_no_row_and_double_none(finished: RunFolder, many: Path, tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm.csv", tmp_path / "killed.csv"
    words = ["predict", str(finished.path), str(many), "--quiet", "--workers", "1", "--output"]
    assert run_command_line([*words, str(calm)]) == 0
    kills, rng, again = 0, random.Random(0), [_PYTHON, "-m", "saccade", *words, str(killed), "--resume"]
    while kills < 3:
        before = len(list(parts_of(killed).glob("rows-*.jsonl")))
        process = subprocess.Popen(again)
        deadline = time.monotonic() + 600
        while len(list(parts_of(killed).glob("rows-*.jsonl"))) <= before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(rng.random() / 10)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += process.returncode == -signal.SIGKILL
        if process.returncode == 0:
            break
    assert kills == 3
    assert not killed.exists()
    assert run_command_line([*words, str(killed), "--resume"]) == 0
    assert killed.read_bytes() == calm.read_bytes()
    assert len(_rows(killed)) == 2000
    assert sum(bool(row["reason"]) for row in _rows(killed)) == 20
    assert not parts_of(killed).exists()


def test_memory_does_not_grow_with_the_number_of_pictures(finished: RunFolder, many: Path, tmp_path: Path) -> None:
    """Ten times as many pictures: 30 MB more at the most, though their squares alone would take so much and more."""
    program = (
        "import resource, sys; from saccade.cli import run_command_line as run;"
        "code = run(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024); sys.exit(code)"
    )
    peaks = []
    for times in (1, 10):
        table = tmp_path / f"{times}.csv"
        names = [str(path) for path in sorted(many.rglob("*.png"))[:1000]]
        table.write_text("path\n" + "\n".join(names * times) + "\n")
        words = ["predict", str(finished.path), str(table), "--output", str(tmp_path / f"{times}.jsonl"), "--quiet"]
        done = subprocess.run([_PYTHON, "-c", program, *words], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
        assert (tmp_path / f"{times}.jsonl").read_text().count("\n") == 1000 * times
    assert peaks[1] - peaks[0] < 30, peaks


def test_to_begin_anew_over_whole_shards_must_be_meant(
    classifier: Classifier, many: Path, tmp_path: Path, finished: RunFolder
) -> None:
    output = tmp_path / "rows.csv"
    _interrupted(classifier, many, output)
    words = ["predict", str(finished.path), str(many), "--output", str(output)]
    assert run_command_line(words) == 2
    assert run_command_line([*words, "--resume", "--top", "1"]) == 2  # something else is asked
    assert run_command_line([*words, "--resume"]) == 0
    assert len(_rows(output)) == 2000


def test_pictures_that_changed_are_not_gone_on_with(classifier: Classifier, many: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows.csv"
    _interrupted(classifier, many, output)
    fewer = list(listed(str(many)))[:-1]
    with pytest.raises(UsageError, match=r"pictures \(2,000 then, 1,999 now\)"):
        predict_into(classifier.answerer, fewer, Output(output, resume=True))


def _interrupted(classifier: Classifier, pictures: Path, output: Path) -> None:
    """As if it had been stopped in its second shard."""
    answerer = classifier.answerer
    whole = answerer.stream

    class Stopping:
        trained, speed = answerer.trained, answerer.speed

        def stream(self, pictures: object, wanted: Wanted) -> Iterator[object]:
            for number, prediction in enumerate(whole(pictures, wanted)):  # type: ignore[arg-type]
                if number > SHARD + 10:
                    raise KeyboardInterrupt
                yield prediction

    with pytest.raises(KeyboardInterrupt):
        predict_into(Stopping(), listed(str(pictures)), Output(output))  # type: ignore[arg-type]
    assert len(list(parts_of(output).glob("rows-*.jsonl"))) == 1


def test_interrupted_before_the_first_shard_leaves_nothing(classifier: Classifier, tmp_path: Path) -> None:
    def pictures() -> Iterator[object]:
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        predict_into(classifier.answerer, pictures(), Output(tmp_path / "rows.csv"))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_f19_read_only_folder_exits_with_4(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert run_command_line(["predict", str(finished.path), str(colours), "--output", str(tmp_path / "a.csv")]) == 4


def test_f19_full_disk_exits_with_4_and_keeps_whole_shards(finished: RunFolder, many: Path, tmp_path: Path) -> None:
    """No file may grow beyond 150 kB: the listing and the shards fit, the whole file does not."""
    output = tmp_path / "rows.jsonl"
    small = tmp_path / "small.csv"
    small.write_text("path\n" + "".join(f"{path}\n" for path in sorted(many.rglob("*.png"))[:1100]))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (170_000, 170_000))

    words = ["predict", str(finished.path), str(small), "--output", str(output), "--workers", "1"]
    command = [_PYTHON, "-m", "saccade", *words]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert not output.exists()
    assert len(list(parts_of(output).glob("rows-*.jsonl"))) == 3
    assert run_command_line([*words, "--resume"]) == 0
    assert output.read_text().count("\n") == 1100


def test_two_processes_of_torchrun_write_what_one_writes(finished: RunFolder, many: Path, tmp_path: Path) -> None:
    words = ["predict", str(finished.path), str(many), "--workers", "1", "--output"]
    assert run_command_line([*words, str(tmp_path / "one.csv")]) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "saccade"]
    own = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *words, str(tmp_path / "two.csv")], env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert done.stderr.count("2,000 pictures: 1,980 named") == 1
