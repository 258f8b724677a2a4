"""How the rate changes, against torch's own schedulers and numpy."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from saccade.errors import RecipeError
from saccade.metrics import Tally
from saccade.presets import make_recipe
from saccade.recipe import Recipe
from saccade.training.schedule import Schedule, advance, make_schedule, schedule_state, set_schedule_state

EPOCHS, PER_EPOCH = 12, 5


def _recipe(**changes: object) -> Recipe:
    return make_recipe("scratch", {"epochs": EPOCHS, **changes}).resolved()


def _optimizer(rate: float = 0.1) -> torch.optim.Optimizer:
    # two groups, as rates that fall with depth make them
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    return torch.optim.SGD([{"params": [weights[0]]}, {"params": [weights[1]], "lr": rate / 2}], lr=rate)


def _rates(optimizer: torch.optim.Optimizer, scheduler: Any, num_steps: int) -> list[float]:
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        assert optimizer.param_groups[1]["lr"] == pytest.approx(found[-1] / 2)
        optimizer.step()
        (scheduler.step if isinstance(scheduler, LRScheduler) else scheduler.after_step)()
    return found


def _ours(recipe: Recipe, own: Any = None) -> list[float]:
    optimizer = _optimizer()
    return _rates(optimizer, make_schedule(optimizer, recipe, PER_EPOCH, own), EPOCHS * PER_EPOCH)


def _with_torch(make: Any, warmup: int) -> list[float]:
    optimizer = _optimizer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's SequentialLR warns of its own way of calling
        rising = LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
        whole = SequentialLR(optimizer, [rising, make(optimizer)], milestones=[warmup])
        return _rates(optimizer, whole, EPOCHS * PER_EPOCH)


def test_step_equals_torchs_multi_step() -> None:
    optimizer = _optimizer()
    theirs = _rates(optimizer, MultiStepLR(optimizer, [3 * PER_EPOCH, 7 * PER_EPOCH], gamma=0.3), EPOCHS * PER_EPOCH)
    assert _ours(_recipe(schedule="step", step_epochs="7,3", step_factor=0.3)) == pytest.approx(theirs)


@pytest.mark.parametrize(("text", "milestones"), [("every-4", [20, 40]), (None, [20, 40]), ("2.5", [12])])
def test_step_epochs_in_all_their_forms(text: str | None, milestones: list[int]) -> None:
    optimizer = _optimizer()
    theirs = _rates(optimizer, MultiStepLR(optimizer, milestones), EPOCHS * PER_EPOCH)
    assert _ours(_recipe(schedule="step", step_epochs=text)) == pytest.approx(theirs)


@pytest.mark.parametrize("text", ["often", "every-0", "every-", "3,,5", "-2", "nan", "every--1"])
def test_step_epochs_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="cannot be read") as caught:
        _ours(_recipe(schedule="step", step_epochs=text))
    assert "every-30" in str(caught.value.remedy)


def test_cosine_with_a_warm_up_equals_torchs_sequence() -> None:
    warmup = 3 * PER_EPOCH
    theirs = _with_torch(lambda each: CosineAnnealingLR(each, EPOCHS * PER_EPOCH - warmup), warmup)
    assert _ours(_recipe(schedule="cosine", warmup=3)) == pytest.approx(theirs)


def test_constant_with_a_warm_up_equals_torchs_line() -> None:
    optimizer = _optimizer()
    rising = LinearLR(optimizer, start_factor=0.01, total_iters=round(2.5 * PER_EPOCH))
    theirs = _rates(optimizer, rising, EPOCHS * PER_EPOCH)
    assert _ours(_recipe(schedule="constant", warmup=2.5)) == pytest.approx(theirs)


def test_step_falls_at_its_epochs_whether_it_was_warmed_up_or_not() -> None:
    warm, cold = (_ours(_recipe(schedule="step", step_epochs="6", warmup=warmup)) for warmup in (2, 0))
    assert warm[2 * PER_EPOCH :] == pytest.approx(cold[2 * PER_EPOCH :])
    assert warm[0] == pytest.approx(0.001)


@pytest.mark.parametrize("warmup", [None, 0, 3, EPOCHS])
def test_triangle_is_two_straight_lines(warmup: float | None) -> None:
    total = EPOCHS * PER_EPOCH
    top = round((EPOCHS / 5 if warmup is None else warmup) * PER_EPOCH)
    expected = 0.1 * np.interp(np.arange(total), [-1, top, total], [0, 1, 0]) if top else 0.1 * np.linspace(1, 0, 61)
    assert _ours(_recipe(schedule="triangle", warmup=warmup)) == pytest.approx(expected[:total])


def test_onecycle_rises_for_as_long_as_the_warm_up() -> None:
    rates = _ours(_recipe(schedule="onecycle", warmup=6))
    assert abs(int(np.argmax(rates)) - 6 * PER_EPOCH) <= 1
    assert _ours(_recipe(schedule="onecycle", warmup=EPOCHS / 5)) == pytest.approx(_ours(_recipe(schedule="onecycle")))


@pytest.mark.parametrize("warmup", [0, 100])
def test_onecycle_bears_a_warm_up_of_nothing_and_of_everything(warmup: float) -> None:
    assert all(0 < rate <= 0.1 + 1e-12 for rate in _ours(_recipe(schedule="onecycle", warmup=warmup)))


def test_own_schedule_is_asked_for_the_epochs_done() -> None:
    asked: list[float] = []

    def own(epoch: float) -> float:
        asked.append(epoch)
        return 1 / (1 + epoch)

    rates = _ours(_recipe(schedule="own"), own)
    assert rates == pytest.approx(0.1 / (1 + np.arange(EPOCHS * PER_EPOCH) / PER_EPOCH))
    assert sorted(set(asked))[:2] == [0.0, 1 / PER_EPOCH]


@pytest.mark.parametrize("answer", [None, -1.0, float("nan"), "half"])
def test_own_schedule_that_answers_nonsense_is_told(answer: Any) -> None:
    with pytest.raises(RecipeError, match="a number of 0 or more"):
        _ours(_recipe(schedule="own"), lambda epoch: answer)


def test_own_schedule_without_a_function_says_how_to_bring_it() -> None:
    with pytest.raises(RecipeError) as caught:
        _ours(_recipe(schedule="own"))
    assert "saccade.train(..., schedule=FUNCTION)" in str(caught.value.remedy)


def _watch(moving: Schedule, optimizer: torch.optim.Optimizer, validations: list[Tally]) -> list[float]:
    found = []
    for validated in validations:
        for _ in range(PER_EPOCH):
            optimizer.step()
            moving.after_step()
        moving.after_epoch(validated)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_plateau_by_accuracy_does_not_look_at_the_loss() -> None:
    optimizer = _optimizer()
    moving = make_schedule(optimizer, _recipe(schedule="plateau", best_by="val_accuracy"), PER_EPOCH)
    falling_loss = [Tally(50, 100, 100.0 - number) for number in range(7)]
    assert _watch(moving, optimizer, falling_loss) == pytest.approx([0.1] * 5 + [0.02] * 2)


def test_plateau_looks_at_no_epoch_that_ends_within_its_warm_up() -> None:
    optimizer = _optimizer()
    moving = make_schedule(optimizer, _recipe(schedule="plateau", warmup=2), PER_EPOCH)
    rates = _watch(moving, optimizer, [Tally(0, 1, 1.0)] * 9)
    assert rates == pytest.approx([0.0505, *[0.1] * 5, 0.02, 0.02, 0.02])


@pytest.mark.parametrize("warmup", [None, 2.5])
@pytest.mark.parametrize("name", ["onecycle", "cosine", "step", "triangle", "plateau", "constant", "own"])
def test_schedule_goes_on_from_its_state_as_json(name: str, warmup: float | None) -> None:
    recipe, validations = _recipe(schedule=name, warmup=warmup), [Tally(0, 1, 1.0)] * EPOCHS

    def own(epoch: float) -> float:
        return 0.9**epoch

    calm = _optimizer()
    expected = _watch(make_schedule(calm, recipe, PER_EPOCH, own), calm, validations)
    for stopped_after in (1, 7):
        first, second = _optimizer(), _optimizer()
        begun = make_schedule(first, recipe, PER_EPOCH, own)
        _watch(begun, first, validations[:stopped_after])
        state = json.loads(json.dumps(schedule_state(begun)))
        resumed = make_schedule(second, recipe, PER_EPOCH, own)
        for group, old in zip(second.param_groups, first.param_groups, strict=True):
            group.update({key: value for key, value in old.items() if key != "params"})
        set_schedule_state(resumed, state)
        second._opt_called = True  # type: ignore[attr-defined]
        assert _watch(resumed, second, validations[stopped_after:]) == expected[stopped_after:]


def test_schedule_brought_forward_is_where_it_would_be() -> None:
    optimizer = _optimizer()
    moving = make_schedule(optimizer, _recipe(schedule="triangle"), PER_EPOCH)
    advance(moving, 30)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(_ours(_recipe(schedule="triangle"))[30])
