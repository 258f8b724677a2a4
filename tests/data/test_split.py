"""Splits: what must hold for any class sizes, and what seeds decide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.data.split import check_splits, make_splits
from saccade.errors import LabelError

PARTS = ["train", "val", "test"]
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=6)
SHARES = st.floats(0.01, 0.89)
GIVEN = st.sampled_from([*PARTS, "unassigned"])


def labels_of(sizes: list[int], seed: int = 0) -> np.ndarray:
    """Labels of classes of these sizes, in mixed order."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def unassigned(labels: np.ndarray) -> np.ndarray:
    return np.full(len(labels), "unassigned")


@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1))
def test_splits_of_any_class_sizes_give_each_class_its_share_within_one_picture(sizes, seed):
    labels = labels_of(sizes)
    splits = make_splits(labels, unassigned(labels), seed)
    for label, size in enumerate(sizes):
        for part in ("val", "test"):
            assert abs(((labels == label) & (splits == part)).sum() - 0.2 * size) < 1


@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1), val_share=SHARES, test_share=SHARES)
def test_splits_of_any_sizes_and_shares_leave_every_class_something_to_learn(sizes, seed, val_share, test_share):
    labels = labels_of(sizes)
    splits = make_splits(labels, unassigned(labels), seed, val_share=val_share, test_share=test_share)
    assert set(labels[splits == "train"].tolist()) == set(range(len(sizes)))


@given(data=st.data(), num=st.integers(1, 40), seed=st.integers(0, 99))
def test_splits_of_anything_given_put_every_picture_in_exactly_one_part(data, num, seed):
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=num, max_size=num)))
    given_parts = np.array(data.draw(st.lists(GIVEN, min_size=num, max_size=num)))
    splits = make_splits(labels, given_parts, seed)
    assert splits.shape == labels.shape
    assert set(splits.tolist()) <= set(PARTS)


@given(data=st.data(), num=st.integers(1, 40), seed=st.integers(0, 99))
def test_splits_of_pictures_given_to_val_or_test_stay(data, num, seed):
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=num, max_size=num)))
    given_parts = np.array(data.draw(st.lists(GIVEN, min_size=num, max_size=num)))
    splits = make_splits(labels, given_parts, seed)
    held = (given_parts == "val") | (given_parts == "test")
    assert splits[held].tolist() == given_parts[held].tolist()


@pytest.mark.parametrize("part", ["val", "test"])
@given(data=st.data(), num=st.integers(4, 40))
def test_splits_where_a_part_is_given_add_nothing_to_it(part, data, num):
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=num, max_size=num)))
    given_parts = np.array([part, *data.draw(st.lists(GIVEN, min_size=num - 1, max_size=num - 1))])
    splits = make_splits(labels, given_parts, 0)
    assert ((splits == part) == (given_parts == part)).all()


def test_splits_without_a_given_val_take_it_from_train_alone():
    labels = labels_of([50, 50])
    given_parts = np.where(np.arange(100) < 20, "test", "train")
    splits = make_splits(labels, given_parts, 0)
    assert (given_parts[splits == "val"] == "train").all()
    for label in (0, 1):
        free = (labels == label) & (given_parts == "train")
        assert abs((free & (splits == "val")).sum() - 0.2 * free.sum()) < 1


def test_splits_with_all_three_given_change_nothing():
    given_parts = np.array(PARTS * 10)
    assert make_splits(labels_of([10, 20]), given_parts, 3).tolist() == given_parts.tolist()


def test_b08_splits_of_a_class_of_one_picture_give_it_to_train():
    labels = labels_of([1, 30])
    assert make_splits(labels, unassigned(labels), 0)[labels == 0].tolist() == ["train"]


def test_splits_with_the_same_seed_are_the_same():
    labels = labels_of([40, 40])
    first, second = (make_splits(labels, unassigned(labels), 7) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_splits_with_another_seed_differ():
    labels = labels_of([40, 40])
    first, second = (make_splits(labels, unassigned(labels), seed) for seed in (7, 8))
    assert first.tolist() != second.tolist()


def test_splits_do_not_follow_the_order_of_the_pictures():
    labels = np.zeros(1000, dtype=int)
    places = np.flatnonzero(make_splits(labels, unassigned(labels), 0) == "test")
    # 200 of 1,000 places at random: their mean lies within four standard errors of the middle
    assert abs(places.mean() - 499.5) < 4 * 1000 / np.sqrt(12 * 200)


def test_splits_leave_what_was_given_untouched():
    given_parts = unassigned(labels_of([10, 10]))
    make_splits(labels_of([10, 10]), given_parts, 0)
    assert set(given_parts.tolist()) == {"unassigned"}


def test_check_splits_with_enough_pictures_says_nothing():
    labels = labels_of([30, 30])
    assert check_splits(labels, make_splits(labels, unassigned(labels), 0), ("cat", "dog")) == []


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
    splits = make_splits(labels, unassigned(labels), 0)
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
