"""What is exported, as two modules: the picture becomes the square, and the square becomes the answer.

They are made of whole numbers and matrix products alone, so that every tool computes the same: the square is that of
Pillow's resize (data/square.py), which adds whole numbers of 2^-22 too. To the bit where Pillow goes along the rows
first; of tall pictures (H > 2 W - S and H > S, found by trying Pillow 13) it makes columns first, and some values are a
grey level apart: having both orders in the file would double what resizing costs.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from saccade.data.prepare import Preparation
from saccade.models.network import Network, side_of
from saccade.trained import TrainedNetwork

# Rec. 601 luma as Pillow computes it: whole numbers of 1/65536. All sums stay below 2^24: float32 holds them exactly.
_LUMA = (19595.0, 38470.0, 7471.0)
_LUMA_ONE = 65536.0
# What stands for 1 in Pillow's weights, and where they are cut in two.
_ONE, _HALF_WAY = 2**22, 2**11
# Torch enlarges whole grey levels on a CPU with weights that are whole numbers below this.
_WEIGHT_LIMIT = 2**15
_MOST_BITS = 22


# What the files give, in this order: (N, K) in 0..1, (N,) the index of the most likely class, (N, K).
OUTPUTS = ("probabilities", "class", "logits")


class Square(nn.Module):
    """Pictures of any size become what the network is shown.

    Args:
        preparation: of the run.
        image_size: S; the prepared square is enlarged to it where it is smaller.
    """

    background: Tensor
    enlarging: Tensor

    def __init__(self, preparation: Preparation, image_size: int) -> None:
        super().__init__()
        self.side, self.channels, self.fit = preparation.side, preparation.channels, preparation.fit
        self.enlarges = image_size != self.side
        background = torch.tensor(preparation.rules.background, dtype=torch.float32)
        self.register_buffer("background", background.view(1, 3, 1, 1))
        weights, self.one = enlarging_weights(self.side, image_size)
        self.register_buffer("enlarging", torch.from_numpy(weights))

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 (N, H, W, 3), RGB -> uint8 (N, C, S, S)."""
        columns, rows = self._axes(pictures)
        pixels = pictures.permute(0, 3, 1, 2).float()
        # Along the rows first, and rounded in between, as Pillow does for most pictures.
        across = _rounded(*(pixels @ part.T for part in _parts(columns)))  # (N, 3, H, side)
        square = _rounded(*(part @ across for part in _parts(rows)))  # (N, 3, side, side)
        if self.fit == "pad":
            inside = (rows.sum(1) > 0)[:, None] & (columns.sum(1) > 0)[None, :]
            square = torch.where(inside, square, self.background)
        if self.channels == 1:
            red, green, blue = (weight * square[:, [place]] for place, weight in enumerate(_LUMA))
            square = torch.floor((red + green + blue + _LUMA_ONE / 2) / _LUMA_ONE)  # (N, 1, side, side)
        return self._enlarged(square).to(torch.uint8)

    def _axes(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Weights int64 (side, W) and (side, H) of 2^-22: what each column, and each row, of the square is made of."""
        down, along = (torch.arange(length, device=pictures.device) for length in pictures.shape[1:3])
        height, width = down[-1] + 1, along[-1] + 1
        side = torch.full_like(height, self.side)
        if self.fit == "squash":
            return _weights(along, width, side, self.side), _weights(down, height, side, self.side)
        if self.fit == "crop":
            short = torch.minimum(height, width)
            left, top = ((each - short) // 2 for each in (width, height))
            return _weights(along - left, short, side, self.side), _weights(down - top, short, side, self.side)
        long = torch.maximum(height, width)
        wide, tall = (_share_of(self.side, each, long) for each in (width, height))
        return _weights(along, width, wide, self.side), _weights(down, height, tall, self.side)

    def _enlarged(self, square: Tensor) -> Tensor:
        if not self.enlarges:
            return square
        across = torch.floor((square @ self.enlarging.T + self.one / 2) / self.one)
        return torch.floor((self.enlarging @ across + self.one / 2) / self.one)


class Answering(nn.Module):
    """The square becomes probabilities: normalise, stages, head, temperature, softmax.

    Args:
        trained: in inference mode; a head of one sigmoid unit gives logits (0, z), whose softmax is its sigmoid.
        half: whether stages and head compute in float16, with copies of their weights.
    """

    def __init__(self, trained: TrainedNetwork, *, half: bool = False) -> None:
        super().__init__()
        network: Network = trained.network
        self.normalise = network.normalise
        self.stages, self.head = network.stages, network.head
        self.temperature = trained.certainty.temperature
        self.half_way = half
        if half:
            self.stages, self.head = copy.deepcopy(self.stages).half(), copy.deepcopy(self.head).half()

    def forward(self, square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 (N, C, S, S) -> OUTPUTS: float32 (N, K), int64 (N,), float32 (N, K)."""
        x = self.normalise(square.float())
        x = x.half() if self.half_way else x
        for stage in self.stages:
            x = stage(x)
        logits = self.head(x).float()
        return torch.softmax(logits / self.temperature, dim=1), logits.argmax(dim=1), logits


class Whole(nn.Module):
    """Both, one after the other: what a .pt2 file holds."""

    def __init__(self, square: Square, answering: Answering) -> None:
        super().__init__()
        self.square, self.answering = square, answering

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """uint8 (N, H, W, 3), RGB -> OUTPUTS by name."""
        return dict(zip(OUTPUTS, self.answering(self.square(pictures)), strict=True))


def graph_of(trained: TrainedNetwork, *, half: bool = False) -> Whole:
    """The modules for a network, in inference mode, on the CPU."""
    trained.network.cpu().eval()
    square = Square(trained.preparation, side_of(trained.network.spec))
    return Whole(square, Answering(trained, half=half)).eval()


def enlarging_weights(side: int, image_size: int) -> tuple[npt.NDArray[np.float32], int]:
    """How torch enlarges uint8 on a CPU: whole weights (image_size, side), and the number that stands for 1."""
    weights = np.zeros((image_size, side))
    for row in range(image_size):
        place = max((row + 0.5) * side / image_size - 0.5, 0.0)
        first = min(int(place), side - 1)
        weights[row, first] += 1 - (place - first)
        weights[row, min(first + 1, side - 1)] += place - first
    one = 1
    while one < 2**_MOST_BITS and int(weights.max() * one * 2 + 0.5) < _WEIGHT_LIMIT:
        one *= 2
    return np.floor(weights * one + 0.5).astype(np.float32), one


def _weights(source: Tensor, length: Tensor, wanted: Tensor, side: int) -> Tensor:
    """Triangles as wide as a target pixel, or as a source pixel where that is wider; rows sum to 2^22, or are empty.

    Distances are whole numbers (of 1 / (2 × wanted) source pixels), so nothing is lost before the one division.

    Args:
        source: the numbers of the source pixels, 0 where the part begins that is shown.
        length: of that part.
        wanted: how many target pixels show it, in the middle of `side`.
        side: rows of the result.
    """
    numbers = torch.arange(side, device=source.device)
    target = (numbers - (side - wanted) // 2)[:, None]
    away = ((2 * source[None, :] + 1) * wanted - (2 * target + 1) * length).abs()
    near = (2 * torch.maximum(length, wanted) - away).clamp(min=0)
    near = near * ((target >= 0) & (target < wanted)).to(torch.int64)
    total = near.sum(1, keepdim=True).clamp(min=1)
    return (near * (2 * _ONE) + total) // (2 * total)


def _parts(weights: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower bits, float32: sums of so few bits times 0..255 are exact there."""
    upper = weights // _HALF_WAY
    return upper.float(), (weights - upper * _HALF_WAY).float()


def _rounded(upper: Tensor, lower: Tensor) -> Tensor:
    """The sums of both parts together, as whole grey levels 0..255 in float32."""
    total = upper.to(torch.int32) * _HALF_WAY + lower.to(torch.int32) + _ONE // 2
    return (total // _ONE).clamp(max=255).float()


def _share_of(side: int, length: Tensor, long: Tensor) -> Tensor:
    """max(1, round(length × side / long)), halves to even as Python rounds, in whole numbers."""
    doubled = 2 * length * side + long
    rounded = doubled // (2 * long)
    is_half = (doubled - rounded * 2 * long == 0).to(torch.int64)
    return (rounded - is_half * (rounded % 2)).clamp(min=1)
