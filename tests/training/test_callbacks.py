"""What goes along with a training: metrics of choice, TensorBoard, callbacks of the caller's own."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from saccade.data.augment import Augmentation
from saccade.data.batches import Batches
from saccade.errors import MissingExtraError
from saccade.metrics import Tally
from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.presets import make_recipe
from saccade.recipe import Metric
from saccade.training.callbacks import Callback, EarlyStopping, EpochResult, KeepWeights, Show, StepPosition
from saccade.training.loop import Beside, fit
from saccade.training.sources import Parts
from saccade.training.tensorboard import TensorBoard
from saccade.training.validation import validate


def _result(epoch: int, val_loss: float, val_accuracy: float) -> EpochResult:
    return EpochResult(epoch, 1.0, 0.5, val_loss, val_accuracy, 0.1, 1.0, 1.0)


# Accuracy is best in epoch 2, loss in epoch 4.
HISTORY = [_result(1, 1.0, 0.5), _result(2, 0.9, 0.8), _result(3, 0.8, 0.7), _result(4, 0.7, 0.7), _result(5, 0.9, 0.8)]


@pytest.mark.parametrize(("by", "epoch"), [("val_accuracy", 2), ("val_loss", 4)])
def test_best_weights_are_those_of_the_metric_of_choice(by: Metric, epoch: int) -> None:
    keeping = KeepWeights(lambda which: None, by)
    for result in HISTORY:
        keeping.after_epoch(result)
    assert keeping.best_epoch == epoch


@pytest.mark.parametrize(("by", "wishes"), [("val_accuracy", [0, 0, 0, 1, 1]), ("val_loss", [0, 0, 0, 0, 0])])
def test_early_stopping_waits_for_the_metric_of_choice(by: Metric, wishes: list[int]) -> None:
    stopping = EarlyStopping(2, by)
    assert [stopping.after_epoch(result) for result in HISTORY] == [bool(wish) for wish in wishes]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            EpochResult(3, 1.8195, 0.5077, 1.604, 0.4528, 0.1, 30.0, 2000.7),
            "train 50.8% loss 1.82  val 45.3% loss 1.60",
        ),
        (
            EpochResult(30, 0.00301, 1.0, 0.0446, 0.98, 0.1, 90.0, 63.4),
            "train 100.0% loss 0.00301  val 98.0% loss 0.0446",
        ),
    ],
)
def test_line_of_an_epoch_fits_a_terminal_of_80_characters(result: EpochResult, words: str) -> None:
    said: list[str] = []
    Show(said.append, lambda done, text: None, 60).after_epoch(result)
    (line,) = said
    assert words in line
    assert f"epoch {result.epoch:>2}/60" in line
    assert f"{result.pictures_per_second:,.0f}/s" in line
    assert len(line) <= 80


@pytest.mark.parametrize("make", [lambda by: EarlyStopping(3, by), lambda by: KeepWeights(lambda which: None, by)])
def test_state_of_another_metric_is_forgotten(make: Callable[[str], Any]) -> None:
    before, same, other = make("val_loss"), make("val_loss"), make("val_accuracy")
    before.after_epoch(HISTORY[0])
    state = json.loads(json.dumps(before.state()))
    same.set_state(state)
    other.set_state(state)
    assert same.state() == before.state()
    assert other.state()["best"] == make("val_accuracy").state()["best"]


def _batches(*, learn: bool) -> Batches:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    augmentation = Augmentation(shift=0.1) if learn else None
    return Batches(images, rng.integers(0, 4, 30), np.arange(30), 8, 32, torch.device("cpu"), 5, augmentation)


def _fit(*callbacks: Callback, **changes: object) -> tuple[Network, list[EpochResult]]:
    network = build_network(NetworkSpec("lenet5", 4, 32), seed=1)
    recipe = make_recipe("scratch", {"epochs": 3, "batch_size": 8, "schedule": "triangle", **changes}).resolved()
    history = fit(network, Parts(_batches(learn=True), _batches(learn=False)), recipe, Beside(callbacks))
    return network, history


def test_tensorboard_has_every_epochs_numbers_and_every_updates_rate(tmp_path: Path) -> None:
    rates: list[float] = []

    class Rates(Callback):
        def after_step(self, position: StepPosition, read: Callable[[], Tally]) -> None:
            assert position.step == len(rates) + 1
            rates.append(position.learning_rate)

    _, history = _fit(TensorBoard(tmp_path / "tb"), Rates())
    shown = EventAccumulator(str(tmp_path / "tb"))
    shown.Reload()
    assert [event.value for event in shown.Scalars("learning_rate")] == pytest.approx(rates)
    assert [event.step for event in shown.Scalars("learning_rate")] == list(range(1, 13))
    for quantity in ("loss", "accuracy"):
        for part in ("train", "val"):
            events = shown.Scalars(f"{quantity}/{part}")
            assert [event.value for event in events] == pytest.approx(
                [getattr(row, f"{part}_{quantity}") for row in history]
            )
            assert [event.step for event in events] == [4, 8, 12]


def test_tensorboard_that_goes_on_shows_no_update_twice(tmp_path: Path) -> None:
    network = nn.Linear(1, 1)
    for begin, end in ((0, 7), (4, 10)):
        board = TensorBoard(tmp_path)
        board.begin(network, begin)
        for step in range(begin + 1, end + 1):
            board.after_step(StepPosition(1, 1, 0, 0, step, begin + step), Tally)
        board.end()
    shown = EventAccumulator(str(tmp_path))
    shown.Reload()
    events = shown.Scalars("learning_rate")
    assert [event.step for event in events] == list(range(1, 11))
    assert [event.value for event in events][4:] == [4.0 + step for step in range(5, 11)]


def test_tensorboard_that_is_not_installed_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.import_module

    def refuse(name: str, *arguments: Any) -> Any:
        if "tensorboard" in name:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return whole(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError) as caught:
        TensorBoard(tmp_path)
    assert 'pip install "saccade[tensorboard]"' in str(caught.value.remedy)


def test_callbacks_are_told_of_the_beginning_every_step_every_epoch_and_the_end() -> None:
    told: list[str] = []

    class Diary(Callback):
        def begin(self, network: nn.Module, step: int) -> None:
            told.append(f"begin {type(network).__name__} {step}")

        def after_step(self, position: StepPosition, read: Callable[[], Tally]) -> None:
            told.append(f"step {position.step}, {read().num_pictures} pictures")

        def after_epoch(self, result: EpochResult) -> bool:
            told.append(f"epoch {result.epoch}")
            return result.epoch == 2

        def end(self) -> None:
            told.append("end")

    _fit(Diary())
    epoch = [f"{number} pictures" for number in (8, 16, 24, 30)]
    first = [f"step {step}, {words}" for step, words in enumerate(epoch, start=1)]
    second = [f"step {step}, {words}" for step, words in enumerate(epoch, start=5)]
    assert told == ["begin Network 0", *first, "epoch 1", *second, "epoch 2", "end"]


def test_end_is_told_of_a_training_that_breaks_off() -> None:
    class Broken(Callback):
        ended = False

        def after_step(self, position: StepPosition, read: Callable[[], Tally]) -> None:
            raise ZeroDivisionError

        def end(self) -> None:
            self.ended = True

    broken = Broken()
    with pytest.raises(ZeroDivisionError):
        _fit(broken)
    assert broken.ended


def test_with_an_average_the_callbacks_and_the_end_see_its_weights() -> None:
    weights: list[dict[str, torch.Tensor]] = []

    class Look(Callback):
        def begin(self, network: nn.Module, step: int) -> None:
            self.network = network

        def after_epoch(self, result: EpochResult) -> bool:
            weights.append({name: value.clone() for name, value in self.network.state_dict().items()})
            tally = validate(self.network, _batches(learn=False))  # type: ignore[arg-type]
            assert tally.loss == pytest.approx(result.val_loss), "what is judged is what is kept"
            return False

    averaged, history = _fit(Look(), ema=0.99)
    plain, plain_history = _fit()
    assert all(torch.equal(value, weights[-1][name]) for name, value in averaged.state_dict().items())
    assert not any(
        torch.equal(one, other) for one, other in zip(averaged.parameters(), plain.parameters(), strict=True)
    )
    assert [row.train_loss for row in history] == [row.train_loss for row in plain_history], "what learns is the same"
