"""Splits: what must hold for any class sizes, what seeds decide, and that a picture keeps its part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binom, kstest
from sklearn.model_selection import StratifiedGroupKFold

from saccade.data.split import Draw, check_splits, fold_of, make_splits, place_of
from saccade.errors import LabelError

PARTS = ["train", "val", "test"]
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=6)
SHARES = st.floats(0.01, 0.45)
GIVEN = st.sampled_from([*PARTS, "unassigned"])


def labels_of(sizes: list[int], seed: int = 0) -> np.ndarray:
    """Labels of classes of these sizes, in mixed order."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def unassigned(labels: np.ndarray) -> np.ndarray:
    return np.full(len(labels), "unassigned")


def alone(labels: np.ndarray) -> list[str]:
    """Every picture a unit of its own."""
    return [f"picture {index}" for index in range(len(labels))]


SEED_0 = Draw(0)


def split(labels: np.ndarray, draw: Draw = SEED_0, units: list[str] | None = None) -> np.ndarray:
    return make_splits(labels, unassigned(labels), units or alone(labels), draw)


@example(sizes=[1, 1, 49, 8], seed=1)  # one to learn from, none to watch, and more than enough to judge by
@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1))
def test_splits_of_any_class_sizes_give_each_class_at_least_half_its_share(sizes, seed):
    labels = labels_of(sizes)
    splits = split(labels, Draw(seed))
    for label, size in enumerate(sizes):
        for part in ("val", "test"):
            least = max(int(0.1 * size), 1 if size >= 3 else 0)
            assert ((labels == label) & (splits == part)).sum() >= least


@pytest.mark.parametrize("part", ["val", "test"])
def test_splits_of_a_large_class_have_their_share(part):
    num = (split(np.zeros(20_000, dtype=int)) == part).sum()
    assert binom.ppf(1e-4, 20_000, 0.2) <= num <= binom.ppf(1 - 1e-4, 20_000, 0.2)


@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1), val_share=SHARES, test_share=SHARES)
def test_splits_of_any_sizes_and_shares_leave_every_class_something_to_learn(sizes, seed, val_share, test_share):
    labels = labels_of(sizes)
    splits = split(labels, Draw(seed, val_share, test_share))
    assert set(labels[splits == "train"].tolist()) == set(range(len(sizes)))


@given(data=st.data(), num=st.integers(1, 40), seed=st.integers(0, 99))
def test_splits_of_anything_given_put_every_picture_in_exactly_one_part(data, num, seed):
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=num, max_size=num)))
    given_parts = np.array(data.draw(st.lists(GIVEN, min_size=num, max_size=num)))
    splits = make_splits(labels, given_parts, alone(labels), Draw(seed))
    assert splits.shape == labels.shape
    assert set(splits.tolist()) <= set(PARTS)


@given(data=st.data(), num=st.integers(1, 40), seed=st.integers(0, 99))
def test_splits_of_pictures_given_to_val_or_test_stay(data, num, seed):
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=num, max_size=num)))
    given_parts = np.array(data.draw(st.lists(GIVEN, min_size=num, max_size=num)))
    splits = make_splits(labels, given_parts, alone(labels), Draw(seed))
    held = (given_parts == "val") | (given_parts == "test")
    assert splits[held].tolist() == given_parts[held].tolist()


@pytest.mark.parametrize("part", ["val", "test"])
@given(data=st.data(), num=st.integers(4, 40))
def test_splits_where_a_part_is_given_add_nothing_to_it(part, data, num):
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=num, max_size=num)))
    given_parts = np.array([part, *data.draw(st.lists(GIVEN, min_size=num - 1, max_size=num - 1))])
    splits = make_splits(labels, given_parts, alone(labels), Draw(0))
    assert ((splits == part) == (given_parts == part)).all()


def test_splits_without_a_given_val_take_it_from_train_alone():
    labels = labels_of([50, 50])
    given_parts = np.where(np.arange(100) < 20, "test", "train")
    splits = make_splits(labels, given_parts, alone(labels), Draw(0))
    assert (given_parts[splits == "val"] == "train").all()
    assert (splits == "val").any()


def test_b08_split_of_a_class_of_one_puts_it_into_train():
    labels = np.array([0] + [1] * 20)
    for seed in range(20):
        assert split(labels, Draw(seed))[0] == "train"


def test_splits_with_the_same_seed_are_the_same():
    labels = labels_of([40, 40])
    first, second = (split(labels, Draw(7)) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_splits_with_another_seed_differ():
    labels = labels_of([40, 40])
    first, second = (split(labels, Draw(seed)) for seed in (7, 8))
    assert first.tolist() != second.tolist()


def test_splits_do_not_follow_the_order_of_the_pictures():
    labels = labels_of([30, 50])
    units = alone(labels)
    order = np.random.default_rng(1).permutation(len(labels))
    shuffled = split(labels[order], units=[units[index] for index in order])
    assert shuffled.tolist() == split(labels)[order].tolist()


def test_splits_leave_what_was_given_untouched():
    given_parts = unassigned(labels_of([10, 10]))
    make_splits(labels_of([10, 10]), given_parts, alone(given_parts), Draw(0))
    assert set(given_parts.tolist()) == {"unassigned"}


def test_splits_when_a_tenth_is_added_keep_every_old_picture_in_its_part():
    labels = labels_of([200, 300, 500])
    more = np.concatenate([labels, labels_of([20, 30, 50], seed=1)])
    moved = 0
    for seed in range(20):
        moved += int((split(labels, Draw(seed)) != split(more, Draw(seed))[: len(labels)]).sum())
    assert moved == 0


def test_splits_of_small_classes_move_few_pictures_when_a_tenth_is_added():
    labels = labels_of([10] * 50)
    more = np.concatenate([labels, np.arange(50)])
    moved = [(split(labels, Draw(s)) != split(more, Draw(s))[: len(labels)]).mean() for s in range(20)]
    assert np.mean(moved) < 0.02  # measured: 0.46 %, those that were drafted where a class had none


def test_c04_splits_keep_units_together():
    labels = labels_of([300, 300])
    units = [f"patient {index % 40}" for index in range(600)]
    splits = split(labels, units=units)
    for unit in set(units):
        assert len({part for part, own in zip(splits, units, strict=True) if own == unit}) == 1
    assert set(splits.tolist()) == set(PARTS)


def test_place_of_many_units_is_uniform():
    assert kstest([place_of(0, f"{index}") for index in range(2000)], "uniform").pvalue > 1e-3


@given(sizes=st.lists(st.integers(5, 60), min_size=1, max_size=5), num_folds=st.integers(2, 5))
def test_folds_of_single_pictures_share_every_class_within_one(sizes, num_folds):
    labels = labels_of(sizes)
    folds = fold_of(labels, alone(labels), num_folds, 0)
    for label in range(len(sizes)):
        counts = np.bincount(folds[labels == label], minlength=num_folds)
        assert counts.max() - counts.min() <= 1


def test_folds_keep_units_together_and_are_as_even_as_scikit_learns():
    labels = labels_of([400, 200])
    rng = np.random.default_rng(0)
    units = [f"{unit}" for unit in rng.integers(0, 80, 600)]
    folds = fold_of(labels, units, 5, 0)
    assert all(len({f for f, own in zip(folds, units, strict=True) if own == unit}) == 1 for unit in set(units))
    theirs = np.empty(600, dtype=int)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for fold, (_, held) in enumerate(splitter.split(labels, labels, units)):
        theirs[held] = fold
    ours, other = (np.bincount(found, minlength=5) for found in (folds, theirs))
    assert np.ptp(ours) <= max(np.ptp(other), 12)


def test_folds_with_fewer_units_than_folds_are_refused():
    with pytest.raises(LabelError, match="3 groups of pictures cannot be put into 5 folds"):
        fold_of(np.zeros(9, dtype=int), ["a", "b", "c"] * 3, 5, 0)


def test_check_splits_with_enough_pictures_says_nothing():
    labels = labels_of([30, 30])
    assert check_splits(labels, split(labels), ("cat", "dog")) == []


@pytest.mark.parametrize(("size", "words"), [(1, "1 picture to"), (4, "4 pictures to")])
def test_b08_check_splits_names_a_thin_class(size, words):
    labels = np.repeat([0, 1], [size, 30])
    splits = np.where(np.arange(len(labels)) < size + 20, "train", np.where(np.arange(len(labels)) % 2, "val", "test"))
    sentences = check_splits(labels, splits, ("cat", "dog"))
    assert len(sentences) == 1
    assert "'cat'" in sentences[0]
    assert words in sentences[0]


def test_check_splits_names_a_class_without_any_picture():
    labels = np.zeros(30, dtype=int)
    splits = split(labels)
    assert ["'dog' has no pictures" in sentence for sentence in check_splits(labels, splits, ("cat", "dog"))] == [True]


@pytest.mark.parametrize("part", PARTS)
def test_check_splits_of_an_empty_part_is_refused(part):
    splits = np.array([other for other in PARTS if other != part] * 10)
    with pytest.raises(LabelError, match=f"no picture is left for the {part} part"):
        check_splits(np.zeros(20, dtype=int), splits, ("cat", "dog"))


@pytest.mark.parametrize("part", ["val", "test"])
def test_c05_check_splits_of_a_class_that_train_lacks_is_refused(part):
    splits = np.array(["train"] * 8 + ["val", "test", part])
    with pytest.raises(LabelError, match="'dog'"):
        check_splits(np.array([0] * 10 + [1]), splits, ("cat", "dog"))
