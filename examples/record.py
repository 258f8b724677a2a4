"""Write down what a full run of an exercise gave, for its page: docs/exercises/records/N_name.json.

    python examples/record.py 1_digits RUN [--name cnn1] [test_accuracy=test.accuracy ...]

reads the run folder: command, versions, date, seconds and, by dotted path, values of its metrics.json. From Python,
`write_record` takes any values that are JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from saccade.runs import RunFolder

RECORDS = Path(__file__).resolve().parent.parent / "docs" / "exercises" / "records"


@dataclass(frozen=True)
class Record:
    """What a page may quote.

    Attributes:
        name: of the record, one word; a name that is there already is replaced.
        command: as a person types it, in the folder where the pictures lie.
        seed: of the run, or all seeds.
        n: pictures that judged.
        machine: processor and cores.
        versions: of what it ran with.
        date: of its beginning.
        seconds: of the clock, start-up left out.
        values: what was measured; keys are one word and differ between the records of a file.
        processor_seconds: of all processes, where they were measured.
    """

    name: str
    command: str
    seed: int | str
    n: int
    machine: str
    versions: Mapping[str, str]
    date: str
    seconds: float
    values: Mapping[str, Any]
    processor_seconds: float | None = None


def record_of(run: str | Path, name: str, values: Mapping[str, Any], processor_seconds: float | None = None) -> Record:
    """What a run folder says of itself, with values measured on it.

    Raises:
        RunError: there is no finished run.
    """
    folder = RunFolder.open(run)
    about, metrics = folder.environment, folder.metrics
    words = [word if number else Path(word).name for number, word in enumerate(about["command"])]
    seconds = round(sum(metrics["seconds"].values()), 1)
    return Record(
        name,
        " ".join(words),
        folder.recipe.seed,
        metrics["test"]["num_pictures"],
        machine(about["machine"]["cores"]),
        about["versions"],
        about["started"][:10],
        seconds,
        values,
        processor_seconds,
    )


def write_record(exercise: str, record: Record, folder: Path = RECORDS) -> Path:
    """Add a record to records/EXERCISE.json, such as 1_digits, in place of one of its name; returns where."""
    path = folder / f"{exercise}.json"
    others = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    mine = {key: value for key, value in asdict(record).items() if value is not None}
    kept = [mine if other["name"] == record.name else other for other in others]
    kept += [] if mine in kept else [mine]
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def machine(cores: int) -> str:
    """Cores and the processor's name, where the system tells it."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{cores} cores of {named[0] if named else platform.machine()}"


def _main() -> None:
    parser = argparse.ArgumentParser(description="Write down what a run gave.")
    parser.add_argument("exercise", help="such as 1_digits")
    parser.add_argument("run", help="a finished run folder")
    parser.add_argument("--name", help="of the record; default: the run folder's")
    parser.add_argument("--processor-seconds", type=float)
    parser.add_argument("values", nargs="*", metavar="KEY=PATH", help="such as test_accuracy=test.accuracy")
    asked = parser.parse_args()
    metrics = RunFolder.open(asked.run).metrics
    pairs = (value.split("=", 1) for value in asked.values)
    values = {key: reduce(lambda part, step: part[step], path.split("."), metrics) for key, path in pairs}
    record = record_of(asked.run, asked.name or Path(asked.run).name, values, asked.processor_seconds)
    print(write_record(asked.exercise, record))


if __name__ == "__main__":
    _main()
