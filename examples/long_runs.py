"""Exercises 2 and 5 train for hours: what is finished goes into records, figures and pages, as often as this is called.

    cd FOLDER; python .../examples/long_runs.py        the folder in which the commands were run, with its runs/

`python benchmarks/sprint.py --keras runs/keras.json` measures the Keras that exercise 2 is compared with.
It draws what the exercises' scripts draw: the family from its records, which have what earlier calls found, the rest
from the run folders. A number that a page waits for stands there as

    <!--~ family.resnet18_cifar_accuracy:.1% -->not yet measured<!-- -->

and once its record exists the tilde becomes the = of docs/exercises/fill.py. `<!--~ figures/NAME.svg: words -->` is a
picture once that is drawn. A run that was torn off is left out.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "exercises"
RUNS, RATES = Path("runs"), ("0.001", "0.0001")
sys.path += [str(HERE), str(PAGES)]

import fill  # noqa: E402
from record import Record, record_of, write_record  # noqa: E402
from timed import costs_of  # noqa: E402

from saccade.models.summary import layer_table  # noqa: E402
from saccade.runs import RunFolder  # noqa: E402
from saccade.use.figures import curve  # noqa: E402

FAMILY = (
    "lenet5",
    "alexnet_cifar",
    "googlenet_cifar",
    "inception_v3",
    "resnet18_cifar",
    "resnet32_cifar",
    "densenet_cifar",
)
KERAS_PICTURES = 30 * 50_000  # of the run that is usually quoted
PAGE_OF = {"2_alexnet": "2-alexnet.md", "5_family": "5-family.md"}


def finished(name: str) -> RunFolder | None:
    """A run by its name, where it is there to its end."""
    run = RunFolder(RUNS / name)
    return run if run.is_finished else None


def judged(prefix: str, run: RunFolder) -> dict[str, Any]:
    """What the test pictures said, under keys that begin with the prefix."""
    test, clean = run.metrics["test"], run.metrics.get("test_without_leaks", {})
    low, high = test["interval"]
    found = {"accuracy": test["accuracy"], "low": low, "high": high, "epochs": len(run.results)}
    found |= {"without_copies": clean["accuracy"]} if clean else {}
    return {f"{prefix}_{key}": value for key, value in found.items()}


def of_run(name: str, run: RunFolder, values: Mapping[str, Any]) -> Record:
    """Its record, with the processor's seconds where timed.py measured them."""
    cost = costs_of(name)
    memory = {f"{name}_resident_mb": cost["resident_mb"]} if cost else {}
    return record_of(run.path, name, dict(values) | memory, cost.get("processor_seconds"))


def alexnet() -> Iterator[Record]:
    """The best variant; beside it what 30 epochs cost in Keras, by the processor."""
    if run := finished("alexnet"):
        record = of_run("alexnet", run, judged("alexnet", run))
        yield replace(record, values=dict(record.values) | beside_keras(record.processor_seconds))
    for rate in RATES:
        if (RUNS / f"rate-{rate}" / "compare.json").exists():
            yield of_comparison(f"rate-{rate}")
    if run := finished("plateau"):
        # A row has the rate after its epoch: that of the next one, which the last row has not.
        rates = [row["learning_rate"] for row in run.results[:-1]]
        falls = [place + 2 for place in range(1, len(rates)) if rates[place] < 0.9 * rates[place - 1]]
        best = min(run.results, key=lambda row: row["val_loss"])
        values = judged("plateau", run) | {"plateau_lowest": int(best["epoch"]), "plateau_falls": len(falls)}
        values |= {"plateau_first_fall": falls[0] if falls else 0}
        values |= {"plateau_kept": int(max(run.results, key=lambda row: row["val_accuracy"])["epoch"])}
        yield of_run("plateau", run, values)
    if (RUNS / "memory.json").exists():
        values = json.loads((RUNS / "memory.json").read_text(encoding="utf-8"))
        run = RunFolder.open(RUNS / "memory")
        yield replace(record_of(run.path, "memory", values), command="memory.py")


def beside_keras(ours: float | None) -> dict[str, float]:
    """Keras' pictures and whole cost in processor seconds, and how many times ours that is; {} where not measured."""
    if ours is None or not (RUNS / "keras.json").exists():
        return {}
    speed = json.loads((RUNS / "keras.json").read_text(encoding="utf-8"))["per_processor_second"]
    seconds = KERAS_PICTURES / speed
    return {"keras_speed": speed, "keras_seconds": seconds, "keras_ratio": seconds / ours}


def of_comparison(name: str) -> Record:
    """The accuracies of its runs and their intervals, by network."""
    found = json.loads((RUNS / name / "compare.json").read_text(encoding="utf-8"))
    one = record_of(next((RUNS / name).glob("*-seed0")), name, {})
    rate = name.replace("rate-", "at_").replace(".", "_")
    values = {f"{each['label']}_{rate}": each["accuracy"] for each in found["standings"]}
    seconds = sum(each["seconds"] for each in found["standings"])
    return replace(
        one, values=values, seconds=round(seconds, 1), processor_seconds=costs_of(name).get("processor_seconds")
    )


def family() -> Iterator[Record]:
    """The networks, the gradients, and the loop by hand."""
    for name in FAMILY:
        if run := finished(name):
            table = layer_table(run.load().network)
            sizes = {f"{name}_parameters": table.parameters, f"{name}_multiply_adds": table.multiply_adds}
            watched = {f"{name}_val_accuracy": [row["val_accuracy"] for row in run.results]}
            yield of_run(name, run, judged(name, run) | sizes | watched)
    if run := finished("by-hand"):
        path = RUNS / "by-hand.json"
        values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        yield record_of(run.path, "by-hand", values)
        if (RUNS / "gradients.json").exists() and (cost := costs_of("gradients")):
            record = record_of(run.path, "gradients", of_gradients(), cost["processor_seconds"])
            yield replace(record, command="gradients.py", n=64, seconds=cost["seconds"])


def of_gradients() -> dict[str, float]:
    """First and last stage's gradient over its weights by network, and the mean of the last ten losses."""
    found = json.loads((RUNS / "gradients.json").read_text(encoding="utf-8"))
    values = {}
    for words, shares in found["gradients"].items():
        name, all_shares = words.replace(", ", "_").replace(" ", "_"), list(shares.values())
        values |= {f"{name}_first": all_shares[0], f"{name}_last": all_shares[-1]}
    for words, losses in found["losses"].items():
        values |= {f"loss_{words.replace(' ', '_')}": sum(losses[-10:]) / 10}
    return values


def draw_alexnet(folder: Path, _: Mapping[str, Any]) -> None:
    """Variants, plateau, and the curves of the best one, from the run folders."""
    drawing = drawing_of("2_alexnet")
    paths = {float(rate): RUNS / f"rate-{rate}" / "compare.json" for rate in RATES}
    if all(path.exists() for path in paths.values()):
        found = {rate: json.loads(path.read_text(encoding="utf-8")) for rate, path in paths.items()}
        drawing.draw_variants(found, folder)
    if run := finished("plateau"):
        drawing.draw_plateau(run.results, folder)
    if run := finished("alexnet"):
        for quantity in ("loss", "accuracy"):
            curve(run.results, quantity).savefig(folder / f"best-{quantity}.svg", metadata={"Date": None})


def draw_family(folder: Path, known: Mapping[str, Any]) -> None:
    """Accuracy over cost and over epochs, of all that has a record; the gradients where they are measured."""
    drawing, results = drawing_of("5_family"), []
    keys = ("accuracy", "low", "high", "parameters", "multiply_adds", "val_accuracy")
    for name in FAMILY:
        if f"{name}_val_accuracy" in known:
            *numbers, watched = (known[f"{name}_{key}"] for key in keys)
            results.append(drawing.Result(name, *numbers, known[f"{name}.processor_seconds"], watched))
    drawing.draw_family(results, folder, "seconds of the processor, all in all")
    drawing.draw_epochs(results, folder)
    if (RUNS / "gradients.json").exists():
        found = json.loads((RUNS / "gradients.json").read_text(encoding="utf-8"))
        drawing.draw_gradients(found["gradients"], folder)
        drawing.draw_losses(found["losses"], folder)


def drawing_of(exercise: str) -> ModuleType:
    """Its drawing.py; both exercises have one."""
    spec = spec_from_file_location(f"drawing_{exercise}", HERE / exercise / "drawing.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(exercise)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def filled_in(page: Path, known: Mapping[str, Mapping[str, Any]]) -> None:
    """Markers that waited for a record that exists now, as fill.py wants them, and figures that are there."""

    def take_up(marker: re.Match[str]) -> str:
        file, _, key = marker[1].partition(".")
        return marker[0].replace("<!--~", "<!--=", 1) if key in known.get(file, {}) else marker[0]

    def show(marker: re.Match[str]) -> str:
        return f"![{marker[2]}]({marker[1]})" if (PAGES / marker[1]).exists() else marker[0]

    text = re.sub(r"<!--~ *(figures/[\w.-]+): (.+?) *-->", show, page.read_text(encoding="utf-8"))
    page.write_text(re.sub(r"<!--~ *([\w.+-]+)(?::[^ ]*)? *-->", take_up, text), encoding="utf-8")


def main() -> int:
    """Records, figures, pages; the code of fill.py."""
    for exercise, records in (("2_alexnet", alexnet()), ("5_family", family())):
        for record in records:
            print(write_record(exercise, record).name, record.name)
    known = {file: fill.values_of(records) for file, records in fill.load_records(PAGES / "records").items()}
    for exercise, draw in (("alexnet", draw_alexnet), ("family", draw_family)):
        with TemporaryDirectory() as folder:
            draw(Path(folder), known[exercise])
            for path in Path(folder).iterdir():
                shutil.copy(path, PAGES / "figures" / f"{exercise}-{path.name}")
    for page in PAGE_OF.values():
        filled_in(PAGES / page, known)
    return int(fill.main([]))


if __name__ == "__main__":
    sys.exit(main())
