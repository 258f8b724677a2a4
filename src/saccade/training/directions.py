"""Features, standardised and turned into their principal directions by one eigendecomposition.

It is of D × D where there are more pictures than features, and of N × N otherwise. Whatever is fitted with L2 is the
same before and after the turn, so problems with N rows and D columns become problems with min(N, D) columns that are
orthogonal, which is what makes them quick to solve.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from saccade.errors import ModelError, ResourceError

LARGEST_SIDE = 12_000  # of the matrix that is decomposed; it fills 1.1 GiB then, and takes minutes
_BLOCK = 4_000_000  # values worked on at once
_LARGE = 4_000_000  # values above which the coordinates are kept in float32
_NEGLIGIBLE = 1e-13  # of the largest eigenvalue: rounding error, not a direction
_CONSTANT = 1e-7  # deviation of a column over its mean that float32 cannot tell from none


@dataclass(frozen=True)
class Directions:
    """N pictures in the R directions along which their standardised features vary.

    Attributes:
        features: (N, D), as they came.
        mean: float64 (D,), of each column.
        inverse: float64 (D,), 1 / its deviation; 0 for a column that is constant.
        basis: float64 (D, R), the directions; None where N < D, as they can be had from the pictures.
        coordinates: (N, R + 1), the pictures in the directions, and a last column of ones for the intercept.
        powers: float64 (R + 1,), the sum of squares of each of its columns.
    """

    features: Tensor
    mean: Tensor
    inverse: Tensor
    basis: Tensor | None
    coordinates: Tensor
    powers: Tensor

    @property
    def num_varying(self) -> int:
        """Features that are not constant; the mean of |standardised features|²."""
        return int((self.inverse > 0).sum())

    @property
    def penalised(self) -> Tensor:
        """Float64 (R + 1,): 1, and 0 for the intercept, which L2 leaves alone."""
        penalised = torch.ones_like(self.powers)
        penalised[-1] = 0
        return penalised

    def turn_back(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (K, R + 1) on the coordinates to weight (K, D) and bias (K,) on the features as they came."""
        turned, bias = weight[:, :-1].double(), weight[:, -1].double()
        if self.basis is not None:
            standard = turned @ self.basis.T
        else:
            of_pictures = (turned / self.powers[:-1]) @ self.coordinates[:, :-1].T.double()
            blocks = _standardised(self.features, self.mean, self.inverse, along=1)
            standard = torch.cat([of_pictures @ block for block in blocks], dim=1)
        raw = standard * self.inverse
        return raw, bias - raw @ self.mean


@torch.no_grad()
def principal_directions(features: Tensor) -> Directions:
    """Standardise and decompose, in float64: in float32 the weaker directions would drown in rounding error.

    Never more than min(N, D) squared and one copy of the features, which is kept in float32 above 4 million values.

    Args:
        features: float (N, D), finite, on any device.

    Raises:
        ModelError: the features are not that, or do not differ between the pictures.
        ResourceError: both N and D are above 12,000.
    """
    _check(features)
    # MPS has no float64; everything else stays where it is.
    features = features.detach().cpu() if features.device.type == "mps" else features.detach()
    mean, inverse = _moments(features)
    wide = features.shape[0] < features.shape[1]
    powers, vectors = torch.linalg.eigh(_gram(features, mean, inverse, wide))
    kept = powers > powers[-1] * _NEGLIGIBLE
    powers, vectors = powers[kept], vectors[:, kept]
    num, rank = len(features), len(powers)
    coordinates = torch.ones(num, rank + 1, dtype=_kept_as(num * rank, features.device), device=features.device)
    if wide:
        coordinates[:, :-1] = vectors * powers.sqrt()
    else:
        start = 0
        for block in _standardised(features, mean, inverse, along=0):
            coordinates[start : start + len(block), :-1] = block @ vectors
            start += len(block)
    powers = torch.cat([powers, powers.new_tensor([num])])
    return Directions(features, mean, inverse, None if wide else vectors, coordinates, powers)


def _kept_as(num_values: int, device: torch.device) -> torch.dtype:
    """float32 on the CPU alone and outside autocast: else products may be cut to ten bits, and solvers stall."""
    exact = device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return torch.float32 if num_values > _LARGE and exact else torch.float64


def _gram(features: Tensor, mean: Tensor, inverse: Tensor, wide: bool) -> Tensor:
    side = min(features.shape)
    gram = torch.zeros(side, side, dtype=torch.float64, device=features.device)
    for block in _standardised(features, mean, inverse, along=int(wide)):
        gram += block @ block.T if wide else block.T @ block
    return gram


def _standardised(features: Tensor, mean: Tensor, inverse: Tensor, along: int) -> Iterator[Tensor]:
    """Blocks of rows (along 0) or of columns (along 1), in float64."""
    size = max(1, _BLOCK // features.shape[1 - along])
    for start in range(0, features.shape[along], size):
        part = slice(start, start + size)
        if along:
            yield (features[:, part].double() - mean[part]) * inverse[part]
        else:
            yield (features[part].double() - mean) * inverse


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and 1 / deviation (D,)."""
    num, width = features.shape
    mean = torch.zeros(width, dtype=torch.float64, device=features.device)
    variance, one = torch.zeros_like(mean), torch.ones_like(mean)
    for block in _standardised(features, mean, one, along=0):
        variance += block.sum(dim=0) / num
    mean, variance = variance, torch.zeros_like(mean)
    for block in _standardised(features, mean, one, along=0):
        variance += block.square().sum(dim=0) / num
    deviation = variance.sqrt()
    varies = deviation > _CONSTANT * mean.abs()
    if not varies.any():
        raise ModelError(
            f"all {num:,} pictures have the same features: nothing tells classes apart",
            where="features",
            remedy="check that the pictures differ and that the backbone has its published weights (--weights default)",
        )
    return mean, torch.where(varies, 1 / deviation, torch.zeros_like(mean))


def _check(features: Tensor) -> None:
    if features.ndim != 2 or not features.is_floating_point() or features.numel() == 0:
        raise ModelError(
            f"features must be float (N, D), not {features.dtype} {tuple(features.shape)}",
            where="features",
            remedy="pool or flatten the feature map of each picture to one row",
        )
    if min(features.shape) > LARGEST_SIDE:
        num, width = features.shape
        raise ResourceError(
            f"{num:,} pictures with {width:,} features each are too many for an exact solution, which takes at most "
            f"{LARGEST_SIDE:,} of one of them",
            where="features",
            remedy="pool the feature map before the head (gap), take fewer pictures, or train the head by epochs",
        )
    for start in range(0, len(features), 4096):
        bad = (~features[start : start + 4096].isfinite()).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            raise ModelError(
                f"a feature is {float(features[start + row, column])}, and all must be finite numbers",
                where=f"picture {start + row}, feature {column}",
                remedy="compute the features in float32, and check the weights of the backbone",
            )
