"""What is exported, module by module: the square is Pillow's, the bounds of the check are kept to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation, prepare_pixels
from saccade.errors import DataError, ExportError
from saccade.models.catalogue import build_network
from saccade.models.certainty import Certainty
from saccade.models.network import NetworkSpec
from saccade.trained import TrainedNetwork
from saccade.use.export_graph import Square, enlarging_weights, graph_of
from saccade.use.export_parity import (
    WITH_RESIZING,
    WITHOUT_RESIZING,
    Bounds,
    Reference,
    Runs,
    compare,
    probabilities_of,
    try_out,
)
from saccade.use.export_pictures import made_up, sample_of_array

SIZES = [(37, 53), (500, 375), (8, 8), (1, 1), (1, 700), (33, 32), (17, 1024), (48, 48), (1201, 803)]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_square_of_any_size_is_pillows_to_the_bit(fit, size):
    preparation = Preparation(48, 3, fit, DecodeRules(background=(200, 10, 77)))
    pixels = noise(*size)
    expected = prepare_pixels(pixels, preparation).transpose(2, 0, 1)
    found = Square(preparation, 48)(torch.from_numpy(pixels[None]))[0].numpy()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("size", [(276, 185), (900, 200), (200, 101)])
def test_square_of_a_tall_picture_is_pillows_within_a_level(size):
    preparation = Preparation(96, 3, "squash", DecodeRules())
    pixels = noise(*size)
    expected = prepare_pixels(pixels, preparation).transpose(2, 0, 1).astype(int)
    found = Square(preparation, 96)(torch.from_numpy(pixels[None]))[0].numpy().astype(int)
    assert np.abs(found - expected).max() == 1
    assert np.abs(found - expected).mean() < 0.3


def test_square_of_the_squares_size_is_the_picture_itself():
    pixels = noise(48, 48)
    found = Square(Preparation(48, 3, "squash", DecodeRules()), 48)(torch.from_numpy(pixels[None]))
    assert np.array_equal(found[0].numpy().transpose(1, 2, 0), pixels)


def test_square_for_a_grey_network_is_pillows_luma():
    pixels = noise(28, 28)
    found = Square(Preparation(28, 1, "squash", DecodeRules()), 28)(torch.from_numpy(pixels[None]))
    assert np.array_equal(found[0, 0].numpy(), np.asarray(Image.fromarray(pixels).convert("L")))


@pytest.mark.parametrize(("side", "image_size"), [(28, 32), (32, 128), (48, 96), (20, 33)])
def test_square_that_is_enlarged_equals_torchs_own_to_the_bit(side, image_size):
    pixels = torch.from_numpy(noise(side, side)[None])
    expected = F.interpolate(pixels.permute(0, 3, 1, 2), size=(image_size, image_size), mode="bilinear")
    found = Square(Preparation(side, 3, "squash", DecodeRules()), image_size)(pixels)
    # Kernels of other processors round the sums elsewhere: a level, nowhere more.
    assert (found.int() - expected.int()).abs().max() <= 1
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        assert torch.equal(found, expected)


def test_enlarging_weights_sum_to_what_stands_for_one():
    weights, one = enlarging_weights(28, 96)
    assert np.abs(weights.sum(axis=1) - one).max() <= 1


def tiny(**changes: object) -> TrainedNetwork:
    torch.manual_seed(0)
    spec = NetworkSpec("lenet5", 2, 32, **changes)
    network = build_network(spec).eval()
    names = tuple("ab")
    channels = spec.in_channels
    return TrainedNetwork(network, names, Preparation(32, channels, "crop", DecodeRules()), Certainty(1.7))


@pytest.mark.parametrize("changes", [{"in_channels": 1}, {"head": "gap:sigmoid"}, {}], ids=["grey", "sigmoid", "plain"])
def test_graph_of_a_network_answers_as_the_package_does(changes):
    trained = tiny(**changes)
    whole = graph_of(trained)
    for sample in list(made_up(trained.preparation))[::5]:
        with torch.no_grad():
            found = whole(torch.from_numpy(sample.pixels[None]))
        expected = probabilities_of(trained, sample.square[None])
        assert np.abs(found["probabilities"].numpy() - expected).max() < 0.01
        assert found["probabilities"].sum().item() == pytest.approx(1, abs=1e-6)
        softmax = torch.softmax(found["logits"] / 1.7, dim=1)
        assert torch.allclose(found["probabilities"], softmax)


def test_half_graph_leaves_the_network_in_float32():
    trained = tiny()
    whole = graph_of(trained, half=True)
    assert {p.dtype for p in trained.network.parameters()} == {torch.float32}
    assert next(whole.answering.stages.parameters()).dtype == torch.float16


REFERENCE = Reference(
    ["first.jpg", "second.jpg"], np.zeros((2, 1, 1, 3), np.uint8), np.array([[0.9, 0.1], [0.505, 0.495]])
)


def test_compare_of_equal_probabilities_finds_no_difference():
    found = compare("without resizing", REFERENCE, REFERENCE.probabilities, WITHOUT_RESIZING)
    assert (found.num_pictures, found.largest, found.same_labels) == (2, 0.0, 1.0)


def test_compare_of_a_probability_too_far_names_step_picture_and_difference():
    with pytest.raises(ExportError, match=r"without resizing .* differ by 0\.0005") as caught:
        compare("without resizing", REFERENCE, [np.array([0.9, 0.1]), np.array([0.5055, 0.4945])], WITHOUT_RESIZING)
    assert caught.value.where == "second.jpg"
    assert caught.value.exit_code == 5


def test_compare_of_another_label_within_the_lead_passes_only_with_resizing():
    flipped = [np.array([0.9, 0.1]), np.array([0.499, 0.501])]
    assert compare("including resizing", REFERENCE, flipped, WITH_RESIZING).same_labels == 0.5
    close = Reference(["x"], REFERENCE.squares[:1], np.array([[0.50001, 0.49999]]))
    with pytest.raises(ExportError, match="the label too"):
        compare("without resizing", close, [np.array([0.49999, 0.50001])], WITHOUT_RESIZING)


def test_compare_of_another_label_with_a_lead_is_refused():
    reference = Reference(["x"], REFERENCE.squares[:1], np.array([[0.36, 0.335, 0.305]]))
    with pytest.raises(ExportError, match=r"the label too, with a lead of 0\.025"):
        compare("including resizing", reference, [np.array([0.347, 0.3475, 0.3055])], WITH_RESIZING)


def test_compare_of_numbers_that_are_not_finite_is_refused_without_a_bound():
    with pytest.raises(ExportError, match="not finite"):
        compare("without resizing", REFERENCE, [np.array([0.9, 0.1]), np.array([np.nan, 0.5])], None)


def test_trying_out_a_file_that_mirrors_pictures_fails_including_resizing():
    trained = tiny()
    right = lambda squares: probabilities_of(trained, squares)  # noqa: E731
    preparation = trained.preparation

    def mirrored(pictures: np.ndarray) -> np.ndarray:
        return right(np.stack([prepare_pixels(np.array(one[::-1]), preparation) for one in pictures]))

    strict = Bounds(WITHOUT_RESIZING, WITH_RESIZING._replace(probability=1e-6))
    with pytest.raises(ExportError, match="including resizing"):
        try_out(trained, made_up(preparation), Runs(right, mirrored), strict, real=False)


def test_trying_out_without_pictures_is_a_data_error():
    trained = tiny()
    with pytest.raises(DataError):
        try_out(trained, [], Runs(lambda squares: squares, lambda pictures: pictures), Bounds(None, None), real=True)


def test_sample_of_a_grey_array_is_shown_as_rgb():
    sample = sample_of_array("x", noise(20, 30)[:, :, :1], Preparation(16, 1, "squash", DecodeRules()))
    assert sample.pixels.shape == (20, 30, 3)
    assert sample.square.shape == (16, 16, 1)
