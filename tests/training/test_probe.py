"""Ridge and logistic heads against scikit-learn, against leaving pictures out one by one, and on real pictures."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import cross_entropy

from saccade.errors import ModelError, ResourceError
from saccade.training import convex, directions, probe
from saccade.training.convex import Search
from saccade.training.probe import MISSING_BIAS, SolvedHead, as_sigmoid, ridge_sweep, solve_logistic

STRENGTHS = (0.1, 3.0, 100.0)
NARROW, WIDE = (150, 12), (40, 200)


def make(shape: tuple[int, int], num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping clusters of correlated features, each on a scale and at a place of its own; float64."""
    rng = np.random.default_rng(seed)
    num, width = shape
    labels = np.arange(num) % num_classes
    features = rng.normal(size=(num, width)) @ rng.normal(size=(width, width)) / math.sqrt(width)
    features += rng.normal(size=(num_classes, width))[labels]
    features = features * rng.uniform(0.01, 100, width) + rng.normal(size=width) * 50
    return torch.from_numpy(features), torch.from_numpy(labels)


def scaled(features: Tensor) -> npt.NDArray[np.float64]:
    return np.asarray(StandardScaler().fit_transform(features.double().numpy()))


def raw_of(standard: npt.NDArray[np.float64], intercept: npt.NDArray[np.float64], features: Tensor) -> Tensor:
    """Coefficients on standardised features as scores of the features as they came, (N, K)."""
    return torch.from_numpy(scaled(features) @ standard.T + intercept)


def only(strength: float) -> Search:
    return Search((strength,), num_folds=2)


def scores(found: SolvedHead, features: Tensor) -> Tensor:
    return features.to(found.weight) @ found.weight.T + found.bias


def penalised_loss(logits: Tensor, labels: Tensor, standard: Tensor, strength: float, smoothing: float = 0.0) -> float:
    loss = cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
    return float(loss + strength / 2 * standard.square().sum())


@pytest.mark.parametrize("shape", [NARROW, WIDE])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_ridge_coefficients_are_those_of_sklearn(shape: tuple[int, int], strength: float) -> None:
    features, labels = make(shape, 3)
    swept = ridge_sweep(features, labels, 3, [strength])
    peer = Ridge(alpha=strength).fit(scaled(features), np.eye(3)[labels])
    deviation = features.std(dim=0, correction=0)
    torch.testing.assert_close(swept.weight * deviation, torch.from_numpy(peer.coef_), rtol=0, atol=1e-6)
    fitted = raw_of(peer.coef_, peer.intercept_, features)
    torch.testing.assert_close(features @ swept.weight.T + swept.bias, fitted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [NARROW, WIDE])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_ridge_left_out_errors_are_those_of_sklearn(shape: tuple[int, int], strength: float) -> None:
    features, labels = make(shape, 3)
    swept = ridge_sweep(features, labels, 3, [strength])
    peer = RidgeCV([strength], store_cv_results=True).fit(scaled(features), np.eye(3)[labels])
    errors = (torch.eye(3).double()[labels] - swept.left_out).square()
    torch.testing.assert_close(errors, torch.from_numpy(peer.cv_results_[:, :, 0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(30, 8), (12, 40)])
def test_ridge_left_out_scores_are_those_of_fits_without_each_picture(shape: tuple[int, int]) -> None:
    features, labels = make(shape, 3)
    swept = ridge_sweep(features, labels, 3, STRENGTHS)
    standard, wanted = scaled(features), np.eye(3)[labels]
    num_right = np.zeros(len(STRENGTHS))
    for number, strength in enumerate(STRENGTHS):
        for left in range(len(labels)):
            rest = np.arange(len(labels)) != left
            found = Ridge(alpha=strength).fit(standard[rest], wanted[rest]).predict(standard[left : left + 1])[0]
            num_right[number] += found.argmax() == labels[left]
            if strength == swept.strength:
                np.testing.assert_allclose(swept.left_out[left], found, rtol=0, atol=1e-8)
    assert swept.accuracies == pytest.approx(num_right / len(labels))
    assert swept.accuracy == max(swept.accuracies)


def test_coordinates_kept_in_float32_give_what_float64_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = make((600, 100), 3)
    ridge, head = ridge_sweep(features, labels, 3), solve_logistic(features, labels, 3)
    monkeypatch.setattr(directions, "_LARGE", 10)
    assert directions.principal_directions(features).coordinates.dtype == torch.float32
    single, single_head = ridge_sweep(features.float(), labels, 3), solve_logistic(features.float(), labels, 3)
    assert single.weight.dtype == single_head.weight.dtype == torch.float32
    assert (single.strength, single_head.strength) == (ridge.strength, head.strength)
    torch.testing.assert_close(single.left_out.double(), ridge.left_out, rtol=0, atol=1e-4)
    theirs = scores(head, features).softmax(1)
    torch.testing.assert_close(scores(single_head, features).softmax(1).double(), theirs, rtol=0, atol=1e-3)


def test_work_in_small_blocks_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in (NARROW, WIDE):
        features, labels = make(shape, 3)
        ridge, head = ridge_sweep(features, labels, 3), solve_logistic(features, labels, 3)
        with monkeypatch.context() as patch:
            for module in (directions, probe, convex):
                patch.setattr(module, "_BLOCK", 500)
            small, small_head = ridge_sweep(features, labels, 3), solve_logistic(features, labels, 3)
        torch.testing.assert_close(small.left_out, ridge.left_out)
        assert small.accuracies == ridge.accuracies
        assert small_head.cv_accuracies == head.cv_accuracies
        torch.testing.assert_close(small_head.weight, head.weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [NARROW, WIDE])
@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("num_classes", [3, 7])
def test_logistic_is_the_minimum_that_sklearn_finds(shape: tuple[int, int], strength: float, num_classes: int) -> None:
    features, labels = make(shape, num_classes)
    found = solve_logistic(features, labels, num_classes, search=only(strength))
    peer = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10_000).fit(scaled(features), labels)
    logits, deviation = scores(found, features), features.std(dim=0, correction=0)
    theirs = raw_of(peer.coef_, peer.intercept_, features)
    torch.testing.assert_close(logits.softmax(1), theirs.softmax(1), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.weight * deviation, torch.from_numpy(peer.coef_), rtol=0, atol=1e-3)
    mine = penalised_loss(logits, labels, found.weight * deviation, strength)
    assert mine <= penalised_loss(theirs, labels, torch.from_numpy(peer.coef_), strength) * (1 + 1e-6)


def test_logistic_of_two_classes_is_the_sigmoid_that_sklearn_finds() -> None:
    features, labels = make((100, 10), 2)
    found = solve_logistic(features, labels, 2, search=only(2.0))
    weight, bias = as_sigmoid(found)
    assert (weight.shape, bias.shape) == ((1, 10), (1,))
    sigmoid = (features @ weight.T + bias).sigmoid()[:, 0]
    torch.testing.assert_close(sigmoid, scores(found, features).softmax(1)[:, 1])
    # Two weights that share the work pay half of what one pays that does it alone.
    peer = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(scaled(features), labels)
    np.testing.assert_allclose(sigmoid, peer.predict_proba(scaled(features))[:, 1], rtol=0, atol=1e-3)


def test_sigmoid_form_of_three_classes_is_refused() -> None:
    features, labels = make((30, 4), 3)
    with pytest.raises(ModelError, match="two classes apart, but there are 3"):
        as_sigmoid(solve_logistic(features, labels, 3))


@pytest.mark.parametrize("num_classes", [3, 4])
def test_logistic_with_label_smoothing_has_no_slope_left(num_classes: int) -> None:
    features, labels = make((90, 6), 3)  # with num_classes 4 the last has no picture
    found = solve_logistic(features, labels, num_classes, 0.1, only(1.0))
    standard = torch.from_numpy(scaled(features))
    weight = (found.weight * features.std(dim=0, correction=0)).requires_grad_()
    bias = (found.bias + found.weight @ features.mean(dim=0)).requires_grad_()
    loss = cross_entropy(standard @ weight.T + bias, labels, reduction="sum", label_smoothing=0.1)
    (loss + 0.5 * weight.square().sum()).backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert bias.grad is not None
    assert float(weight.grad.abs().max()) < 1e-3
    assert float(bias.grad.abs().max()) < 1e-3
    assert float(found.bias.abs().max()) < abs(MISSING_BIAS)


def test_wide_and_narrow_ways_agree() -> None:
    features, labels = make((40, 39), 3)
    wide = torch.cat([features, features[:, :1], features[:, :1]], dim=1)  # 41 columns: over the edge
    narrow = torch.cat([features, features[:, :1]], dim=1)  # 40: not yet
    for columns, copies in ((narrow, 2), (wide, 3)):
        # A column that comes m times weighs as one that is sqrt(m) times as large.
        peer = scaled(features)
        peer[:, 0] *= math.sqrt(copies)
        ridge = Ridge(alpha=2.0).fit(peer, np.eye(3)[labels])
        swept = ridge_sweep(columns, labels, 3, [2.0])
        fitted = torch.from_numpy(ridge.predict(peer))
        torch.testing.assert_close(columns @ swept.weight.T + swept.bias, fitted, rtol=0, atol=1e-6)
        logistic = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(peer, labels)
        found = scores(solve_logistic(columns, labels, 3, search=only(2.0)), columns).softmax(1)
        torch.testing.assert_close(found, torch.from_numpy(logistic.predict_proba(peer)), rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [NARROW, WIDE])
def test_scale_and_shift_of_features_change_nothing(shape: tuple[int, int]) -> None:
    features, labels = make(shape, 3)
    factor = torch.linspace(-3, 3, shape[1]).double().exp()
    moved = features * factor - 1000
    ridge, ridge_moved = ridge_sweep(features, labels, 3), ridge_sweep(moved, labels, 3)
    assert ridge_moved.accuracies == ridge.accuracies
    torch.testing.assert_close(ridge_moved.weight * factor, ridge.weight, rtol=1e-6, atol=1e-8)
    head, head_moved = solve_logistic(features, labels, 3), solve_logistic(moved, labels, 3)
    assert head_moved.strength == head.strength
    torch.testing.assert_close(
        scores(head_moved, moved).softmax(1), scores(head, features).softmax(1), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("shape", [NARROW, WIDE])
def test_constant_features_get_no_weight_and_change_nothing(shape: tuple[int, int]) -> None:
    features, labels = make(shape, 3)
    more = torch.cat([features, torch.full((shape[0], 2), 0.1, dtype=torch.float64)], dim=1)
    for solve in (ridge_sweep, solve_logistic):
        plain, padded = solve(features, labels, 3), solve(more, labels, 3)
        assert float(padded.weight[:, -2:].abs().max()) == 0
        torch.testing.assert_close(padded.weight[:, :-2], plain.weight, rtol=1e-3, atol=1e-4)


def test_classes_without_pictures_are_never_predicted() -> None:
    features, labels = make((60, 5), 3)
    labels = torch.tensor([1, 2, 4])[labels]
    swept, head = ridge_sweep(features, labels, 6), solve_logistic(features, labels, 6)
    plain = solve_logistic(features, torch.searchsorted(torch.tensor([1, 2, 4]), labels), 3)
    assert swept.weight.shape == head.weight.shape == (6, 5)
    assert set((features @ swept.weight.T + swept.bias).argmax(1).tolist()) <= {1, 2, 4}
    torch.testing.assert_close(head.weight[[1, 2, 4]], plain.weight)
    far = features * 100  # far from anything seen
    assert float(scores(head, far).softmax(1)[:, [0, 3, 5]].max()) <= math.exp(MISSING_BIAS)


def test_one_picture_per_class_is_solved_without_cross_validation() -> None:
    features, _ = make((4, 10), 2)
    head = solve_logistic(features, torch.arange(4), 4)
    assert math.isnan(head.cv_accuracy)
    assert head.cv_accuracies == ()
    assert scores(head, features).argmax(1).tolist() == [0, 1, 2, 3]
    assert ridge_sweep(features, torch.arange(4), 4).accuracy == 0  # without its only picture a class is unknown


def test_classes_smaller_than_the_folds_are_cross_validated() -> None:
    features, labels = make((40, 6), 2)
    labels[:3] = torch.tensor([2, 3, 3])
    head = solve_logistic(features, labels, 4)
    assert head.num_cv_pictures == 40
    assert 0.3 < head.cv_accuracy <= 37 / 40 + 2 / 40


def test_cross_validated_accuracy_is_that_of_sklearn_on_the_same_folds() -> None:
    features, labels = make((300, 8), 3, seed=5)
    head = solve_logistic(features, labels, 3, search=Search((3.0,), num_folds=4, seed=9))
    peer = np.zeros(300)
    standard = scaled(features)
    for learns, held in StratifiedKFold(4, shuffle=True, random_state=9).split(standard, labels):
        fitted = LogisticRegression(C=1 / 3, tol=1e-8, max_iter=10_000).fit(standard[learns], labels[learns])
        peer[held] = fitted.predict(standard[held]) == labels.numpy()[held]
    assert head.cv_accuracy == pytest.approx(peer.mean(), abs=1 / 300)


def test_many_pictures_are_cross_validated_on_a_sample_and_fitted_in_full() -> None:
    features, labels = make((600, 5), 3)
    sampled = solve_logistic(features, labels, 3, search=Search((1.0,), num_pictures=90))
    full = solve_logistic(features, labels, 3, search=Search((1.0,)))
    assert (sampled.num_cv_pictures, full.num_cv_pictures) == (90, 600)
    torch.testing.assert_close(sampled.weight, full.weight, rtol=1e-3, atol=1e-5)


def test_more_than_a_hundred_classes_hold_out_one_fold() -> None:
    features, labels = make((1010, 20), 101)
    head = solve_logistic(features, labels, 101)
    assert head.num_cv_pictures == 202
    assert head.cv_accuracy > 0.1


def test_same_seed_gives_the_same_bits() -> None:
    features, labels = make((300, 20), 3)
    first, second = (solve_logistic(features, labels, 3, search=Search(num_pictures=100, seed=3)) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert first.cv_accuracies == second.cv_accuracies


def test_classes_that_can_be_separated_get_finite_weights() -> None:
    features, labels = make((60, 4), 2)
    features[:, 0] = labels * 2.0 - 1
    head = solve_logistic(features, labels, 2, search=Search((4e-6,)))  # the weakest for 4 features
    assert bool(head.weight.isfinite().all())
    assert head.cv_accuracy == 1
    with pytest.raises(ModelError, match=r"at least 4\.0e-06 for 4 features"):
        solve_logistic(features, labels, 2, search=Search((1e-7,)))


def test_bfloat16_features_are_solved_in_full_precision() -> None:
    features, labels = make((200, 16), 3)
    coarse = ((features - features.mean(dim=0)) / features.std(dim=0)).bfloat16()
    head, same = solve_logistic(coarse, labels, 3), solve_logistic(coarse.double(), labels, 3)
    assert head.weight.dtype == torch.float32
    torch.testing.assert_close(head.weight.double(), same.weight, rtol=1e-5, atol=1e-6)


def test_autocast_around_the_call_does_not_coarsen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = make((100, 8), 3)
    plain = solve_logistic(features.float(), labels, 3)
    monkeypatch.setattr(directions, "_LARGE", 10)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(solve_logistic(features.float(), labels, 3).weight, plain.weight)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_are_named(value: float) -> None:
    features, labels = make((5000, 4), 2)
    features[4500, 3] = value
    for solve in (ridge_sweep, solve_logistic):
        with pytest.raises(ModelError, match="must be finite") as caught:
            solve(features, labels, 2)
        assert caught.value.where == "picture 4500, feature 3"
        assert caught.value.remedy


@pytest.mark.parametrize(
    ("features", "labels", "what"),
    [
        (torch.ones(6, 3), torch.arange(6) % 2, "all 6 pictures have the same features"),
        (torch.rand(6, 3, 2), torch.arange(6) % 2, r"float \(N, D\), not torch.float32 \(6, 3, 2\)"),
        (torch.ones(6, 3, dtype=torch.int64), torch.arange(6) % 2, "must be float"),
        (torch.rand(6, 0), torch.arange(6) % 2, "must be float"),
        (torch.rand(6, 3), torch.arange(5) % 2, "one label, a whole number, for each row"),
        (torch.rand(6, 3), torch.rand(6), "one label, a whole number, for each row"),
        (torch.rand(0, 3), torch.zeros(0, dtype=torch.int64), "one label"),
        (torch.rand(6, 3), torch.arange(6), "labels of 2 classes are 0 to 1, not 0 to 5"),
        (torch.rand(6, 3), torch.arange(6) % 2 - 1, "not -1 to 0"),
        (torch.rand(6, 3), torch.ones(6, dtype=torch.int64), "all 6 pictures are of class 1"),
    ],
)
def test_what_cannot_be_solved_says_so(features: Tensor, labels: Tensor, what: str) -> None:
    for solve in (ridge_sweep, solve_logistic):
        with pytest.raises(ModelError, match=what) as caught:
            solve(features, labels, 2)
        assert caught.value.where in ("features", "labels")
        assert caught.value.remedy


def test_settings_out_of_range_are_refused() -> None:
    features, labels = make((30, 4), 2)
    with pytest.raises(ModelError, match="a share from 0"):
        solve_logistic(features, labels, 2, 1.0)
    with pytest.raises(ModelError, match="2 folds and 2 pictures"):
        solve_logistic(features, labels, 2, search=Search(num_folds=1))
    for strengths in ([], [0.0], [-1.0], [math.nan], [math.inf]):
        with pytest.raises(ModelError, match="strengths are finite"):
            ridge_sweep(features, labels, 2, strengths)


def test_both_sides_large_are_refused_before_anything_is_computed() -> None:
    features = torch.zeros(1).expand(20_000, 20_000)
    with pytest.raises(ResourceError, match="too many for an exact solution"):
        ridge_sweep(features, torch.arange(20_000) % 2, 2)


def test_digits_are_told_apart_as_well_as_sklearn_does() -> None:
    digits = load_digits()
    features, labels = torch.from_numpy(digits.data).float(), torch.from_numpy(digits.target)
    learn, judge = np.split(np.random.default_rng(0).permutation(1797), [900])
    head = solve_logistic(features[learn], labels[learn], 10)
    standard = StandardScaler().fit(digits.data[learn])
    peer = LogisticRegression(max_iter=5000).fit(standard.transform(digits.data[learn]), digits.target[learn])
    theirs = peer.score(standard.transform(digits.data[judge]), digits.target[judge])
    mine = float((scores(head, features[judge]).argmax(1) == labels[judge]).double().mean())
    assert mine >= theirs - 0.005
    assert head.cv_accuracy == pytest.approx(mine, abs=0.02)
    swept = ridge_sweep(features[learn], labels[learn], 10)
    ridge = float(((features[judge] @ swept.weight.T + swept.bias).argmax(1) == labels[judge]).double().mean())
    assert swept.accuracy == pytest.approx(ridge, abs=0.02)


def test_mnist_pixels_are_told_apart_as_well_as_sklearn_does(shared: Path) -> None:
    features, labels = _mnist(shared, "t10k")
    learn, judge = slice(0, 1000), slice(1000, None)
    head = solve_logistic(features[learn], labels[learn], 10)
    standard = StandardScaler().fit(features[learn].numpy())
    # scikit-learn's own C is far too weak for pixels; it gets the best of a search, as we do.
    peers = [
        LogisticRegression(C=c, tol=1e-2, max_iter=200).fit(standard.transform(features[learn].numpy()), labels[learn])
        for c in (0.01, 0.03)
    ]
    theirs = max(peer.score(standard.transform(features[judge].numpy()), labels[judge]) for peer in peers)
    mine = float((scores(head, features[judge]).argmax(1) == labels[judge]).double().mean())
    assert mine >= theirs - 0.005


def _mnist(shared: Path, part: str) -> tuple[Tensor, Tensor]:
    folder = shared / "data" / "mnist"
    pixels = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return torch.from_numpy(pixels.reshape(-1, 784).astype(np.float32)), torch.from_numpy(labels.astype(np.int64))
