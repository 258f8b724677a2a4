"""A network is given a file's tensors by name and shape; what does not belong is refused and listed."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from saccade.errors import WeightsError
from saccade.models.catalogue import build_network
from saccade.models.fitting import OWN_NAMING, LoadReport, Naming, Origin, PixelScale, fit_tensors
from saccade.models.network import Network, NetworkSpec, imagenet_normalise
from saccade.models.published import old_densenet_names, published_sets, torchvision_naming
from saccade.models.tensor_files import Outline, StoredTensors

PIXELS = PixelScale((127.5,) * 3, (127.5,) * 3, "made up")
ORIGIN = Origin("a test", PIXELS, ("a note",))


def stored(tensors: Mapping[str, Tensor], looks_like: str | None = None) -> StoredTensors:
    outline = {name: Outline(tuple(value.shape), value.is_floating_point()) for name, value in tensors.items()}
    return StoredTensors("memory", outline, tensors.__getitem__, {}, looks_like)


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def small(num_classes: int = 4, *, seed: int = 0, head: str | None = None, model: str = "densenet_cifar") -> Network:
    return build_network(NetworkSpec(model, num_classes, 32, head=head), seed)


def stages_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name.startswith("stages.")}


def fit(network: Network, tensors: Mapping[str, Tensor], naming: Naming = OWN_NAMING) -> LoadReport:
    return fit_tensors(network, stored(tensors), naming, ORIGIN)


def test_whole_state_everything_is_taken() -> None:
    network, given = small(), state_of(small(seed=1))
    report = fit(network, given)
    assert not report.new_head
    assert report.num_loaded == len(given) - 2
    expected = {name: value for name, value in given.items() if not name.startswith("normalise.")}
    found = {name: value for name, value in network.state_dict().items() if not name.startswith("normalise.")}
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_pixels_become_those_of_the_origin() -> None:
    network = small()
    report = fit(network, state_of(small(seed=1)))
    assert network.normalise.mean.flatten().tolist() == [127.5] * 3
    assert network.normalise.std.flatten().tolist() == [127.5] * 3
    assert report.normalisation == "mean 127.5 127.5 127.5, deviation 127.5 127.5 127.5 of 0..255, made up"


def test_origin_without_pixels_takes_those_of_the_file() -> None:
    network, given = small(), small(seed=1)
    given.normalise.set((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    fit_tensors(network, stored(state_of(given)), OWN_NAMING, Origin("a test", None))
    assert network.normalise.mean.flatten().tolist() == [1.0, 2.0, 3.0]
    assert network.normalise.std.flatten().tolist() == [4.0, 5.0, 6.0]


@pytest.mark.parametrize("bad", [None, torch.zeros(3), torch.full((3, 1, 1), float("nan"))])
def test_pixels_of_the_file_that_are_impossible_are_refused(bad: Tensor | None) -> None:
    given = state_of(small()) | {"normalise.mean": bad}
    with pytest.raises(WeightsError, match=r"normalise\.mean"):
        fit_tensors(
            small(),
            stored({name: value for name, value in given.items() if value is not None}),
            OWN_NAMING,
            Origin("a test", None),
        )


def test_other_number_of_classes_keeps_the_head_and_takes_the_rest() -> None:
    network, given = small(4), state_of(small(7, seed=1))
    head = state_of(network.head)
    report = fit(network, given)
    assert report.new_head
    torch.testing.assert_close(state_of(network.head), head, rtol=0, atol=0)
    torch.testing.assert_close(stages_of(network.state_dict()), stages_of(given), rtol=0, atol=0)
    assert [text.split()[0] for text in report.reshaped] == ["head.logits.weight", "head.logits.bias"]
    assert "(7, 342) instead of (4, 342)" in report.reshaped[0]


def test_file_with_more_layers_in_its_head_leaves_ours_new_though_the_last_fits() -> None:
    given = state_of(small(seed=1, head="gap:342"))
    report = fit(small(), given)
    assert report.new_head
    assert report.left_over == ("head.fc1.weight", "head.fc1.bias")


def test_file_without_head_keeps_ours() -> None:
    report = fit(small(), stages_of(state_of(small(seed=1))))
    assert report.new_head
    assert report.missing == ("head.logits.weight", "head.logits.bias")


def test_head_of_nan_is_not_taken_and_that_is_said() -> None:
    given = state_of(small(seed=1))
    given["head.logits.weight"].fill_(float("nan"))
    network = small()
    report = fit(network, given)
    assert report.new_head
    assert network.get_parameter("head.logits.weight").isfinite().all()
    assert "the head in the file holds no finite numbers" in report.in_words()


def test_stage_that_is_not_finite_is_refused_and_nothing_changed() -> None:
    given = state_of(small(seed=1))
    given["stages.final.norm.weight"][0] = float("inf")
    network = small()
    before = state_of(network)
    with pytest.raises(WeightsError, match=r"1 tensors hold infinite numbers.*stages\.final\.norm\.weight"):
        fit(network, given)
    torch.testing.assert_close(state_of(network), before, rtol=0, atol=0)


def test_misfits_of_the_stages_are_refused_listed_and_nothing_changed() -> None:
    given = state_of(small(seed=1))
    del given["stages.final.norm.weight"]
    given["stages.final.norm.bias"] = torch.zeros(3)
    given["stages.other.weight"] = torch.zeros(3)
    network = small()
    before = state_of(network)
    sentence = (
        "file: something, 9 classes; now: densenet_cifar, 4 classes; "
        "1 missing: stages.final.norm.weight; 1 left over: stages.other.weight; "
        "1 of another shape: stages.final.norm.bias (3,) instead of (342,)"
    )
    with pytest.raises(WeightsError, match=re.escape(sentence)):
        fit_tensors(network, stored(given, "something, 9 classes"), OWN_NAMING, ORIGIN)
    torch.testing.assert_close(state_of(network), before, rtol=0, atol=0)


def test_deeper_file_with_all_our_tensors_is_another_network() -> None:
    deeper = torchvision.models.resnet34(num_classes=3).state_dict()
    with pytest.raises(WeightsError, match="file: resnet34, 3 classes; now: resnet18, 4 classes; 96 left over"):
        fit(build_network(NetworkSpec("resnet18", 4, 64)), deeper, torchvision_naming("resnet18"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_other_float_types_become_the_networks(dtype: torch.dtype) -> None:
    given = state_of(small(seed=1))
    given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in given.items()}
    network = small()
    assert not fit(network, given).new_head
    name = "stages.stem.conv.weight"
    assert network.get_parameter(name).dtype == torch.float32
    torch.testing.assert_close(network.get_parameter(name).detach(), given[name].float())


def test_integers_where_floats_belong_are_refused() -> None:
    given = state_of(small(seed=1))
    given["stages.stem.conv.weight"] = given["stages.stem.conv.weight"].to(torch.int8)
    with pytest.raises(WeightsError, match="not of a float type"):
        fit(small(), given)


def test_file_from_before_batches_were_counted_is_taken() -> None:
    given = {name: value for name, value in state_of(small(seed=1)).items() if not name.endswith("tracked")}
    assert not fit(small(), given).new_head


def test_tensor_that_cannot_be_read_is_named() -> None:
    def broken(name: str) -> Tensor:
        raise OSError("the disk is gone")

    found = StoredTensors("memory", stored(state_of(small())).outline, broken, {})
    with pytest.raises(WeightsError, match=r"stages\.\S+ cannot be read: the disk is gone"):
        fit_tensors(small(), found, OWN_NAMING, ORIGIN)


def googlenet(num_classes: int, in_channels: int = 3) -> Network:
    return build_network(NetworkSpec("googlenet", num_classes, 64, in_channels)).eval()


@pytest.fixture(scope="module")
def google_state() -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        theirs = torchvision.models.googlenet(weights=None, num_classes=7, aux_logits=True, init_weights=False)
    return dict(theirs.state_dict())


def test_auxiliary_classifiers_are_taken_when_present(google_state: dict[str, Tensor]) -> None:
    network = googlenet(7)
    report = fit(network, google_state, torchvision_naming("googlenet"))
    assert not report.missing
    found = network.get_parameter("auxiliary.inception4d.fc2.weight").detach()
    torch.testing.assert_close(found, google_state["aux2.fc2.weight"])


def test_auxiliary_classifiers_of_other_classes_lose_their_last_layer_only(google_state: dict[str, Tensor]) -> None:
    network = googlenet(4)
    report = fit(network, google_state, torchvision_naming("googlenet"))
    reshaped = {text.split()[0] for text in report.reshaped}
    assert reshaped == {f"{part}.{kind}" for part in ("head.logits",
        "auxiliary.inception4a.fc2", "auxiliary.inception4d.fc2") for kind in ("weight", "bias")}  # fmt: skip
    found = network.get_parameter("auxiliary.inception4a.fc1.weight").detach()
    torch.testing.assert_close(found, google_state["aux1.fc1.weight"])


def test_auxiliary_classifiers_absent_from_the_file_stay_random_and_are_listed(google_state: dict[str, Tensor]) -> None:
    network = googlenet(7)
    before = state_of(network.auxiliary)
    given = {name: value for name, value in google_state.items() if not name.startswith("aux")}
    report = fit(network, given, torchvision_naming("googlenet"))
    assert not report.new_head
    assert report.missing
    assert all(name.startswith("auxiliary.") for name in report.missing)
    torch.testing.assert_close(state_of(network.auxiliary), before, rtol=0, atol=0)


@torch.inference_mode()
def test_grey_network_sees_a_grey_picture_as_the_coloured_one_does(google_state: dict[str, Tensor]) -> None:
    coloured, grey = googlenet(7), googlenet(7, in_channels=1)
    fit(coloured, google_state, torchvision_naming("googlenet"))
    report = fit(grey, google_state, torchvision_naming("googlenet"))
    image = torch.randint(0, 256, (1, 1, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.testing.assert_close(grey(image), coloured(image.expand(1, 3, 64, 64)), rtol=1e-4, atol=1e-5)
    assert "grey pictures: stages.conv1.conv.weight is the sum of conv1.conv.weight over the three colours" in (
        report.in_words()
    )


def test_grey_network_normalises_with_the_average_over_the_colours() -> None:
    network, given = build_network(NetworkSpec("densenet_cifar", 4, 32, in_channels=1)), small(seed=1)
    given.normalise.set((1.0, 2.0, 6.0), (1.0, 2.0, 3.0))
    fit_tensors(network, stored(state_of(given)), OWN_NAMING, Origin("a test", None))
    assert network.normalise.mean.flatten().tolist() == [3.0]
    assert network.normalise.std.flatten().tolist() == [2.0]


@torch.inference_mode()
@pytest.mark.parametrize(("model", "side"), [("googlenet", 64), ("inception_v3", 96)])
def test_published_pixels_equal_torchvisions_transform_input(model: str, side: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torchvision.models.get_model(
            model, weights=None, num_classes=7, aux_logits=True, init_weights=False, transform_input=True
        ).eval()
        for layer in theirs.modules():
            if isinstance(layer, nn.BatchNorm2d):  # as it starts, it makes the output small and nearly constant
                layer.running_mean.normal_(0.0, 0.2)
                layer.running_var.uniform_(0.01, 0.1)
    published = published_sets(model)[0]
    ours = build_network(NetworkSpec(model, 7, side)).eval()
    fit_tensors(ours, stored(theirs.state_dict()), torchvision_naming(model), Origin("a test", published.pixels))
    images = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    torchvision_way = normalize(images.float() / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    expected = theirs(torchvision_way)
    scale = expected.std()
    torch.testing.assert_close(ours(images) / scale, expected / scale, rtol=1e-4, atol=1e-4)
    ours.normalise = imagenet_normalise(3)
    assert not torch.allclose(ours(images) / scale, expected / scale, rtol=1e-2, atol=1e-2)


@torch.inference_mode()
@pytest.mark.parametrize("spelling", ["published", "code"])
def test_densenet_both_spellings_equal_torchvision(spelling: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torchvision.models.densenet121(weights=None, num_classes=7).eval()
    given = theirs.state_dict()
    if spelling == "published":
        given = {re.sub(r"(norm|conv)([12])\.", r"\1.\2.", name): value for name, value in given.items()
                 if not name.endswith("tracked")}  # fmt: skip
        assert "features.denseblock1.denselayer1.norm.1.weight" in given
    ours = build_network(NetworkSpec("densenet121", 7, 64)).eval()
    found = old_densenet_names(stored(given))
    report = fit_tensors(ours, found, torchvision_naming("densenet121"), ORIGIN)
    assert not report.new_head
    images = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    torch.testing.assert_close(ours(images), theirs(ours.normalise(images)), rtol=1e-4, atol=1e-4)


def test_report_in_words_says_all() -> None:
    report = LoadReport("X", 3, True, ("a",), ("b",), tuple("cdefgh"), "mean 0", ("a note",))
    assert report.in_words() == [
        "weights: 3 tensors of X",
        "the head is new and starts from random weights",
        "missing in the file: a",
        "left over in the file: b",
        "reshaped in the file: c, d, e, f … and 2 more",
        "pixels: mean 0",
        "a note",
    ]


def test_report_of_random_weights_says_nothing() -> None:
    assert LoadReport("random weights", 0, new_head=True).in_words() == []
