"""One battery over every name of the catalogue: what the rest of saccade relies on, whatever the architecture."""

from __future__ import annotations

import re
from functools import cache

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from saccade.errors import ModelError
from saccade.models.catalogue import CATALOGUE, build_network
from saccade.models.network import Network, NetworkSpec
from saccade.training.freeze import freeze

NUM_CLASSES = 5
NAMES = list(CATALOGUE)
# Of logits, in float32, behind as many as 152 layers with random weights; what is wrong is wrong by tens of percent.
ROUNDING = 2e-3


@cache
def smallest_side(model: str) -> int:
    """What the error says when one pixel is too few."""
    try:
        on_meta(model, 1)
    except ModelError as error:
        found = re.search(r"--image-size (\d+)", str(error))
        assert found
        return int(found[1])
    return 1


def working_side(model: str) -> int:
    """Small, but large enough that BatchNorm still has several positions to average over behind the last stage."""
    return max(smallest_side(model), 16 if CATALOGUE[model].image_size <= 32 else 64)


def head_for(model: str) -> str | None:
    """The family's own head; only that the 120 million weights of VGG's are not carried through all eight variants."""
    return "gap:6" if model.startswith("vgg") and model != "vgg11" else None


def on_meta(model: str, side: int | None = None, head: str | None = None, in_channels: int = 3) -> Network:
    with torch.device("meta"):
        return build_network(NetworkSpec(model, NUM_CLASSES, side, in_channels, head))


def pictures(num: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num, 3, side, side), generator=generator, dtype=torch.uint8)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    """Random weights, in inference mode, with BatchNorm statistics that belong to them. Tests leave it as it was."""
    side = working_side(request.param)
    network = build_network(NetworkSpec(request.param, NUM_CLASSES, side, head=head_for(request.param)))
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train().training_outputs(pictures(4, side, seed=9))
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()


@pytest.fixture
def images(network: Network) -> Tensor:
    assert network.spec.image_size
    return pictures(2, network.spec.image_size)


@pytest.mark.parametrize("model", NAMES)
def test_parameters_number_is_the_catalogues(model: str) -> None:
    entry = CATALOGUE[model]
    with torch.device("meta"):
        network = build_network(NetworkSpec(model, entry.num_classes, in_channels=entry.in_channels))
    assert sum(parameter.numel() for parameter in network.parameters()) == entry.parameters


@pytest.mark.parametrize("model", NAMES)
def test_parameters_belong_to_a_stage_the_head_or_an_auxiliary_classifier(model: str) -> None:
    network = on_meta(model)
    stages = dict(network.stages.named_children())
    homes = {*(f"stages.{name}." for name in stages), *(f"auxiliary.{name}." for name in network.auxiliary), "head."}
    assert all(any(name.startswith(home) for home in homes) for name, _ in network.named_parameters())
    assert set(network.auxiliary) <= set(stages)
    assert set(network.l2) <= set(stages)


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("as_pattern", [False, True], ids=["stage", "pattern"])
def test_freezing_lets_the_named_stages_and_the_head_learn_and_nothing_else(model: str, as_pattern: bool) -> None:
    network = on_meta(model)
    stages = {name: stage for name, stage in network.stages.named_children() if list(stage.parameters())}
    last = list(stages)[-1]
    train = f"{last[:-1]}*" if as_pattern else last
    wanted = {name for name in stages if name.startswith(last[:-1])} if as_pattern else {last}
    freeze(network, train)
    learning = {name for name, stage in stages.items() if any(p.requires_grad for p in stage.parameters())}
    assert learning == wanted
    assert all(parameter.requires_grad for parameter in network.head.parameters())


@pytest.mark.parametrize("model", NAMES)
def test_grey_pictures_give_logits(model: str) -> None:
    network = on_meta(model, in_channels=1)
    side = CATALOGUE[model].image_size
    outputs = network.training_outputs(torch.empty(2, 1, side, side, device="meta"))
    assert all(logits.shape == (2, NUM_CLASSES) for logits in (outputs.logits, *outputs.auxiliary.values()))


@pytest.mark.parametrize("model", NAMES)
def test_size_too_small_names_the_smallest_that_works(model: str) -> None:
    side = smallest_side(model)
    network = on_meta(model, side)
    assert network(torch.empty(2, 3, side, side, device="meta")).shape == (2, NUM_CLASSES)
    if side > 1:
        with pytest.raises(ModelError, match=f"--image-size {side} or more"):
            on_meta(model, side - 1)


@pytest.mark.parametrize("model", [name for name in NAMES if CATALOGUE[name].torchvision_name])
def test_smallest_side_is_the_one_torchvision_documents(model: str) -> None:
    from torchvision.models import get_model_weights

    assert (smallest_side(model),) * 2 == get_model_weights(model).DEFAULT.meta["min_size"]


def test_smallest_side_is_true_of_real_arithmetic(network: Network) -> None:
    side = smallest_side(network.spec.model)
    with torch.inference_mode():
        assert network.features(pictures(1, side)).numel() > 0
        if side > 1:
            with pytest.raises(RuntimeError):
                network.features(pictures(1, side - 1))


def test_logits_have_a_row_per_picture_and_a_column_per_class(network: Network, images: Tensor) -> None:
    with torch.inference_mode():
        logits = network(images)
    assert logits.shape == (2, NUM_CLASSES)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_eval_is_deterministic_and_independent_of_the_batch(network: Network, images: Tensor) -> None:
    with torch.inference_mode():
        together, again, alone = network(images), network(images), network(images[1:])
    assert torch.equal(together, again)
    assert relative_error(alone, together[1:]) < ROUNDING


def test_forward_ignores_auxiliary_classifiers_and_takes_floats(network: Network, images: Tensor) -> None:
    with torch.inference_mode():
        outputs = network.training_outputs(images)
        assert torch.equal(network(images.float()), outputs.logits)
    assert outputs.auxiliary.keys() == set(network.auxiliary)


def test_stage_leaves_its_input_as_it_was(network: Network, images: Tensor) -> None:
    # A cached prefix is fed to the next stage many times: an in-place layer at its front would spoil it.
    x = network.normalise(images)
    with torch.inference_mode():
        for name, stage in network.stages.named_children():
            before = x.clone()
            after = stage(x)
            assert torch.equal(x, before), name
            x = after


def test_gradient_reaches_every_parameter_that_is_not_frozen(network: Network, images: Tensor) -> None:
    names = [name for name, _ in network.stages.named_children()]
    frozen = tuple(f"stages.{name}." for name in names[: len(names) // 2])
    parameters = dict(network.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(not name.startswith(frozen))
    try:
        outputs = network.training_outputs(images)
        weights = torch.linspace(-1, 1, NUM_CLASSES)
        sum((logits * weights).sum() for logits in (outputs.logits, *outputs.auxiliary.values())).backward()
        reached = {name for name, parameter in parameters.items() if parameter.grad is not None}
        assert reached == {name for name in parameters if not name.startswith(frozen)}
        assert not [name for name in reached if not parameters[name].grad.any()]
    finally:
        network.zero_grad(set_to_none=True)
        network.requires_grad_(True)


@pytest.mark.parametrize("model", NAMES)
def test_gradient_on_meta_reaches_everything_when_nothing_is_frozen(model: str) -> None:
    side = working_side(model)
    network = on_meta(model, side)
    outputs = network.train().training_outputs(torch.empty(2, 3, side, side, device="meta"))
    sum(logits.sum() for logits in (outputs.logits, *outputs.auxiliary.values())).backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]


def test_saved_and_loaded_gives_equal_logits(network: Network, images: Tensor) -> None:
    blank = on_meta(network.spec.model, network.spec.image_size, network.spec.head)
    blank.load_state_dict(load(save(network.state_dict())), assign=True)
    with torch.inference_mode():
        assert torch.equal(blank.eval()(images), network(images))


def test_other_head_changes_the_head_alone(network: Network, images: Tensor) -> None:
    spec = NetworkSpec(network.spec.model, NUM_CLASSES, network.spec.image_size, head="gap:8")
    swapped = build_network(spec)
    ours, theirs = dict(network.named_parameters()), dict(swapped.named_parameters())
    body = [name for name in ours if not name.startswith("head.")]
    assert body == [name for name in theirs if not name.startswith("head.")]
    assert all(torch.equal(ours[name], theirs[name]) for name in body)
    with torch.inference_mode():
        assert swapped.eval().head(network.features(images)).shape == (2, NUM_CLASSES)
    assert [name for name, _ in swapped.head.named_children()] == ["pool", "fc1", "relu1", "logits"]


def test_bfloat16_is_near_float32_in_every_stage(network: Network, images: Tensor) -> None:
    # Stage by stage, for a deep network with random weights multiplies a rounding error many times over.
    x = network.normalise(images)
    with torch.inference_mode():
        for name, module in [*network.stages.named_children(), ("head", network.head)]:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = module(x)
            x = module(x)
            assert relative_error(found, x) < 0.03, name


def test_channels_last_gives_the_same_logits(network: Network, images: Tensor) -> None:
    with torch.inference_mode():
        expected = network(images)
        network.to(memory_format=torch.channels_last)
        try:
            found = network(images.contiguous(memory_format=torch.channels_last))
        finally:
            network.to(memory_format=torch.contiguous_format)
    assert relative_error(found, expected) < ROUNDING
