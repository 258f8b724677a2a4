"""Batches: every picture once, in an order and with changes that seed and epoch alone decide."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from saccade.data.augment import Augmentation, augment, draw_all
from saccade.data.batches import Batch, Batches, resident_images
from saccade.data.colour_jitter import Jitter
from saccade.data.mixing import Mixing, draw_mixing, mix
from saccade.errors import DataError

CPU = torch.device("cpu")
SHUFFLED = Augmentation()
CHANGED = Augmentation(flip=0.5, shift=0.1, rotation=15.0, zoom=0.1)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 5, 40)
ROWS = np.arange(3, 40, 2)  # 19 of them


def make(augmentation: Augmentation | None = None, **changes: Any) -> Batches:
    settings = {"batch_size": 4, "size": 8, "device": CPU, "seed": 0} | changes
    return Batches(PIXELS, LABELS, settings.pop("rows", ROWS), augmentation=augmentation, **settings)


def rows_of(batches: Batches, epoch: int = 0) -> list[int]:
    return [row for batch in batches.epoch(epoch) for row in batch.rows.tolist()]


def whole(batches: Batches, epoch: int = 0) -> dict[int, torch.Tensor]:
    """Each row's picture as it came."""
    return {
        row: image
        for batch in batches.epoch(epoch)
        for row, image in zip(batch.rows.tolist(), batch.images, strict=True)
    }


# Every picture once


@given(num=st.integers(0, 40), batch_size=st.integers(1, 50), shuffled=st.booleans())
def test_epoch_shows_every_picture_exactly_once(num, batch_size, shuffled):
    batches = make(SHUFFLED if shuffled else None, rows=np.arange(num), batch_size=batch_size)
    assert sorted(rows_of(batches)) == list(range(num))


@given(num=st.integers(0, 40), batch_size=st.integers(2, 50))
def test_batch_of_a_lone_picture_is_only_there_where_it_is_the_only_one(num, batch_size):
    sizes = [len(batch.rows) for batch in make(rows=np.arange(num), batch_size=batch_size).epoch(0)]
    assert sizes == [1] if num == 1 else 1 not in sizes
    assert all(size <= batch_size + 1 for size in sizes)


@pytest.mark.parametrize(
    ("num", "batch_size", "sizes"),
    [
        (19, 4, [4, 4, 4, 4, 3]),
        (17, 4, [4, 4, 4, 5]),
        (16, 4, [4] * 4),
        (3, 4, [3]),
        (1, 4, [1]),
        (3, 1, [1] * 3),
        (0, 4, []),
    ],
)
def test_epoch_has_batches_of_the_asked_size_and_a_lone_last_picture_joins(num, batch_size, sizes):
    batches = make(rows=np.arange(num), batch_size=batch_size)
    assert [len(batch.rows) for batch in batches.epoch(0)] == sizes
    assert (batches.num_batches, batches.num_pictures) == (len(sizes), num)


# What a batch holds


def first(batches: Batches) -> Batch:
    return next(batches.epoch(0))


def test_batch_holds_the_pictures_of_its_rows():
    for batch in make(SHUFFLED).epoch(0):
        assert np.array_equal(batch.images.permute(0, 2, 3, 1).numpy(), PIXELS[batch.rows])


def test_batch_holds_the_labels_of_its_rows():
    for batch in make(SHUFFLED).epoch(0):
        assert batch.labels.dtype == torch.int64
        assert batch.labels.tolist() == LABELS[batch.rows].tolist()


@pytest.mark.parametrize("augmentation", [None, SHUFFLED])
def test_batch_that_nothing_changed_is_uint8(augmentation):
    assert first(make(augmentation)).images.dtype == torch.uint8


def test_batch_is_channels_last_without_another_copy():
    assert first(make()).images.is_contiguous(memory_format=torch.channels_last)


def test_batch_can_be_written_to_without_touching_the_pack():
    before = PIXELS.copy()
    first(make()).images.zero_()
    assert np.array_equal(PIXELS, before)


def test_batches_from_a_read_only_map_equal_those_from_memory(tmp_path):
    np.save(tmp_path / "images.npy", PIXELS)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    found = Batches(mapped, LABELS, ROWS, 4, 8, CPU, 0, CHANGED).epoch(0)
    for batch, expected in zip(found, make(CHANGED).epoch(0), strict=True):
        assert torch.equal(batch.images, expected.images)


@pytest.mark.parametrize("size", [12, 16, 21])
def test_batches_enlarged_on_the_fly_equal_enlarging_everything_at_once(size):
    everything = torch.from_numpy(PIXELS[ROWS]).permute(0, 3, 1, 2).float()
    expected = F.interpolate(everything, size=(size, size), mode="bilinear", align_corners=False)
    found = torch.cat([batch.images for batch in make(size=size).epoch(0)])
    assert found.dtype == torch.uint8
    assert (found.float() - expected).abs().max() < 1.01  # whole grey levels, rounded after each direction


def test_batches_changed_on_the_fly_equal_changing_everything_at_once():
    everything = augment(torch.from_numpy(PIXELS).permute(0, 3, 1, 2), draw_all(40, CHANGED, 5, 2), CHANGED, 16)
    for row, image in whole(make(CHANGED, seed=5, size=16), epoch=2).items():
        assert torch.allclose(image, everything[row], rtol=0, atol=1e-3)


# Order


def test_order_without_augmentation_is_that_of_the_rows():
    rows = np.array([7, 3, 5, 1])
    assert [rows_of(make(rows=rows), epoch) for epoch in (0, 1)] == [rows.tolist()] * 2


def test_order_with_augmentation_is_shuffled():
    assert rows_of(make(SHUFFLED)) != ROWS.tolist()


def test_order_is_what_the_epoch_shows():
    batches = make(SHUFFLED)
    assert batches.order(3).tolist() == rows_of(batches, 3)


def test_order_of_the_same_seed_and_epoch_is_the_same():
    assert rows_of(make(SHUFFLED, seed=7), 2) == rows_of(make(SHUFFLED, seed=7), 2)


@pytest.mark.parametrize(("seed", "epoch"), [(7, 3), (8, 2), (2, 7)])
def test_order_of_another_seed_or_epoch_differs(seed, epoch):
    assert rows_of(make(SHUFFLED, seed=7), 2) != rows_of(make(SHUFFLED, seed=seed), epoch)


@pytest.mark.parametrize("changes", [{"batch_size": 7}, {"size": 16}], ids=str)
def test_order_does_not_depend_on_batch_or_picture_size(changes):
    assert rows_of(make(SHUFFLED), 1) == rows_of(make(SHUFFLED, **changes), 1)


def test_order_does_not_depend_on_the_augmentation():
    assert rows_of(make(SHUFFLED), 1) == rows_of(make(CHANGED), 1)


def test_order_does_not_depend_on_earlier_epochs():
    batches = make(SHUFFLED)
    rows_of(batches, 0)
    assert rows_of(batches, 1) == rows_of(make(SHUFFLED), 1)


def test_order_does_not_depend_on_the_global_generators():
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        found.append(rows_of(make(SHUFFLED)))
    assert found[0] == found[1]


# Changes


@pytest.mark.parametrize("batch_size", [2, 7, 40])
def test_change_of_a_picture_does_not_depend_on_its_batch(batch_size):
    found, expected = whole(make(CHANGED, batch_size=batch_size)), whole(make(CHANGED))
    assert all(torch.allclose(found[row], expected[row], rtol=0, atol=1e-3) for row in ROWS.tolist())


def test_change_of_a_picture_does_not_depend_on_which_others_are_shown():
    found, expected = whole(make(CHANGED, rows=ROWS[5:])), whole(make(CHANGED))
    assert all(torch.allclose(found[row], expected[row], rtol=0, atol=1e-3) for row in ROWS[5:].tolist())


def test_change_of_a_picture_is_another_one_in_another_epoch():
    found, other = whole(make(CHANGED), 0), whole(make(CHANGED), 1)
    assert min((found[row] - other[row]).abs().mean().item() for row in ROWS.tolist()) > 1


EVERYTHING = Augmentation(0.5, 0.2, 30, 0.2, jitter=Jitter(0.3, 0.3, 0.3, 0.1, 0.1), erasing=0.5, policy="randaugment")


@pytest.mark.parametrize("batch_size", [3, 40])
def test_every_kind_of_change_does_not_depend_on_the_batch(batch_size):
    found, expected = whole(make(EVERYTHING, batch_size=batch_size)), whole(make(EVERYTHING))
    assert all(torch.allclose(found[row], expected[row], rtol=0, atol=1e-3) for row in ROWS.tolist())


def test_batches_from_pixels_on_the_device_equal_those_from_the_map():
    resident = torch.from_numpy(PIXELS)
    found = make(CHANGED, resident=resident).epoch(2)
    for batch, expected in zip(found, make(CHANGED).epoch(2), strict=True):
        assert torch.equal(batch.images, expected.images)


def test_pixels_are_kept_on_no_device_but_a_gpu():
    assert resident_images(PIXELS, CPU) is None


# Mixing


def test_mixed_batches_are_mixtures_of_what_comes_unmixed():
    mixing = Mixing(mixup=0.4, cutmix=1.0)
    numbers = draw_mixing(len(LABELS), mixing, 0, 3)
    for batch, plain in zip(make(CHANGED, mixing=mixing).epoch(3), make(CHANGED).epoch(3), strict=True):
        images, mixed = mix(plain.images, plain.labels, numbers[torch.from_numpy(plain.rows)], mixing)
        assert torch.equal(batch.images, images)
        assert batch.mixed is not None
        assert batch.mixed.partners.tolist() == plain.labels.roll(1).tolist() == mixed.partners.tolist()
        assert batch.labels.tolist() == plain.labels.tolist()


def test_batches_without_mixing_have_no_mixed_labels():
    assert first(make(CHANGED)).mixed is None


# A caller's own change


def darken(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images * torch.rand(1, generator=generator)


def test_own_change_is_applied_and_repeats_itself():
    own = Augmentation(flip=0.5, own=darken)
    found, again, plain = (whole(make(each), 1) for each in (own, own, Augmentation(flip=0.5)))
    assert all(torch.equal(found[row], again[row]) for row in ROWS.tolist())
    factors = [found[row].sum() / plain[row].sum() for row in ROWS.tolist()]
    assert all(torch.allclose(found[row], plain[row] * f, atol=0.1) for row, f in zip(ROWS, factors, strict=True))
    assert len({round(float(factor), 5) for factor in factors}) == 5  # a generator per batch


def test_own_change_alone_counts_as_a_change():
    assert make(Augmentation(own=darken), views=0).view_of(3) == 3


@pytest.mark.parametrize("own", [lambda images, _: images[:, :, 1:], lambda images, _: None, lambda images, _: 3])
def test_own_change_that_returns_no_such_batch_is_a_data_error(own):
    with pytest.raises(DataError, match="a batch like the one it gets"):
        next(make(Augmentation(own=own)).epoch(1))


# Memory

MEMORY = """
import resource
import numpy as np
import torch
from saccade.data.augment import Augmentation
from saccade.data.batches import Batches
torch.set_num_threads(1)
pixels = np.random.default_rng(0).integers(0, 256, (5000, 32, 32, 3), dtype=np.uint8)
labels, rows = np.zeros(5000, dtype=np.int64), np.arange(5000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
num = 0
for augmentation in (None, Augmentation(flip=0.5, rotation=10.0)):
    for batch in Batches(pixels, labels, rows, 64, 128, torch.device("cpu"), 0, augmentation).epoch(0):
        num += len(batch.images)
        assert batch.images.shape[2:] == (128, 128)
print(num, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_enlarging_5000_pictures_to_128_never_holds_them_all():
    pytest.importorskip("resource")
    found = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    num, growth = found.stdout.split()
    assert int(num) == 10_000
    assert float(growth) < 200, "MiB; the whole would take 234 as uint8 and 938 as float32"
