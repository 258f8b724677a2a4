"""Figures against the numbers they draw, and as elements of a page."""

from __future__ import annotations

import base64
import io
import math
import re
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from saccade.recipe import Metric
from saccade.training.callbacks import EpochResult, KeepWeights
from saccade.use.figures import best_epoch, curve, themed_svg, thumbnail

Results = list[dict[str, float]]


def make_results(*epochs: tuple[float, float]) -> Results:
    """Results whose validation accuracy and loss are as given."""
    return [
        EpochResult(number, 1.0 / number, 0.3, loss, accuracy, 0.001, 2.0, 100.0)._asdict()
        for number, (accuracy, loss) in enumerate(epochs, start=1)
    ]


@pytest.fixture
def results() -> Results:
    """Four epochs; the third was the best."""
    return make_results((0.5, 0.7), (0.8, 0.5), (0.9, 0.4), (0.85, 0.45))


@pytest.fixture
def photo() -> npt.NDArray[np.uint8]:
    """uint8 (300, 200, 3)."""
    return np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)


def open_uri(uri: str) -> tuple[str, Image.Image]:
    """The kind of a data URI and its picture."""
    kind, _, data = uri.removeprefix("data:").partition(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


@pytest.mark.parametrize(
    "epochs",
    [
        ((0.5, 0.7), (0.9, 0.4), (0.8, 0.3)),
        ((0.9, 0.7), (0.9, 0.4), (0.8, 0.3)),
        ((0.9, 0.4), (0.9, 0.4)),
    ],
)
@pytest.mark.parametrize("by", ["val_accuracy", "val_loss"])
def test_best_epoch_is_the_one_whose_weights_are_kept(epochs: tuple[tuple[float, float], ...], by: Metric) -> None:
    results = make_results(*epochs)
    keeper = KeepWeights(lambda which: None, by)
    for row in results:
        keeper.after_epoch(EpochResult(**row))  # type: ignore[arg-type]  # epoch is a whole number here
    assert best_epoch(results, by) == keeper.best_epoch


@pytest.mark.parametrize("quantity", ["loss", "accuracy"])
def test_curve_lines_hold_the_results(results: Results, quantity: str) -> None:
    lines = curve(results, quantity).axes[0].get_lines()  # type: ignore[arg-type]  # parametrized
    drawn = [list(line.get_ydata()) for line in lines]
    assert drawn == [[row[f"{part}_{quantity}"] for row in results] for part in ("train", "val")]


def test_curve_marks_the_best_epoch(results: Results) -> None:
    (ring,) = curve(results, "accuracy").axes[0].collections
    assert np.asarray(ring.get_offsets()).tolist() == [[3.0, 0.9]]


def test_curve_of_one_epoch_has_one_tick() -> None:
    axes = curve(make_results((0.5, 0.7)), "loss").axes[0]
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1.0]


@pytest.mark.parametrize("loss", [0.0, math.nan, math.inf])
def test_curve_of_a_broken_training_is_drawn(loss: float) -> None:
    results = [row | {"train_loss": loss} for row in make_results((0.5, loss))]
    assert "<path" in themed_svg(curve(results, "loss"), "loss")


def test_svg_is_well_formed(results: Results) -> None:
    svg = themed_svg(curve(results, "loss"), 'a "description" & more')
    (element,) = ElementTree.fromstring(f'<page xmlns:xlink="x">{svg}</page>')  # noqa: S314 (our own text)
    assert element.attrib["aria-label"] == 'a "description" & more'


def test_svg_has_no_colour_of_its_own(results: Results) -> None:
    svg = themed_svg(curve(results, "loss"), "loss")
    assert re.findall(r"#[0-9a-fA-F]{6}\b", svg) == []


def test_svg_keeps_the_numbers_at_its_ticks() -> None:
    svg = themed_svg(curve(make_results((0.5, 1.15), (0.6, 0.9)), "loss"), "loss")
    assert {"0.25", "0.50", "0.75", "1.00"} <= set(re.findall(r">([^<>\s]+)</text>", svg))


def test_svg_brings_no_style_and_no_address(results: Results) -> None:
    svg = themed_svg(curve(results, "loss"), "loss")
    assert not re.search(r"<style|<metadata|http|font-family", svg)


def test_two_svgs_share_no_id(results: Results) -> None:
    loss, accuracy = (
        set(re.findall(r' id="([^"]*)"', themed_svg(curve(results, name), name))) for name in ("loss", "accuracy")
    )
    assert not loss & accuracy


def test_thumbnail_of_a_small_picture_is_lossless(photo: npt.NDArray[np.uint8]) -> None:
    _, picture = open_uri(thumbnail(photo[:28, :28]))
    np.testing.assert_array_equal(np.asarray(picture), photo[:28, :28])


def test_thumbnail_of_a_grey_picture_is_grey(photo: npt.NDArray[np.uint8]) -> None:
    _, picture = open_uri(thumbnail(photo[:28, :28, :1]))
    np.testing.assert_array_equal(np.asarray(picture), photo[:28, :28, 0])


@pytest.mark.parametrize(("size", "expected"), [((400, 100), (160, 40)), ((30, 60), (80, 160)), ((9, 9), (160, 160))])
def test_thumbnail_of_a_squashed_picture_has_its_proportions(size: tuple[int, int], expected: tuple[int, int]) -> None:
    _, picture = open_uri(thumbnail(np.zeros((224, 224, 3), dtype=np.uint8), size))
    assert picture.size == expected


def test_thumbnail_of_a_large_picture_is_reduced(photo: npt.NDArray[np.uint8]) -> None:
    kind, picture = open_uri(thumbnail(photo))
    assert (kind, picture.size) == ("image/jpeg", (107, 160))
