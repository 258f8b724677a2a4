"""Where in a picture a network finds what it names: Grad-CAM, occlusion, and what its stages and first filters give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import UsageError
from saccade.models.network import Network, side_of
from saccade.use.stage_maps import StageMap, after, at_rest, number_of

# Pixels that one batch with gradients may hold: VGG16 at 224 pixels then takes 1.4 GB from its first stage on.
_BATCH_PIXELS = 16 * 224 * 224
_LARGEST_BATCH = 64


class Heat(NamedTuple):
    """What was found for N pictures, on the CPU.

    Attributes:
        maps: (N, h, w) float32; how much each place speaks for the class. Never negative for Grad-CAM; with occlusion
            negative where covering the place makes the class likelier.
        logits: (N, K) of the whole pictures.
        classes: (N,) the class that each map is about.
    """

    maps: Tensor
    logits: Tensor
    classes: Tensor


class Window(NamedTuple):
    """The square that occlusion covers: its side, and how far it moves, in pixels."""

    side: int
    stride: int


def grad_cam(network: Network, images: Tensor, at: StageMap, classes: Tensor | None = None) -> Heat:
    """Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391): channels weighted by their mean gradient.

    Args:
        network: on the device of `images`. Its parameters and its mode are left as they are.
        images: (N, C, H, W), uint8 or float, 0..255, of the network's size.
        at: the stage.
        classes: int64 (N,); None for those that the network names.
    """
    with at_rest(network):
        with torch.no_grad():
            x = network.before(images, number_of(network, at) + 1)
        # A copy is a plain tensor even where the picture was made in inference mode.
        x = x.clone().requires_grad_()
        with torch.enable_grad():
            logits = after(network, x.clone(), at)  # a copy again: the next layer may work in place
        chosen = logits.argmax(dim=1) if classes is None else classes.to(logits.device)
        with torch.enable_grad():
            score = _scores(logits, chosen).sum()
        (gradient,) = torch.autograd.grad(score, x)
    weights = at.laid_out(gradient).mean(dim=(2, 3), keepdim=True)
    maps = (weights * at.laid_out(x.detach())).sum(dim=1).relu()
    return Heat(maps.float().cpu(), logits.detach().float().cpu(), chosen.cpu())


def occlusion(network: Network, images: Tensor, window: Window, classes: Tensor | None = None) -> Heat:
    """Occlusion (Zeiler, Fergus 2014, https://arxiv.org/abs/1311.2901): what it costs to cover each place.

    A grey square, the mean of the training pictures, is laid over every place in turn. Heat is by how much the
    log-odds of the class fall, averaged over the squares that cover a pixel: unlike the probability they still move
    where the network is nearly certain.

    Args:
        network: on the device of `images`.
        images: (N, C, H, W), uint8 or float, 0..255, of the network's size.
        window: the square.
        classes: int64 (N,); None for those that the network names.
    """
    device = images.device
    with at_rest(network), torch.no_grad():
        logits = torch.cat([network(batch) for batch in torch.split(images, batch_size(network))])
        chosen = logits.argmax(dim=1) if classes is None else classes.to(device)
        maps = [
            _cost_of_covering(network, image.float(), window, (int(label), _log_odds(row[None], int(label))))
            for image, label, row in zip(images, chosen, logits, strict=True)
        ]
    return Heat(torch.stack(maps).cpu(), logits.float().cpu(), chosen.cpu())


def corners_of(side: int, window: Window) -> list[tuple[int, int]]:
    """Where occlusion lays its square on a picture of so many pixels a side: (top, left) of each place."""
    last = max(0, side - window.side)
    starts = sorted({*range(0, last + 1, window.stride), last})
    return [(top, left) for top in starts for left in starts]


def feature_maps(network: Network, images: Tensor, at: StageMap) -> Tensor:
    """What a stage gives for pictures (N, C, H, W) of 0..255: (N, D, h, w) float32 on the CPU."""
    with at_rest(network), torch.no_grad():
        return at.laid_out(network.before(images, number_of(network, at) + 1)).float().cpu()


def first_filters(network: Network) -> Tensor:
    """The filters that look at the pixels themselves: (D, C, kh, kw), float32 on the CPU.

    Raises:
        UsageError: the network cuts pictures up before the first filter.
    """
    tensor: Tensor
    for tensor in network.stages.state_dict().values():
        if tensor.ndim == 4:
            if tensor.shape[1] == network.spec.in_channels and tensor.shape[2] > 1:
                return tensor.detach().float().cpu()
            break
    raise UsageError(
        f"the first layer of {network.spec.model} has no filters over the picture's own "
        f"{network.spec.in_channels} channels that could be drawn",
        where="--method filters",
        remedy="use --method features: it shows what they find",
    )


def batch_size(network: Network) -> int:
    """How many pictures of a network may be on their way at once, so that memory stays bounded."""
    return max(1, min(_LARGEST_BATCH, _BATCH_PIXELS // side_of(network.spec) ** 2))


def _scores(logits: Tensor, classes: Tensor) -> Tensor:
    """The logits of the classes; one sigmoid unit gives (0, z), where the first class is as likely as -z says."""
    if logits.shape[1] == 2 and not logits[:, 0].any():
        return logits[:, 1] * (2 * classes - 1)
    return logits.gather(1, classes[:, None])[:, 0]


def _log_odds(logits: Tensor, label: int) -> Tensor:
    others = [index for index in range(logits.shape[1]) if index != label]
    return logits[:, label].float() - logits[:, others].float().logsumexp(dim=1)


def _cost_of_covering(network: Network, image: Tensor, window: Window, whole: tuple[int, Tensor]) -> Tensor:
    """(H, W) of one picture; `whole` is the class and its log-odds when nothing is covered."""
    label, before = whole
    side = image.shape[-1]
    corners = corners_of(side, window)
    grey = network.normalise.mean.to(image.dtype)
    total, times = torch.zeros(side, side, device=image.device), torch.zeros(side, side, device=image.device)
    for some in _chunks(corners, batch_size(network)):
        covered = image.repeat(len(some), 1, 1, 1)
        for picture, (top, left) in zip(covered, some, strict=True):
            picture[:, top : top + window.side, left : left + window.side] = grey
        for fall, (top, left) in zip(before - _log_odds(network(covered), label), some, strict=True):
            total[top : top + window.side, left : left + window.side] += fall
            times[top : top + window.side, left : left + window.side] += 1
    return total / times


def _chunks(corners: Sequence[tuple[int, int]], size: int) -> Iterator[Sequence[tuple[int, int]]]:
    for start in range(0, len(corners), size):
        yield corners[start : start + size]


def upsampled(maps: Tensor, side: int) -> Tensor:
    """Maps (N, h, w) at the size of the picture: (N, side, side), bilinear."""
    return F.interpolate(maps[:, None], size=(side, side), mode="bilinear")[:, 0]
