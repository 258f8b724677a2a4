"""The loop, against the same training written out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.data.augment import Augmentation
from saccade.data.batches import Batches
from saccade.metrics import Tally
from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.presets import make_recipe
from saccade.recipe import Recipe
from saccade.training.callbacks import Callback, EarlyStopping, EpochResult, KeepWeights
from saccade.training.loop import Beside, fit
from saccade.training.loss import AUXILIARY_WEIGHT, Objective, loss_of
from saccade.training.norms import Statistics
from saccade.training.optimizer import make_optimizer
from saccade.training.progress import own_generators
from saccade.training.schedule import PLATEAU_FACTOR, make_schedule
from saccade.training.sources import Parts
from saccade.training.validation import validate

CPU = torch.device("cpu")


def _batches(num_pictures: int = 50, *, learn: bool) -> Batches:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (num_pictures, 16, 16, 3), dtype=np.uint8)
    labels = rng.integers(0, 4, num_pictures)
    rows = np.arange(num_pictures)
    return Batches(images, labels, rows, 8, 32, CPU, 5, Augmentation(shift=0.1) if learn else None)


def _network() -> Network:
    return build_network(NetworkSpec("lenet5", 4, 32), seed=1)


def _recipe(**changes: object) -> Recipe:
    return make_recipe("scratch", {"epochs": 3, **changes}).resolved()


def _validation(loss: float, accuracy: float = 0.5) -> Tally:
    return Tally(round(100 * accuracy), 100, 100 * loss)


def _result(epoch: int, val_loss: float, val_accuracy: float = 0.5) -> EpochResult:
    return EpochResult(epoch, 1.0, 0.5, val_loss, val_accuracy, 0.1, 1.0, 1.0)


def test_fit_equals_a_loop_written_out_by_hand() -> None:
    recipe = _recipe(optimizer="sgd", learning_rate=0.01, schedule="constant", weight_decay=0.0, label_smoothing=0.1)
    fitted, by_hand = _network(), _network()
    fit(fitted, Parts(_batches(learn=True), _batches(learn=False)), recipe)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    for epoch in (1, 2, 3):
        for batch in _batches(learn=True).epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(by_hand(batch.images), batch.labels, label_smoothing=0.1).backward()
            optimizer.step()
    for ours, theirs in zip(fitted.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_validate_counts_every_picture_once_in_uneven_batches() -> None:
    network, batches = _network(), _batches(learn=False)
    tally = validate(network, batches)
    images = torch.from_numpy(batches.images).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        logits = network(F.interpolate(images, size=(32, 32), mode="bilinear", align_corners=False))
    labels = torch.from_numpy(batches.labels)
    assert tally.num_pictures == 50
    assert tally.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert tally.num_correct == int((logits.argmax(1) == labels).sum())


def test_loss_adds_auxiliary_classifiers_at_their_weight() -> None:
    network = build_network(NetworkSpec("googlenet", 4, 64)).train()
    images, labels = torch.zeros(2, 3, 64, 64), torch.tensor([0, 3])
    outputs = network.training_outputs(images)
    parts = [F.cross_entropy(logits, labels) for logits in outputs.auxiliary.values()]
    expected = F.cross_entropy(outputs.logits, labels) + AUXILIARY_WEIGHT * (parts[0] + parts[1])
    torch.testing.assert_close(loss_of(network, outputs, labels, Objective()), expected)


def test_loss_adds_the_l2_of_the_stages_that_have_it() -> None:
    network = build_network(NetworkSpec("alexnet_bn", 4, 67)).eval()
    outputs = network.training_outputs(torch.zeros(1, 3, 67, 67))
    labels = torch.tensor([1])
    kernels = [network.stages.get_submodule(stage).conv.weight for stage in network.l2]
    penalty = sum(1e-4 * kernel.square().sum() for kernel in kernels)
    expected = F.cross_entropy(outputs.logits, labels) + penalty
    torch.testing.assert_close(loss_of(network, outputs, labels, Objective()), expected)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop"])
def test_optimizer_decays_weights_and_leaves_biases_alone(name: str) -> None:
    optimizer = make_optimizer(_network(), _recipe(optimizer=name, weight_decay=0.1))
    decay = {
        parameter.ndim > 1: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }
    assert decay == {True: 0.1, False: 0.0}


def test_optimizer_leaves_out_what_does_not_learn() -> None:
    network = _network()
    network.stages.requires_grad_(False)
    optimizer = make_optimizer(network, _recipe())
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in network.head.parameters()}


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "plateau", "constant"])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 3), (3, 1), (10, 7)])
def test_schedule_lasts_for_every_step_of_the_training(schedule: str, epochs: int, steps: int) -> None:
    recipe = _recipe(schedule=schedule, epochs=epochs, learning_rate=0.1)
    optimizer = make_optimizer(_network(), recipe)
    moving = make_schedule(optimizer, recipe, steps)
    rates = []
    for _ in range(epochs):
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            moving.after_step()
        moving.after_epoch(_validation(1.0))
    assert all(0 < rate <= 0.1 + 1e-12 for rate in rates)


def test_onecycle_reaches_its_peak_after_a_fifth_and_ends_near_zero() -> None:
    recipe = _recipe(epochs=10, learning_rate=0.1)
    optimizer = make_optimizer(_network(), recipe)
    moving = make_schedule(optimizer, recipe, 10)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        moving.after_step()
    assert abs(int(np.argmax(rates)) - 20) <= 1
    assert max(rates) == pytest.approx(0.1, rel=1e-3)
    assert rates[-1] < 1e-4


def test_plateau_reduces_after_five_epochs_without_a_better_loss() -> None:
    recipe = _recipe(schedule="plateau", learning_rate=0.1)
    optimizer = make_optimizer(_network(), recipe)
    moving = make_schedule(optimizer, recipe, 1)
    rates = []
    for loss in [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]:
        moving.after_epoch(_validation(loss))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1] * 6 + [0.1 * PLATEAU_FACTOR] * 2)


def test_early_stopping_waits_for_its_patience() -> None:
    stopping = EarlyStopping(patience=3)
    wishes = [stopping.after_epoch(_result(epoch, loss)) for epoch, loss in enumerate([1.0, 0.5, 0.6, 0.5, 0.7])]
    assert wishes == [False, False, False, False, True]


def test_best_weights_are_those_of_higher_accuracy_then_lower_loss() -> None:
    saved: list[str] = []
    keeping = KeepWeights(saved.append)
    for epoch, (accuracy, loss) in enumerate([(0.5, 1.0), (0.5, 0.9), (0.4, 0.1), (0.6, 2.0)], start=1):
        keeping.after_epoch(_result(epoch, loss, accuracy))
    assert saved == ["last", "best", "last", "best", "last", "last", "best"]
    assert keeping.best_epoch == 4


def test_every_callback_is_told_even_when_one_asks_to_stop() -> None:
    class Counter(Callback):
        told = 0

        def after_epoch(self, result: EpochResult) -> bool:
            self.told += 1
            return True

    counters = [Counter(), Counter()]
    history = fit(_network(), Parts(_batches(learn=True), _batches(learn=False)), _recipe(), Beside(counters))
    assert ([counter.told for counter in counters], len(history)) == ([1, 1], 1)


def test_rates_fall_evenly_with_depth_to_the_share_asked_for() -> None:
    network = build_network(NetworkSpec("resnet18_cifar", 3, 32, 3))
    recipe = _recipe(depth_rate=0.1, learning_rate=1e-2, schedule="constant")
    optimizer = make_optimizer(network, recipe)
    rate = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert len(rate) == sum(1 for _ in network.parameters()), "every parameter is in one group"
    assert {rate[id(parameter)] for parameter in network.head.parameters()} == {1e-2}
    by_stage = [{rate[id(parameter)] for parameter in stage.parameters()} for stage in network.stages]
    assert all(len(rates) == 1 for rates in by_stage)
    found = [rates.pop() for rates in by_stage]
    assert found[0] == pytest.approx(1e-3)
    ratios = [later / earlier for earlier, later in itertools.pairwise(found)]
    assert ratios == pytest.approx([10 ** (1 / len(found))] * len(ratios))


def test_rates_without_depth_are_all_the_same() -> None:
    optimizer = make_optimizer(build_network(NetworkSpec("resnet18_cifar", 3, 32, 3)), _recipe(learning_rate=1e-2))
    assert {group["lr"] for group in optimizer.param_groups} == {1e-2}
    assert len(optimizer.param_groups) == 2


def test_e01_statistics_of_batch_norm_are_brought_back() -> None:
    network = build_network(NetworkSpec("resnet18_cifar", 3, 32, 3)).train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    statistics = Statistics(network)
    statistics.keep()
    network(torch.full((2, 3, 32, 32), torch.nan))
    assert any(value.isnan().any() for value in network.buffers())
    statistics.bring_back()
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_randomness_inside_the_network_is_a_function_of_the_seed_and_the_callers_stays() -> None:
    def dropped(seed: int) -> Tensor:
        with own_generators(seed, CPU):
            return F.dropout(torch.ones(100))

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(dropped(1), dropped(1))
    assert not torch.equal(dropped(1), dropped(2))
    assert torch.equal(torch.rand(3), expected)
