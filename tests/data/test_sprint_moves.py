"""What the sprint asks of augmentation: mirrors in turns, shifts by whole pixels, smaller pictures at first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data.augment import Augmentation, augment, draw_all
from saccade.data.batches import Batches

TURNS = Augmentation(flip=0.5, flip_turns=True)
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
LABELS = np.zeros(60, dtype=np.int64)
IMAGES = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)


def mirrored(seed: int, epoch: int) -> list[bool]:
    """Which pictures come out as numpy's mirror image; the others must come out as they are."""
    shown = augment(IMAGES, draw_all(60, TURNS, seed, epoch), TURNS, 8).permute(0, 2, 3, 1).numpy()
    sides = (PIXELS[:, :, ::-1].astype(np.float32), PIXELS.astype(np.float32))
    turned, plain = (np.abs(shown - side).max(axis=(1, 2, 3)) < 0.01 for side in sides)
    assert (turned ^ plain).all()
    return turned.tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("epoch", [1, 2, 7])
def test_two_epochs_in_a_row_show_both_sides_of_every_picture(epoch: int) -> None:
    assert mirrored(3, epoch) == [not each for each in mirrored(3, epoch + 1)]


def test_which_side_comes_first_is_a_matter_of_picture_and_seed() -> None:
    first = mirrored(3, 1)
    assert 15 < sum(first) < 45
    assert first == mirrored(3, 3)
    assert first != mirrored(4, 1)


def test_shifts_by_whole_pixels_are_those_of_numpy_and_all_of_them_come() -> None:
    asked = Augmentation(shift=0.25, whole_pixels=True)  # two of eight pixels
    padded = np.pad(PIXELS, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge").astype(np.float32)
    found = []
    for epoch in range(1, 11):
        shown = augment(IMAGES, draw_all(60, asked, 0, epoch), asked, 8).permute(0, 2, 3, 1).numpy()
        for picture, image in zip(padded, shown, strict=True):
            places = [(y, x) for y in range(5) for x in range(5) if (picture[y : y + 8, x : x + 8] == image).all()]
            assert len(places) == 1
            found += places
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) == 25
    assert counts.min() > 8  # 24 are expected; less than 8 of them happens once in ten thousand times 25


def test_shift_of_less_than_a_pixel_stays_what_it_was() -> None:
    draws = draw_all(60, Augmentation(shift=0.1), 0, 1)
    rounded, exact = (augment(IMAGES, draws, Augmentation(shift=0.1, whole_pixels=whole), 8) for whole in (True, False))
    torch.testing.assert_close(rounded, exact)


def batches(augmentation: Augmentation | None) -> Batches:
    sides = (4, 6)
    return Batches(PIXELS, LABELS, np.arange(60), 20, 8, torch.device("cpu"), augmentation=augmentation, sides=sides)


def test_first_epochs_show_pictures_of_the_sides_that_were_asked_for() -> None:
    shown = [{tuple(batch.images.shape[2:]) for batch in batches(TURNS).epoch(epoch)} for epoch in (1, 2, 3, 4)]
    assert shown == [{(4, 4)}, {(6, 6)}, {(8, 8)}, {(8, 8)}]


def test_pictures_that_watch_keep_their_size() -> None:
    assert {tuple(batch.images.shape[2:]) for batch in batches(None).epoch(1)} == {(8, 8)}


def test_smaller_pictures_are_those_of_pillow_within_a_level() -> None:
    still = Augmentation(flip=1e-9)
    for batch in batches(still).epoch(1):
        for row, image in zip(batch.rows, batch.images, strict=True):
            expected = np.asarray(Image.fromarray(PIXELS[row]).resize((4, 4), Image.Resampling.BILINEAR), np.float32)
            assert np.abs(image.permute(1, 2, 0).numpy() - expected).max() <= 1
