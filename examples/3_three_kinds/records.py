"""Write the records and figures of exercise 3 from its full runs, where runs/ lies: examples/3_three_kinds/records.py.

Then `python docs/exercises/fill.py` writes the numbers into the page.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drawing import draw_pictures, draw_recipes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from record import RECORDS, Record, record_of, write_record
from timed import costs_of

from saccade.runs import RunFolder

NAME, RUNS, FIGURES = "3_three_kinds", Path("runs"), Path("figures")
BEST = "resnet18-finetune+augment-seed0"
# Drawn by the commands; their names on the page.
_KEPT = {
    "overfit/loss.svg": "3-overfit-loss.svg",
    "overfit/accuracy.svg": "3-overfit-accuracy.svg",
    "finetune+augment/confusion.svg": "3-confusion.svg",
    "recipes.svg": "3-recipes.svg",
    "pictures.png": "3-pictures.png",
}


def _comparison() -> Record:
    """The table as values: by recipe accuracy, interval, seconds, and what chance does to its distance."""
    found = json.loads((RUNS / "three_kinds" / "compare.json").read_text(encoding="utf-8"))
    values: dict[str, Any] = {"guessing": found["baseline"]}
    for each in found["standings"]:
        low, high = each["interval"]
        own = {"accuracy": each["accuracy"], "low": low, "high": high, "run_seconds": each["seconds"]}
        values[each["label"].replace(" ", "_")] = own | {"chance": 1.0 if each["p"] is None else each["p"]}
    draw_recipes(found["standings"], found["baseline"], FIGURES)
    runs = [RunFolder.open(path.parent) for path in sorted((RUNS / "three_kinds").glob("*/metrics.json"))]
    first = record_of(runs[0].path, "three_kinds", values, costs_of("three_kinds").get("processor_seconds"))
    seeds = ", ".join(str(seed) for seed in sorted({run.recipe.seed for run in runs}))
    seconds = round(sum(sum(run.metrics["seconds"].values()) for run in runs), 1)
    return Record(**{**vars(first), "seed": seeds, "seconds": seconds})


def _one(name: str, values: Mapping[str, Any]) -> Record:
    return record_of(RUNS / name, name, values, costs_of(name).get("processor_seconds"))


def _test(run: RunFolder, name: str) -> dict[str, Any]:
    test = run.metrics["test"]
    return {
        f"{name}_accuracy": test["accuracy"],
        f"{name}_low": test["interval"][0],
        f"{name}_high": test["interval"][1],
    }


def _overfit() -> Record:
    run = RunFolder.open(RUNS / "overfit")
    last, lowest = run.results[-1], min(run.results, key=lambda row: row["val_loss"])
    values = {f"last_{key}": last[key] for key in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")}
    values |= {"lowest_val_loss": lowest["val_loss"], "lowest_epoch": int(lowest["epoch"]), "epochs": len(run.results)}
    return _one("overfit", values | _test(run, "overfit"))


def _mistake() -> Record:
    run = RunFolder.open(RUNS / "mistake")
    lines = run.log_path.read_text(encoding="utf-8").splitlines()
    warnings = [line.partition("warning: ")[2] for line in lines if "warning: " in line]
    first, best = run.results[0], max(run.results, key=lambda row: row["val_accuracy"])
    values = {"first_train_loss": first["train_loss"], "best_val_accuracy": best["val_accuracy"]}
    return _one("mistake", values | {"mistake_warnings": " ".join(warnings)} | _test(run, "mistake"))


def _classes() -> Record:
    run = RunFolder.open(RUNS / "three_kinds" / BEST)
    values = {
        each["name"]: {key: each[key]["value"] for key in ("precision", "recall", "f1")} | {"support": each["support"]}
        for each in run.metrics["test"]["classes"]
    }
    return record_of(run.path, "classes", values)


def main() -> None:
    """Every record and every figure of the page."""
    draw_pictures(Path("three_kinds.npz"), FIGURES)
    with_care = RunFolder.open(RUNS / "with_care")
    for record in (_comparison(), _classes(), _overfit(), _mistake(), _one("with_care", _test(with_care, "with_care"))):
        print(write_record(NAME, record), record.name)
    for drawn, name in _KEPT.items():
        shutil.copy(FIGURES / drawn, RECORDS.parent / "figures" / name)


if __name__ == "__main__":
    main()
