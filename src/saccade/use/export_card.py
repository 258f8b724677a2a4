"""A model card with the header that Hugging Face reads, from what stands in the run folder and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from saccade.data.cells import printable
from saccade.errors import RunError
from saccade.models.catalogue import find_entry
from saccade.models.certainty import Certainty
from saccade.models.published import LICENCE
from saccade.models.timm import PREFIX, timm_facts
from saccade.models.weights import load_network
from saccade.recipe import Recipe
from saccade.runs import RunFolder
from saccade.whole import whole_file

CARD_NAME = "README.md"
_MOST_CLASSES = 100  # in tables
# Where the data sets with a word of their own lie at Hugging Face.
_DATASETS: Mapping[str, str] = MappingProxyType(
    {
        "mnist": "ylecun/mnist",
        "fashion-mnist": "zalando-datasets/fashion_mnist",
        "cifar10": "uoft-cs/cifar10",
        "cifar100": "uoft-cs/cifar100",
    }
)
_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|!"} | {"\n": " ", "\r": " "})


class Licence(NamedTuple):
    """An identifier as Hugging Face has them, `other` where none fits, and what is known, in words."""

    identifier: str
    note: str


def licence_of(run: RunFolder) -> Licence:
    """What the run says about where its first weights came from."""
    recipe = run.recipe
    weights = recipe.weights
    if weights == "none":
        return Licence("other", "trained from random weights; its owner chooses the licence")
    if weights is not None and (Path(weights).suffix or "/" in weights or "\\" in weights):
        name = Path(weights.replace("\\", "/")).name
        return Licence("other", f"began with the weights of the file {printable(name)}, whose terms go on to hold")
    if recipe.model is not None and recipe.model.startswith(PREFIX):
        found = timm_facts(recipe.model).licence
        words = found or "no licence that timm knows"
        return Licence(found or "other", f"began with weights published by timm: {words}")
    return Licence("other", f"began with published weights: {LICENCE}")


def write_card(run: RunFolder, path: Path) -> Path:
    """Write the card; returns where it lies.

    Raises:
        RunError: the run is not finished.
    """
    with whole_file(path) as partial:
        partial.write_text(card_of(run), encoding="utf-8", errors="backslashreplace")
    return path


def card_of(run: RunFolder) -> str:
    """The card as Markdown.

    Raises:
        RunError: the run is not finished, so there is nothing to say about what its answers are worth.
    """
    if "test" not in run.metrics:
        raise RunError("the run is not finished", where=str(run.path), remedy="saccade train --resume RUN")
    header = yaml.safe_dump(_header(run), sort_keys=False, allow_unicode=True, width=120)
    sections = (_summary(run), _use(run), _results(run), _classes(run), _certainty(run), _pictures(run), _making(run))
    return "\n".join([f"---\n{header}---", *(section for section in sections if section), _LIMITS])


def _header(run: RunFolder) -> dict[str, Any]:
    recipe, test, licence = run.recipe, run.metrics["test"], licence_of(run)
    kinds = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy"}
    counted = f"{test['num_pictures']:,} pictures"
    metrics = []
    for kind, name in kinds.items():
        low, high = test["interval"] if kind == "accuracy" else test.get(f"{kind}_interval", (None, None))
        words = f", 95 % interval {low:.4f} to {high:.4f}" if low is not None else ""
        metrics.append({"type": kind, "value": test[kind], "name": f"{name} ({counted}{words})"})
    dataset = _dataset(run)
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": dataset, "type": dataset, "split": "test"},
        "metrics": metrics,
    }
    about: dict[str, Any] = {"license": licence.identifier}
    if licence.identifier == "other":
        about |= {"license_name": "see-below"}
    return about | {
        "library_name": "saccade",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "saccade", "pytorch", str(recipe.model)],
        "datasets": [dataset],
        "metrics": ["accuracy"],
        "model-index": [{"name": run.path.resolve().name, "results": [result]}],
    }


def _dataset(run: RunFolder) -> str:
    source = str(run.data_report["source"])
    name = printable(Path(source.replace("\\", "/")).name).split(".")[0]
    return _DATASETS.get(source, "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in name) or "own")


def _summary(run: RunFolder) -> str:
    recipe, test, names = run.recipe, run.metrics["test"], run.class_names
    low, high = test["interval"]
    entry = find_entry(str(recipe.model))
    shown = ", ".join(_text(name) for name in names[:10]) + (" …" if len(names) > 10 else "")
    return "\n".join(
        [
            f"# {_text(run.path.resolve().name)}",
            "",
            f"A classifier of pictures with {len(names)} classes: {shown}.",
            "",
            f"It names {test['accuracy']:.1%} of {test['num_pictures']:,} test pictures rightly (95 % interval "
            f"{low:.1%} to {high:.1%}); always naming the biggest class would be right in {test['baseline']:.1%}.",
            "",
            f"- network: {recipe.model} ({entry.source}), pictures of {recipe.image_size}×{recipe.image_size}, "
            f"fitted by `{recipe.fit}`",
            f"- licence: {_text(licence_of(run).note)}",
        ]
    )


def _use(run: RunFolder) -> str:
    name = run.path.resolve().name
    return (
        "\n## Use\n\n```python\nimport saccade\n\n"
        f'classifier = saccade.load("{name.replace(chr(34), "").replace(chr(10), " ")}")  # this folder\n'
        'classifier.predict("picture.jpg", top=3)\n```'
    )


def _results(run: RunFolder) -> str:
    rows = []
    for part, key, name in (
        ("test", "accuracy", "accuracy"),
        ("test", "balanced_accuracy", "balanced accuracy"),
        ("test", "ece", "calibration error (ECE)"),
        ("test", "brier", "Brier score"),
        ("val", "accuracy", "accuracy"),
    ):
        found = run.metrics.get(part, {})
        if key not in found:
            continue
        interval = found.get("interval") if key == "accuracy" else found.get(f"{key}_interval")
        words = f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
        rows.append((part, name, f"{found[key]:.4f}", words, f"{found['num_pictures']:,}"))
    return "\n## Results\n\n" + _table(("part", "measure", "value", "95 % interval", "pictures"), rows)


def _classes(run: RunFolder) -> str:
    rows = []
    for found in run.metrics["test"].get("classes", [])[:_MOST_CLASSES]:
        cells = [_with_interval(found[measure]) for measure in ("precision", "recall", "f1")]
        rows.append((_text(found["name"]), f"{found['support']:,}", *cells))
    if not rows:
        return ""
    head = ("class", "test pictures", "precision", "recall", "F1")
    return "\n### Classes\n\nIn brackets 95 % intervals.\n\n" + _table(head, rows)


def _certainty(run: RunFolder) -> str:
    _, extra = load_network(run.best_path)
    if "certainty" not in extra:
        return ""
    certainty = Certainty.from_json(extra["certainty"])
    how = certainty.remark or f"fitted on {certainty.num_pictures:,} val pictures"
    lines = ["\n## How sure it is", "", f"- temperature of the logits: {certainty.temperature:.4g} ({how})"]
    return "\n".join([*lines, *([f"- {certainty.in_words()}"] if certainty.in_words() else [])])


def _pictures(run: RunFolder) -> str:
    report = run.data_report
    rows = [
        (_text(name), *(f"{counts.get(part, 0):,}" for part in ("train", "val", "test")))
        for name, counts in list(report["classes"].items())[:_MOST_CLASSES]
    ]
    lines = [
        f"\n## Pictures\n\n{_text(_dataset(run))}: {report['num_seen']:,} seen, {report['num_used']:,} used, "
        f"{report['num_skipped']:,} skipped. Their licence is not known to the run folder.\n",
        _table(("class", "train", "val", "test"), rows),
    ]
    if (leaks := report.get("leaks")) and leaks["num_copies"] and not leaks["dropped"]:
        lines.append(f"\n{leaks['num_test']:,} test pictures have copies among those that were learned from.")
    for shortcut in report.get("shortcuts", [])[:5]:
        lines.append(f"\nA possible shortcut: {_text(str(shortcut))}")
    return "\n".join(lines)


def _making(run: RunFolder) -> str:
    recipe, environment = run.recipe, run.environment
    defaults = Recipe()
    changed = {
        name: value
        for name, value in recipe.model_dump().items()
        if value != getattr(defaults, name) and name not in ("weights", "data_dir", "workers", "device", "recipe")
    }
    versions = ", ".join(f"{name} {value}" for name, value in environment["versions"].items())
    lines = [f"\n## Training\n\nrecipe `{recipe.recipe}`; what differs from the defaults:\n"]
    lines += [f"- {name}: {_text(str(value))}" for name, value in changed.items()]
    return "\n".join([*lines, "", f"Begun {environment['started']} with {versions}."])


def _with_interval(found: Mapping[str, Any]) -> str:
    if found.get("value") is None:
        return ""
    interval = found.get("interval")
    return f"{found['value']:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _text(text: str) -> str:
    """A name that somebody chose, so that it changes nothing about the page."""
    return printable(text).translate(_SIGNS)


_LIMITS = """
## Limits

The numbers hold for pictures like the test pictures. What belongs to none of the classes is given one of them all the
same; a high probability does not say that the picture shows any of them.
"""
