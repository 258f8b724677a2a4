"""Heads: the grammar, the sizes of CLASSICS, and the sigmoid unit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from saccade.errors import RecipeError
from saccade.models.heads import HeadChoice, SigmoidUnit, make_head, parse_head
from saccade.models.layers import Flatten


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("gap", HeadChoice("gap", (), False)),
        ("flatten", HeadChoice("flatten", (), False)),
        ("128,64,32", HeadChoice("flatten", (128, 64, 32), False)),
        ("gap:512", HeadChoice("gap", (512,), False)),
        ("gap:512:sigmoid", HeadChoice("gap", (512,), True)),
        ("gap:sigmoid", HeadChoice("gap", (), True)),
        ("sigmoid", HeadChoice("gap", (), True)),
    ],
)
def test_head_in_words_is_read(text: str, choice: HeadChoice) -> None:
    assert parse_head(text) == choice


@pytest.mark.parametrize("text", ["", "gap:", "128,,3", "gap:12:34", "0", "-3", "max", "gap:sigmoid:3", "12a"])
def test_head_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        parse_head(text)


def _weights(head: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in head.parameters())


def test_global_average_pooling_needs_the_262656_weights_of_the_classics() -> None:
    head = make_head("gap:512", (512, 4, 4), 2)
    assert _weights(head.fc1) == 262_656  # type: ignore[arg-type]


def test_flatten_needs_the_4194816_weights_of_the_classics() -> None:
    head = make_head("512", (512, 4, 4), 2)
    assert _weights(head.fc1) == 4_194_816  # type: ignore[arg-type]


def test_dense_head_on_vgg_features_has_the_size_of_the_classics() -> None:
    # 17,936,515 with the 14,714,688 of vgg16 without its top
    assert _weights(make_head("128,64,32", (512, 7, 7), 3)) == 17_936_515 - 14_714_688


def test_sigmoid_unit_is_binary_cross_entropy() -> None:
    unit = SigmoidUnit(5)
    features, labels = torch.randn(8, 5), torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    z = unit.unit(features)[:, 0]
    expected = F.binary_cross_entropy_with_logits(z, labels.float())
    torch.testing.assert_close(F.cross_entropy(unit(features), labels), expected)


def test_sigmoid_unit_gives_the_sigmoid_as_probability_of_the_second_class() -> None:
    unit = SigmoidUnit(5)
    features = torch.randn(8, 5)
    torch.testing.assert_close(torch.softmax(unit(features), 1)[:, 1], torch.sigmoid(unit.unit(features)[:, 0]))


def test_sigmoid_unit_for_three_classes_is_refused() -> None:
    with pytest.raises(RecipeError, match="there are 3"):
        make_head("gap:sigmoid", (8, 2, 2), 3)


def test_gap_takes_the_mean_over_all_positions() -> None:
    head = make_head("gap", (4, 3, 5), 2)
    features = torch.randn(6, 4, 3, 5)
    expected = F.linear(features.flatten(2).mean(2), head.logits.weight, head.logits.bias)  # type: ignore[union-attr, arg-type]
    torch.testing.assert_close(head(features), expected)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_flatten_gives_torchs_gradient_laid_out_as_the_map(layout: torch.memory_format) -> None:
    values, weights = torch.randn(3, 4, 5, 6), torch.randn(120)
    gradients: list[torch.Tensor] = []
    for flatten in (Flatten(), torch.nn.Flatten()):
        x = values.clone(memory_format=layout).requires_grad_() * 2
        x.register_hook(gradients.append)  # type: ignore[no-untyped-call]
        flat = flatten(x * 1)
        assert torch.equal(flat, values.flatten(1) * 2)
        (flat * weights).sum().backward()
    own, torchs = gradients
    assert torch.equal(own, torchs)
    assert own.is_contiguous(memory_format=layout)
    assert torchs.is_contiguous()
