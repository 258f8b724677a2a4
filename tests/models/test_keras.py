"""VGG out of Keras' .h5 files gives what the same arrays give when computed from the file alone, the Keras way."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import MissingExtraError, WeightsError
from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec
from saccade.models.vgg import BLOCKS, FILTERS
from saccade.models.weights import initialise

SIDE = 64
MAP_SIDE = SIDE // 32
DENSE = {"fc1": 64, "fc2": 32, "predictions": 5}

Arrays = dict[str, tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]]


def vgg_arrays(model: str, *, top: bool) -> Arrays:
    """Random kernels and biases in Keras' shapes, layer by layer."""
    rng = np.random.default_rng(0)

    def layer(*shape: int) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]:
        scale = np.sqrt(2 / np.prod(shape[:-1]))
        kernel = (scale * rng.standard_normal(shape, dtype=np.float32)).astype(np.float16)
        return kernel, rng.normal(0, 0.1, shape[-1]).astype(np.float16)

    arrays: Arrays = {}
    channels = 3
    for block, (num_convs, filters) in enumerate(zip(BLOCKS[model], FILTERS, strict=True), start=1):
        for number in range(1, num_convs + 1):
            arrays[f"block{block}_conv{number}"] = layer(3, 3, channels, filters)
            channels = filters
    in_features = MAP_SIDE * MAP_SIDE * channels
    for name, width in DENSE.items() if top else ():
        arrays[name] = layer(in_features, width)
        in_features = width
    return arrays


def write_published(path: Path, arrays: Arrays) -> Path:
    """As vgg16_weights_tf_dim_ordering_tf_kernels.h5: layers without weights are groups too."""
    with h5py.File(path, "w") as file:
        layers = ["input_1", *arrays, "block5_pool", "flatten"]
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name in layers:
            group = file.create_group(name)
            if name not in arrays:
                group.attrs["weight_names"] = np.zeros((0,), dtype="S1")
                continue
            names = [f"{name}_W_1:0", f"{name}_b_1:0"]
            group.attrs["weight_names"] = [text.encode() for text in names]
            for text, values in zip(names, arrays[name], strict=True):
                group.create_dataset(text, data=values)
    return path


def write_saved_model(path: Path, arrays: Arrays) -> Path:
    """As model.save of a model with VGG inside it: one group `vgg16` with many weights, dense layers beside it."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = ["vgg16", *(name for name in arrays if name in DENSE)]
        for layer in root.attrs["layer_names"]:
            inside = [name for name in arrays if (name not in DENSE if layer == "vgg16" else name == layer)]
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{name}/{kind}:0" for name in inside for kind in ("kernel", "bias")]
            for name in inside:
                for kind, values in zip(("kernel", "bias"), arrays[name], strict=True):
                    group.create_dataset(f"{name}/{kind}:0", data=values)
    return path


def keras_activations(arrays: Arrays, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """The network computed the Keras way: RGB images (N, H, W, 3) -> activations (N, h, w, D) or (N, D)."""
    x = images[..., ::-1].astype(np.float32) - np.array([103.939, 116.779, 123.68], dtype=np.float32)
    found = {}
    names = list(arrays)
    for name, after in zip(names, [*names[1:], "end"], strict=True):
        kernel, bias = (values.astype(np.float32) for values in arrays[name])
        if kernel.ndim == 2:
            x = x.reshape(len(x), -1) @ kernel + bias
            x = x if name == "predictions" else np.maximum(x, 0)
        else:
            weight = torch.from_numpy(kernel).permute(3, 2, 0, 1)
            values = torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2)
            x = F.conv2d(values, weight, torch.from_numpy(bias), padding=1).relu().permute(0, 2, 3, 1).numpy()
        found[name] = x
        if kernel.ndim == 4 and after[:6] != name[:6]:
            x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max(axis=(2, 4))
            found[f"{name[:6]}_pool"] = x
    return found


def stage_activations(network: Network, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    x = network.normalise(torch.from_numpy(images).permute(0, 3, 1, 2))
    found = {}
    for name, stage in network.stages.named_children():
        x = stage(x)
        found[name] = x.permute(0, 2, 3, 1).numpy()
    return found


def logits(network: Network, images: npt.NDArray[np.uint8]) -> Tensor:
    result: Tensor = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    return result


def assert_same(found: Any, expected: npt.NDArray[np.float32]) -> None:
    """Equal to float32's rounding: activations are in the hundreds, for so are the pixels."""
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def with_top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("keras") / "vgg16.h5", vgg_arrays("vgg16", top=True))


@pytest.fixture(scope="module")
def expected(images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    return keras_activations(vgg_arrays("vgg16", top=True), images)


def vgg(model: str = "vgg16", num_classes: int = 5, head: str = "64,32", in_channels: int = 3) -> Network:
    return build_network(NetworkSpec(model, num_classes, SIDE, in_channels, head)).eval()


@torch.inference_mode()
def test_vgg16_with_top_every_activation_equals_keras(
    with_top: Path, images: npt.NDArray[np.uint8], expected: dict[str, npt.NDArray[np.float32]]
) -> None:
    network = vgg()
    report = initialise(network, str(with_top))
    assert not report.new_head
    assert report.num_loaded == 32
    assert expected["predictions"].std() > 0.01
    found = stage_activations(network, images)
    assert set(found) == set(expected) - set(DENSE)
    for name, values in found.items():
        assert_same(values, expected[name])
    assert_same(logits(network, images), expected["predictions"])


@torch.inference_mode()
def test_vgg16_without_top_takes_the_stages_and_leaves_the_head(
    tmp_path: Path, images: npt.NDArray[np.uint8], expected: dict[str, npt.NDArray[np.float32]]
) -> None:
    path = write_published(tmp_path / "notop.h5", vgg_arrays("vgg16", top=False))
    network = vgg(num_classes=3, head="gap")
    head = {name: value.clone() for name, value in network.head.state_dict().items()}
    report = initialise(network, str(path))
    assert report.new_head
    assert report.missing == ("head.logits.weight", "head.logits.bias")
    assert "vgg16, without top" in report.source
    torch.testing.assert_close(network.head.state_dict(), head)
    found = network.features(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert_same(found, expected["block5_pool"])


@torch.inference_mode()
def test_vgg16_inside_a_saved_model_equals_keras(
    tmp_path: Path, images: npt.NDArray[np.uint8], expected: dict[str, npt.NDArray[np.float32]]
) -> None:
    network = vgg()
    report = initialise(network, str(write_saved_model(tmp_path / "model.h5", vgg_arrays("vgg16", top=True))))
    assert not report.new_head
    assert_same(logits(network, images), expected["predictions"])


@torch.inference_mode()
def test_vgg19_without_top_equals_keras(tmp_path: Path, images: npt.NDArray[np.uint8]) -> None:
    arrays = vgg_arrays("vgg19", top=False)
    network = vgg("vgg19", head="gap")
    initialise(network, str(write_published(tmp_path / "vgg19.h5", arrays)))
    found = network.features(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert_same(found, keras_activations(arrays, images)["block5_pool"])


def test_pixels_are_the_caffe_way_in_red_green_blue(with_top: Path) -> None:
    network = vgg()
    report = initialise(network, str(with_top))
    torch.testing.assert_close(network.normalise.mean.flatten(), torch.tensor([123.68, 116.779, 103.939]))
    torch.testing.assert_close(network.normalise.std.flatten(), torch.ones(3))
    assert "caffe" in report.normalisation


@torch.inference_mode()
def test_other_number_of_classes_leaves_the_whole_head_and_lists_it(with_top: Path) -> None:
    report = initialise(vgg(num_classes=3), str(with_top))
    assert report.new_head
    assert report.num_loaded == 26
    assert report.reshaped[0] == "head.logits.weight (predictions.kernel) (5, 32) instead of (3, 32)"


def test_fewer_layers_in_our_head_leave_it_new_and_list_the_rest(with_top: Path) -> None:
    report = initialise(vgg(head="64"), str(with_top))
    assert report.new_head
    assert report.left_over == ("fc2.kernel", "fc2.bias")


def test_grey_network_takes_the_sum_over_the_colours(with_top: Path) -> None:
    network = vgg(in_channels=1)
    report = initialise(network, str(with_top))
    kernel = vgg_arrays("vgg16", top=False)["block1_conv1"][0].astype(np.float32)
    found = network.get_parameter("stages.block1_conv1.conv.weight").detach().numpy()
    np.testing.assert_allclose(found[:, 0], kernel.sum(axis=2).transpose(2, 0, 1), rtol=1e-5, atol=1e-6)
    assert "sum of block1_conv1.kernel over the three colours" in "\n".join(report.in_words())


def test_vgg16_file_into_vgg19_names_both(with_top: Path) -> None:
    with pytest.raises(WeightsError, match=r"file: vgg16, 5 classes; now: vgg19, 5 classes; 6 missing: stages\.block3"):
        initialise(vgg("vgg19"), str(with_top))


def test_vgg16_file_into_resnet_names_both(with_top: Path) -> None:
    with pytest.raises(WeightsError, match="file: vgg16, 5 classes; now: resnet18, 2 classes"):
        initialise(build_network(NetworkSpec("resnet18", 2, 64)), str(with_top))


def test_without_h5py_the_error_names_the_extra(with_top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.import_module

    def absent(name: str) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return there(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'saccade\[keras-weights\]'"):
        initialise(vgg(), str(with_top))


def test_truncated_file_is_one_clear_sentence(with_top: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    path.write_bytes(with_top.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="damaged"):
        initialise(vgg(), str(path))


def test_keras_3_layout_names_the_way_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "vgg.weights.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", data=np.zeros((3, 3, 3, 64), dtype=np.float32))
    with pytest.raises(WeightsError, match=r"Keras 3.*\n.*\n.*model\.save\('vgg\.h5'\)"):
        initialise(vgg(), str(tmp_path / "vgg.weights.h5"))


def write_one_layer(path: Path, kernel: Any, bias: Any = None) -> Path:
    """A file with one layer; the kernel is an array, an h5py link, or a shape that has no bytes behind it."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["block1_conv1"]
        group = file.create_group("block1_conv1")
        group.attrs["weight_names"] = ["kernel:0", "bias:0"]
        if isinstance(kernel, tuple):
            group.create_dataset("kernel:0", shape=kernel, dtype="f4", chunks=(1, 1, 1024, 1024))
        else:
            group["kernel:0"] = kernel
        group["bias:0"] = np.zeros(64, dtype=np.float32) if bias is None else bias
    return path


def test_array_that_claims_more_than_the_file_holds_is_refused_unread(tmp_path: Path) -> None:
    path = write_one_layer(tmp_path / "bomb.h5", (1000, 1000, 1024, 1024), np.zeros(1024, dtype=np.float32))
    with pytest.raises(WeightsError, match=r"but claims 4,194,304,\d\d\d,\d\d\d"):
        initialise(vgg(), str(path))


def test_link_to_another_file_is_not_followed(tmp_path: Path, with_top: Path) -> None:
    link = h5py.ExternalLink(str(with_top), "/block1_conv1/block1_conv1_W_1:0")
    with pytest.raises(WeightsError, match="links out of it are not followed"):
        initialise(vgg(), str(write_one_layer(tmp_path / "link.h5", link)))


def test_array_stored_in_another_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(4 * 3 * 3 * 3 * 64))
    path = write_one_layer(tmp_path / "external.h5", np.zeros((3, 3, 3, 64), dtype=np.float32))
    with h5py.File(path, "a") as file:
        del file["block1_conv1/kernel:0"]
        place = [(str(tmp_path / "raw"), 0, 4 * 3 * 3 * 3 * 64)]
        file.create_dataset("block1_conv1/kernel:0", (3, 3, 3, 64), "f4", external=place)
    with pytest.raises(WeightsError, match="links out of it are not followed"):
        initialise(vgg(), str(path))


@pytest.mark.parametrize(
    ("kernel", "sentence"),
    [
        (np.zeros((3, 3, 64), dtype=np.float32), "no layer of VGG"),
        (np.zeros((3, 3, 3, 32), dtype=np.float32), "no layer of VGG"),
        (np.zeros((3, 3, 3, 64), dtype=np.int32), "not an array of floating-point numbers"),
    ],
)
def test_layer_that_vgg_does_not_have_is_refused(
    tmp_path: Path, kernel: npt.NDArray[np.generic], sentence: str
) -> None:
    with pytest.raises(WeightsError, match=sentence):
        initialise(vgg(), str(write_one_layer(tmp_path / "odd.h5", kernel)))


def test_layer_with_an_odd_number_of_weights_is_refused(tmp_path: Path) -> None:
    path = write_one_layer(tmp_path / "odd.h5", np.zeros((3, 3, 3, 64), dtype=np.float32))
    with h5py.File(path, "a") as file:
        file["block1_conv1"].attrs["weight_names"] = ["kernel:0"]
    with pytest.raises(WeightsError, match="layer block1_conv1 has 1 weights"):
        initialise(vgg(), str(path))
