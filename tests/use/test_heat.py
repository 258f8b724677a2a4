"""Grad-CAM, occlusion, feature maps and filters against captum and a second way; the share of heat at the border."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam, Occlusion
from PIL import Image
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.models.catalogue import build_network, find_entry
from saccade.models.network import Network, NetworkSpec
from saccade.models.weights import initialise
from saccade.use.border import RING_AREA, border_shares, judge_border
from saccade.use.heat import Window, feature_maps, first_filters, grad_cam, occlusion
from saccade.use.stage_maps import choose_stage, stage_maps


def _network(model: str, size: int, num_classes: int = 5, head: str | None = None) -> Network:
    torch.manual_seed(0)
    return build_network(NetworkSpec(model, num_classes, size, find_entry(model).in_channels, head)).eval()


def _images(size: int, num: int = 3, channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (num, channels, size, size), generator=torch.Generator().manual_seed(1)).to(
        torch.uint8
    )


@pytest.fixture(scope="module")
def real_resnet(shared: Path) -> Network:
    network = _network("resnet18", 96)
    initialise(network, str(shared / "weights" / "resnet18_tiny64.safetensors"))
    return network.eval()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Tensor:
    pictures = []
    with zipfile.ZipFile(shared / "data" / "cats_and_dogs_small.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg") and "/test/" in name)
        for name in names[::40]:
            with archive.open(name) as file:
                pictures.append(np.asarray(Image.open(file).convert("RGB").resize((96, 96))))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def _by_captum(network: Network, images: Tensor, stage: str, classes: Tensor) -> Tensor:
    layer = network.stages.get_submodule(stage)
    found: Tensor = LayerGradCam(network, layer).attribute(images, target=classes, relu_attributions=True)
    return found[:, 0].detach()


@pytest.mark.parametrize(
    ("model", "size", "stage"),
    [
        ("vgg11", 64, "block5_conv2"),
        ("densenet121", 64, "block3_layer4"),
        ("densenet121", 64, "final"),
        ("googlenet", 96, "inception4c"),
        ("timm/convnext_atto", 64, "stages_2_blocks_1"),
        ("lenet5", 32, "block2_conv1"),
    ],
)
def test_grad_cam_of_several_families_equals_captums(model: str, size: int, stage: str) -> None:
    network = _network(model, size)
    images, classes = _images(size, channels=network.spec.in_channels), torch.tensor([0, 3, 4])
    ours = grad_cam(network, images, choose_stage(network, stage), classes)
    theirs = _by_captum(network, images, stage, classes)
    assert theirs.amax(dim=(1, 2)).gt(0).any()
    torch.testing.assert_close(ours.maps, theirs, atol=1e-4 * float(theirs.max()), rtol=1e-4)


@pytest.mark.parametrize("stage", ["layer2_1", "layer3_1", "layer4_1"])
def test_grad_cam_of_real_weights_and_photographs_equals_captums(
    real_resnet: Network, photographs: Tensor, stage: str
) -> None:
    ours = grad_cam(real_resnet, photographs, choose_stage(real_resnet, stage))
    theirs = _by_captum(real_resnet, photographs, stage, ours.classes)
    assert ours.classes.tolist() == real_resnet(photographs).argmax(dim=1).tolist()
    torch.testing.assert_close(ours.maps, theirs, atol=1e-4 * float(theirs.max()), rtol=1e-4)


def test_grad_cam_of_maps_with_channels_last_equals_the_formula_written_out() -> None:
    network = _network("timm/swin_tiny_patch4_window7_224", 224)
    at = choose_stage(network, None)
    assert (at.order, at.side, at.channels) == ("channels last", 7, 768)
    images, classes = _images(224, num=1), torch.tensor([2])
    x = network.before(images, len(network.stages)).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(network.head(x)[0, 2], x)
    expected = np.maximum(0, np.einsum("hwd,d->hw", x[0].detach().numpy(), slopes[0].mean(dim=(0, 1)).numpy()))
    last = next(each for each in stage_maps(network) if each.stage == "norm")
    np.testing.assert_allclose(grad_cam(network, images, last, classes).maps[0].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_stage_of_a_transformer_that_reads_one_token_is_the_last_whose_places_reach_the_logits() -> None:
    network = _network("timm/vit_tiny_patch16_224", 224)
    at = choose_stage(network, None)
    assert (at.stage, at.order, at.side) == ("blocks_10", "tokens", 14)
    assert float(grad_cam(network, _images(224, 1), at).maps.max()) > 0


def test_transformer_none_of_whose_places_reach_the_logits_is_refused() -> None:
    network = _network("timm/vit_tiny_patch16_224", 224)
    parts = OrderedDict((name, network.stages.get_submodule(name)) for name in ("stem", "norm"))
    network.stages = nn.Sequential(parts)  # no block hands anything from the other tokens to the class token
    with pytest.raises(UsageError, match="that its answer depends on") as refusal:
        choose_stage(network, None)
    assert "--method occlusion" in str(refusal.value)


def test_tokens_are_laid_out_row_by_row_without_the_class_token() -> None:
    network = _network("timm/vit_tiny_patch16_224", 224)
    at = next(each for each in stage_maps(network) if each.stage == "stem")
    x = torch.arange(197.0).view(1, 197, 1).expand(1, 197, 192)
    assert at.laid_out(x)[0, 0].tolist() == torch.arange(1.0, 197).view(14, 14).tolist()


@pytest.mark.parametrize(
    ("model", "size", "stage", "side"), [("resnet18", 224, "layer4_1", 7), ("resnet18", 96, "layer3_1", 6)]
)
def test_stage_by_default_is_the_deepest_with_five_places_a_side(model: str, size: int, stage: str, side: int) -> None:
    at = choose_stage(_network(model, size), None)
    assert (at.stage, at.side) == (stage, side)


def test_stage_may_be_written_with_a_dot_or_by_the_start_of_its_name() -> None:
    network = _network("resnet18", 64)
    assert [choose_stage(network, name).stage for name in ("layer2.0", "layer2", "stem")] == [
        "layer2_0",
        "layer2_1",
        "stem",
    ]


def test_unknown_stage_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no stage of this network is called 'layr4_1'") as refusal:
        choose_stage(_network("resnet18", 64), "layr4_1")
    assert "did you mean layer4_1" in str(refusal.value)


def test_stage_without_a_map_is_refused_with_those_that_have_one() -> None:
    network = _network("resnet18", 32)  # layer4 gives 512×1×1
    with pytest.raises(UsageError, match="512×1×1") as refusal:
        choose_stage(network, "layer4_1")
    assert "layer3_1" in str(refusal.value)
    assert "layer4_1," not in str(refusal.value)


def test_network_without_any_map_is_refused_with_occlusion_as_remedy() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)

    network = _network("cnn1", 32)
    network.stages = nn.Sequential(Flat())
    with pytest.raises(UsageError, match="no stage of this network gives a map") as refusal:
        choose_stage(network, None)
    assert "--method occlusion" in str(refusal.value)


def test_grad_cam_of_both_classes_of_one_sigmoid_unit_is_that_of_its_value_and_its_opposite() -> None:
    network = _network("vgg11", 64, 2, "gap:sigmoid")
    images, at = _images(64), choose_stage(network, "block4_conv1")
    first, second = (grad_cam(network, images, at, torch.full((3,), label)).maps for label in (0, 1))
    assert float(first.max()) > 0
    assert float(second.max()) > 0
    assert not torch.any((first > 0) & (second > 0))


def test_grad_cam_leaves_mode_gradients_and_frozen_parameters_as_they_were() -> None:
    network = _network("resnet18", 64).train().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.inference_mode():
        found = grad_cam(network, _images(64), choose_stage(network, "layer3_1"))
    assert network.training
    assert float(found.maps.max()) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_occlusion_equals_captums_on_a_grid_that_fits() -> None:
    network = _network("resnet18", 64)
    images, classes = _images(64, 2), torch.tensor([1, 4])
    ours = occlusion(network, images, Window(16, 8), classes)

    def log_odds(batch: Tensor) -> Tensor:
        shares = torch.softmax(network(batch), dim=1)
        picked = shares.gather(1, classes[:, None])[:, 0]
        return torch.log(picked / (1 - picked))

    grey = network.normalise.mean.expand(1, 3, 64, 64)
    with torch.no_grad():
        theirs = Occlusion(log_odds).attribute(
            images.float(), sliding_window_shapes=(3, 16, 16), strides=(3, 8, 8), baselines=grey
        )
    torch.testing.assert_close(ours.maps, theirs[:, 0], atol=1e-5, rtol=1e-3)


def test_occlusion_covers_the_last_pixels_where_the_grid_does_not_fit() -> None:
    network = _network("cnn1", 30)
    found = occlusion(network, _images(30, 1, network.spec.in_channels), Window(7, 4)).maps[0]
    assert torch.isfinite(found).all()
    assert float(found[-1, -1].abs()) > 0


def test_feature_maps_equal_what_a_hook_sees() -> None:
    network, images = _network("resnet18", 64), _images(64, 2)
    seen: list[Tensor] = []
    handle = network.stages.layer2_1.register_forward_hook(lambda module, args, output: seen.append(output.clone()))
    network(images)
    handle.remove()
    torch.testing.assert_close(feature_maps(network, images, choose_stage(network, "layer2_1")), seen[0].detach())


@pytest.mark.parametrize(
    ("model", "shape"),
    [("resnet18", (64, 3, 7, 7)), ("sprint", (24, 3, 2, 2)), ("timm/vit_tiny_patch16_224", (192, 3, 16, 16))],
)
def test_first_filters_have_the_shape_of_the_first_layer(model: str, shape: tuple[int, ...]) -> None:
    network = _network(model, find_entry(model).image_size)
    assert tuple(first_filters(network).shape) == shape


def test_filters_behind_pixels_that_were_cut_up_are_refused() -> None:
    network = _network("timm/tresnet_m", 64)
    with pytest.raises(UsageError, match="no filters over the picture's own 3 channels"):
        first_filters(network)


def test_border_share_of_even_heat_is_the_area_of_the_ring() -> None:
    even = np.ones((2, 6, 6), dtype=np.float32)
    assert border_shares(even) == pytest.approx([RING_AREA] * 2)
    assert pytest.approx(0.36) == RING_AREA


def test_border_share_equals_pillows_enlargement_summed() -> None:
    heat = np.random.default_rng(0).random((1, 7, 7)).astype(np.float32)
    large = np.asarray(Image.fromarray(heat[0]).resize((100, 100), Image.Resampling.BILINEAR), dtype=float)
    expected = 1 - large[10:90, 10:90].sum() / large.sum()
    assert border_shares(heat)[0] == pytest.approx(expected, abs=1e-4)


def test_border_share_without_heat_is_unknown() -> None:
    assert np.isnan(border_shares(np.zeros((1, 6, 6), dtype=np.float32))).all()


def test_heat_at_the_edge_is_called_clear_and_heat_in_the_middle_or_anywhere_is_not() -> None:
    rng = np.random.default_rng(0)
    noise = rng.random((40, 7, 7)).astype(np.float32)
    edge, middle = noise.copy(), noise.copy()
    edge[:, 1:-1, 1:-1] *= 0.2
    middle[:, 2:5, 2:5] += 3
    verdicts = [judge_border("cats", heat, 2) for heat in (edge, middle, noise)]
    assert [verdict is not None and verdict.clear for verdict in verdicts] == [True, False, False]


def test_border_of_few_pictures_or_coarse_maps_is_not_judged() -> None:
    corner = np.zeros((9, 7, 7), dtype=np.float32)
    corner[:, 0, 0] = 1
    assert judge_border("cats", corner, 2) is None
    assert judge_border("cats", np.ones((40, 3, 3), dtype=np.float32), 2) is None


def test_random_heat_raises_no_alarm_in_a_thousand_classes() -> None:
    rng = np.random.default_rng(7)
    alarms = 0
    for number in range(1000):
        one_place = np.zeros((20, 6, 6), dtype=np.float32)
        one_place[np.arange(20), rng.integers(0, 6, 20), rng.integers(0, 6, 20)] = 1
        verdict = judge_border(str(number), one_place, 1)
        alarms += verdict is not None and verdict.clear
    assert alarms <= 10
