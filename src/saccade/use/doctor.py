"""The run doctor: what usually goes wrong in a training, looked for in what a run left behind.

Each check says something only where the numbers leave little doubt; a healthy run hears nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import fisher_exact

from saccade.data.listing import TEST, TRAIN, VAL
from saccade.metrics import wilson
from saccade.models.catalogue import find_entry
from saccade.models.timm import PREFIX as TIMM
from saccade.recipe import Recipe
from saccade.use.batch_norm import Drift

LOOKED_FOR = (
    "overfitting",
    "a learning rate that is too high",
    "a network that names one class only",
    "validation that is too good to be true",
    "drifted BatchNorm statistics",
    "too few pictures",
    "a training that ended too early",
    "a training that stood still",
)
_GAP, _LARGE_GAP = 0.05, 0.2  # of the accuracies in training and validation
_RISE = 1.1  # of the validation loss above its lowest
_JUMP = 1.25  # of the training loss above its lowest so far
_LEAST_TRAIN = 20  # pictures of a class
_WIDEST = 0.2  # of the interval of the test accuracy
_LEAKED = 0.01  # of a part
_GOOD_ENOUGH = 0.98  # accuracy above which more training is not worth a word
_SURE = 0.01  # a difference that chance makes less often is one

Rows = Sequence[Mapping[str, float]]


class Complaint(NamedTuple):
    """Something that went wrong: what, the numbers that say so, and what to do."""

    title: str
    evidence: str
    remedy: str


class Patient(NamedTuple):
    """A run as the doctor sees it.

    Attributes:
        results: a record per epoch, as in results.csv.
        metrics: metrics.json.
        data: data_report.json.
        recipe: resolved.
        class_names: in the order of the confusion matrix.
        drift: of BatchNorm, where it was measured.
    """

    results: Rows
    metrics: Mapping[str, Any]
    data: Mapping[str, Any]
    recipe: Recipe
    class_names: Sequence[str]
    drift: Drift | None = None

    @property
    def epochs(self) -> Rows:
        """Those in which weights were updated."""
        return [row for row in self.results if row["epoch"] > 0]

    @property
    def num_val(self) -> int:
        """Validation pictures; 0 where none were set aside, and what was learned from watched itself."""
        return self.num(VAL)

    def num(self, part: str) -> int:
        """Pictures of a part."""
        return sum(int(parts[part]) for parts in self.data["classes"].values())


def examine(patient: Patient) -> tuple[Complaint, ...]:
    """What is wrong with a run, the gravest first; usually nothing."""
    checks = (_collapse, _suspicious, _leaks, _drift, _rate, _overfitting, _still_improving, _plateau, _few_pictures)
    return tuple(complaint for check in checks for complaint in check(patient))


def _collapse(patient: Patient) -> Iterator[Complaint]:
    if TEST not in patient.metrics:
        return
    counts = np.array(patient.metrics[TEST]["confusion"])
    said, true, names = counts.sum(axis=0), counts.sum(axis=1), patient.class_names
    most, total = int(said.argmax()), int(counts.sum())
    others = total - int(true[most])
    found = int(np.diag(counts).sum() - counts[most, most])
    if said[most] > 0.9 * total and others >= 10 and found < 0.1 * others:
        yield Complaint(
            "It names one class only",
            f"“{names[most]}” is the answer to {said[most]:,} of {total:,} test pictures, but only {true[most]:,} show "
            f"it; of the other {others:,} it finds {found:,}",
            "lower --learning-rate; where classes differ much in size, use --class-weights balanced or --sampling "
            "balanced; look at the labels with saccade check",
        )
        return
    never = [names[index] for index in np.flatnonzero((said == 0) & (true >= 10)).tolist()]
    if never:
        yield Complaint(
            "Some classes are never named",
            f"not one test picture was said to show {_few(never)}, though at least ten do",
            "train longer or at another rate; where classes differ much in size, use --class-weights balanced",
        )


def _suspicious(patient: Patient) -> Iterator[Complaint]:
    if not patient.num_val or VAL not in patient.metrics or TEST not in patient.metrics:
        return
    val, test = patient.metrics[VAL], patient.metrics[TEST]
    rows = [[each["num_correct"], each["num_pictures"] - each["num_correct"]] for each in (val, test)]
    chance = float(fisher_exact(rows, alternative="greater").pvalue)
    if chance < _SURE and val["accuracy"] - test["accuracy"] > _GAP:
        yield Complaint(
            "Validation is suspiciously good",
            f"{val['accuracy']:.1%} of the validation pictures are right but {test['accuracy']:.1%} of the test "
            f"pictures; with pictures of one kind that happens at most once in {1 / max(chance, 1e-6):,.0f} times",
            "believe the test. The test pictures may be of another kind, or validation pictures may have copies or "
            "near relatives among those it learned from (same animal, same scene): saccade check, --group-by",
        )


def _leaks(patient: Patient) -> Iterator[Complaint]:
    leaks = patient.data.get("leaks")
    if not leaks or leaks["dropped"]:
        return
    num = {VAL: leaks["num_val"], TEST: leaks["num_test"]}
    bad = [part for part, count in num.items() if count and count >= _LEAKED * max(patient.num(part), 1)]
    if bad:
        amounts = " and ".join(f"{num[part]:,} of {patient.num(part):,} {part} pictures" for part in bad)
        yield Complaint(
            "It was examined on what it had learned",
            f"{amounts} have a copy on an earlier side, so what was learned by heart counts as understood",
            "train with --drop-leaks, or leave the split to saccade: it keeps copies together",
        )


def _drift(patient: Patient) -> Iterator[Complaint]:
    found = patient.drift
    if found is None:
        return
    lost, costs = found.fresh_accuracy - found.kept_accuracy, found.kept_loss > 1.25 * found.fresh_loss + 0.1
    if not math.isfinite(found.kept_loss) or (lost > _GAP and costs):
        yield Complaint(
            "BatchNorm's statistics have drifted",
            f"of {found.num_pictures:,} training pictures {found.kept_accuracy:.1%} are right with the means and "
            f"deviations that the network kept, {found.fresh_accuracy:.1%} with those of the pictures themselves "
            f"(loss {found.kept_loss:.3g} and {found.fresh_loss:.3g})",
            "use larger batches (--batch-size), a lower --learning-rate and more epochs, so that the averages can "
            "follow; with pretrained weights --batch-norm keep",
        )


def _rate(patient: Patient) -> Iterator[Complaint]:
    rows = patient.epochs
    guess = math.log(max(len(patient.class_names), 2))
    lowest, worst = math.inf, (0.0, 0, 0.0)
    for row in rows:
        loss = row["train_loss"]
        if not math.isfinite(loss):
            worst = (math.inf, int(row["epoch"]), loss)
            break
        if loss > _JUMP * lowest and loss - lowest > 0.1 * guess:
            worst = max(worst, (loss / lowest, int(row["epoch"]), loss))
        lowest = min(lowest, loss)
    beyond = [row for row in rows[1:] if row["train_loss"] > 2 * guess]
    if not worst[1] and not beyond:
        return
    epoch, loss = worst[1:] if worst[1] else (int(beyond[0]["epoch"]), beyond[0]["train_loss"])
    rate = patient.recipe.learning_rate or rows[epoch - int(rows[0]["epoch"])]["learning_rate"]
    yield Complaint(
        "The learning rate is too high",
        f"in epoch {epoch} the training loss was {loss:.3g}"
        + (f" after {lowest:.3g} before" if worst[1] and math.isfinite(lowest) and lowest < loss else "")
        + f"; plain guessing has {guess:.3g}. The rate was up to {rate:g}",
        f"--learning-rate {rate / 10:g}, a longer --warmup, or --clip-norm 1",
    )


def _overfitting(patient: Patient) -> Iterator[Complaint]:
    rows = patient.results
    if not rows or not patient.num_val:
        return
    last, lowest = rows[-1], min(rows, key=lambda row: row["val_loss"])
    gap = last["train_accuracy"] - last["val_accuracy"]
    right = round(last["val_accuracy"] * patient.num_val)
    if wilson(min(right, patient.num_val), patient.num_val).high >= last["train_accuracy"]:
        return
    has_risen = last["val_loss"] > _RISE * lowest["val_loss"] and last["train_loss"] < lowest["train_loss"]
    if gap > _LARGE_GAP or (gap > _GAP and has_risen):
        risen = (
            f"; the validation loss rose from {lowest['val_loss']:.3g} (epoch {int(lowest['epoch'])}) to "
            f"{last['val_loss']:.3g}"
            if has_risen
            else ""
        )
        yield Complaint(
            "Overfitting",
            f"at the end {last['train_accuracy']:.1%} of the training pictures are right, but "
            f"{last['val_accuracy']:.1%} of the validation pictures{risen}",
            _against_overfitting(patient.recipe),
        )


def _against_overfitting(recipe: Recipe) -> str:
    ways = ["more pictures"]
    if recipe.augment in ("none", "light"):
        ways.append("random changes (--augment standard)")
    elif recipe.augment == "standard":
        ways.append("stronger random changes (--augment strong)")
    if recipe.weights == "none":
        has_some = recipe.model.startswith(TIMM) or find_entry(recipe.model).torchvision_name is not None
        ways.append(f"pretrained weights ({'' if has_some else '--model resnet18 '}--recipe finetune)")
    elif recipe.train != "head":
        ways.append("fewer stages that learn (--train last or head)")
    return ", ".join([*ways, "or fewer epochs"])


def _still_improving(patient: Patient) -> Iterator[Complaint]:
    rows = patient.epochs
    if len(rows) < 2 or not patient.num_val:
        return
    window = max(1, round(len(rows) / 5))
    before, last = rows[-1 - window], rows[-1]
    is_best = last["val_loss"] <= min(row["val_loss"] for row in rows)
    falls = last["val_loss"] < 0.95 * before["val_loss"] and last["train_loss"] < 0.95 * before["train_loss"]
    if is_best and falls and last["val_accuracy"] < _GOOD_ENOUGH:
        num = patient.recipe.epochs
        yield Complaint(
            "It was still improving when it ended",
            f"in the last {_epochs(window)} of {len(rows)} the validation loss fell from {before['val_loss']:.3g} to "
            f"{last['val_loss']:.3g}, its lowest",
            f"train longer: --epochs {2 * num}",
        )


def _plateau(patient: Patient) -> Iterator[Complaint]:
    rows = patient.epochs
    if len(rows) < 10 or not patient.num_val:
        return
    last = {
        "loss": min(rows, key=lambda row: row["val_loss"]),
        "accuracy": max(rows, key=lambda row: (row["val_accuracy"], -row["epoch"])),
    }
    best = max(int(row["epoch"]) for row in last.values())
    accuracy = last["accuracy"]["val_accuracy"]
    rest = [row["train_loss"] for row in rows if row["epoch"] > best]
    at_best = next(row["train_loss"] for row in rows if row["epoch"] == best)
    stands = len(rest) >= 0.6 * len(rows) and min(rest, default=0.0) > 0.9 * at_best
    if stands and accuracy < _GOOD_ENOUGH:
        yield Complaint(
            "It stood still",
            f"after epoch {best} of {len(rows)} neither the validation loss ({last['loss']['val_loss']:.3g}) nor the "
            f"accuracy ({accuracy:.1%}) got better, and the training loss hardly fell",
            "another --learning-rate, a larger network, or more stages that learn (--train last-2, all); and look "
            "whether the labels can be right: saccade check",
        )


def _few_pictures(patient: Patient) -> Iterator[Complaint]:
    counts = {name: int(parts[TRAIN]) for name, parts in patient.data["classes"].items()}
    few = {name: count for name, count in counts.items() if count < _LEAST_TRAIN}
    if few:
        least = min(few, key=lambda name: few[name])
        of = "the class has" if len(few) == 1 else f"{len(few):,} of {len(counts):,} classes have"
        yield Complaint(
            "Too few pictures to learn from",
            f"{of} fewer than {_LEAST_TRAIN} training pictures; “{least}” has {few[least]:,}",
            "collect more, or keep to --recipe features, which needs the fewest",
        )
    if TEST not in patient.metrics:
        return
    num, (low, high) = patient.metrics[TEST]["num_pictures"], patient.metrics[TEST]["interval"]
    if high - low > _WIDEST:
        yield Complaint(
            "Too few pictures to judge by",
            f"with {num:,} test pictures the accuracy may lie anywhere from {low:.1%} to {high:.1%}",
            "set more pictures aside (--test-share), or let every picture judge once: saccade compare --folds 5",
        )


def _epochs(number: int) -> str:
    return "epoch" if number == 1 else f"{number} epochs"


def _few(names: Sequence[str]) -> str:
    return ", ".join(f"“{name}”" for name in names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
