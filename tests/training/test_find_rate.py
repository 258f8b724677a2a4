"""The search for the learning rate: what it tries, what it leaves alone, and how its curve is read."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from saccade.data.augment import Augmentation
from saccade.data.batches import Batches
from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.presets import make_recipe
from saccade.recipe import Recipe
from saccade.training.find_rate import HIGHEST, LOWEST, NUM_UPDATES, Trial, suggest, sweep
from saccade.training.step import StepResult


def _source() -> Batches:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 60)
    images = rng.integers(0, 60, (60, 8, 8, 3), dtype=np.uint8)
    images[np.arange(60), :, :, labels] += 150  # a class is a colour
    return Batches(images, labels, np.arange(60), 16, 32, torch.device("cpu"), 5, Augmentation())


def _recipe(**changes: object) -> Recipe:
    return make_recipe("scratch", changes).resolved()


def _network() -> Network:
    return build_network(NetworkSpec("lenet5", 3, 32), seed=1)


def test_sweep_trains_a_copy_as_a_loop_written_by_hand_would() -> None:
    trials = sweep(_network(), _source(), _recipe(optimizer="sgd", momentum=0.0, weight_decay=0.0))
    network = _network().train()
    batches = [batch for epoch in range(1, 30) for batch in _source().epoch(epoch)]
    average = 0.0
    for number, (batch, trial) in enumerate(zip(batches, trials, strict=False)):
        loss = torch.nn.functional.cross_entropy(network(batch.images), batch.labels)
        average = 0.98 * average + 0.02 * loss.item()
        assert trial.rate == pytest.approx(1e-7 * 1e8 ** (number / 99))
        assert trial.loss == pytest.approx(loss.item(), rel=1e-3)
        assert trial.smoothed == pytest.approx(average / (1 - 0.98 ** (number + 1)), rel=1e-3)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(network.parameters(), gradients, strict=True):
                weight -= trial.rate * gradient
        if number == 60:  # further on rounding grows into other trainings
            break
    assert len(trials) > 60


def test_sweep_leaves_the_network_and_the_callers_generator_alone() -> None:
    network = _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    told: list[int] = []
    trials = sweep(network, _source(), _recipe(), told.append)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert told == list(range(1, len(trials) + 1))
    assert trials[0].rate == LOWEST
    assert trials[-1].rate <= HIGHEST * (1 + 1e-9)


@pytest.mark.parametrize(("far", "num_updates"), [(3.0, NUM_UPDATES), (1e4, 31), (math.inf, 30), (math.nan, 30)])
def test_sweep_ends_when_the_loss_has_left_the_valley(
    far: float, num_updates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0] * 30 + [far] * 100)

    def update(*arguments: object) -> StepResult:
        loss = torch.tensor(next(losses))
        return StepResult(loss, torch.tensor(0), applied=bool(loss.isfinite()))

    monkeypatch.setattr("saccade.training.find_rate.update", update)
    assert len(sweep(_network(), _source(), _recipe())) == num_updates


def _curve(losses: list[float]) -> list[Trial]:
    rates = np.geomspace(LOWEST, HIGHEST, 100)
    return [Trial(float(rate), loss, loss) for rate, loss in zip(rates, losses, strict=False)]


def test_suggestion_is_the_middle_of_the_fall_and_the_steepest_place_of_it() -> None:
    # level, then a fall between updates 40 and 70 that is steepest at 50, then up
    losses = [2.0 + 1e-3 * (number % 2) for number in range(40)]
    losses += [2.0 - number / 30 - (0.5 if number > 10 else 0.0) for number in range(1, 31)]
    losses += [1.0 + number for number in range(30)]
    found = suggest(_curve(losses))
    assert found is not None
    rates = [trial.rate for trial in _curve(losses)]
    assert abs(rates.index(found.valley) - 55) <= 3  # fastai rounds down, three times
    assert abs(rates.index(found.steepest) - 50) <= 1


@pytest.mark.parametrize("losses", [[2.0, 1.0, 3.0], [1.0 + number for number in range(100)], [1.0] * 100])
def test_nothing_is_suggested_where_the_loss_does_not_fall(losses: list[float]) -> None:
    assert suggest(_curve(losses)) is None
