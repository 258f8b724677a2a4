"""Random brightness, contrast, saturation, hue and light of a whole batch: one small matrix per picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NUM_COLOUR_DRAWS = 7  # brightness, contrast, saturation, hue, three of light

# Red, green and blue in grey: ITU-R 601, as Pillow and torchvision have them.
_LUMA = (0.299, 0.587, 0.114)
# Of the pixels of ImageNet in 0..1: directions in which colours vary most (columns), and how far.
# Krizhevsky et al. 2012, section 4.1; the numbers are those of facebook's fb.resnet.torch.
_DIRECTIONS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
_LENGTHS = (0.2175, 0.0188, 0.0045)


@dataclass(frozen=True)
class Jitter:
    """How far colours are changed at random; pictures in grey know brightness and contrast alone.

    Attributes:
        brightness: 0.2 multiplies all pixels by 0.8 to 1.2.
        contrast: 0.2 multiplies the distances from the picture's mean grey by 0.8 to 1.2.
        saturation: 0.2 multiplies the distances from the pixel's own grey by 0.8 to 1.2.
        hue: 0.1 turns hues by up to a tenth of the circle either way; at most 0.5.
        pca_colour: deviation of AlexNet's random light along the directions in which ImageNet's colours vary; theirs
            was 0.1.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    pca_colour: float = 0.0

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.brightness or self.contrast or self.saturation or self.hue or self.pca_colour)


def change_colours(images: Tensor, draws: Tensor, jitter: Jitter) -> Tensor:
    """Brightness, contrast, saturation and light in one pass, clamped once at its end; then the hue.

    Args:
        images: float (B, C, H, W) in 0..255, C = 1 or 3.
        draws: (B, NUM_COLOUR_DRAWS) in [0, 1), on the same device; 0.5 changes nothing.
        jitter: how far.

    Returns:
        float32 (B, C, H, W), 0..255.
    """
    signed = draws * 2 - 1
    brightness, contrast, saturation = (
        1 + share * signed[:, column]
        for column, share in enumerate((jitter.brightness, jitter.contrast, jitter.saturation))
    )
    if images.shape[1] == 1:
        level = (1 - contrast) * brightness * images.mean(dim=(1, 2, 3))
        return (images * _along(brightness * contrast) + _along(level)).clamp_(0, 255)
    changed = _through_matrix(images, brightness, contrast, saturation, _light(draws, jitter.pca_colour))
    return turn_hue(changed, jitter.hue * signed[:, 3]) if jitter.hue else changed


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hues of RGB (B, 3, H, W) in 0..255 by shares (B,) of the circle, as HSV has them."""
    value, low = images.amax(dim=1), images.amin(dim=1)
    chroma = value - low
    red, green, blue = images.unbind(dim=1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(value == red, (green - blue) / safe, 2 + (blue - red) / safe)
    hue = torch.where((value == blue) & (value != red) & (value != green), 4 + (red - green) / safe, hue)
    hue = hue + 6 * turns[:, None, None]
    planes = []
    for shift in (5, 3, 1):  # https://en.wikipedia.org/wiki/HSL_and_HSV#HSV_to_RGB_alternative
        place = (hue + shift).remainder(6)
        planes.append(value - chroma * torch.minimum(place, 4 - place).clamp_(0, 1))
    return torch.stack(planes, dim=1)


def _through_matrix(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, light: Tensor) -> Tensor:
    """Each step is linear in the colours of a pixel, and so all of them are one 3×3 matrix and one shift."""
    luma = torch.tensor(_LUMA, device=images.device)
    mean_grey = images.mean(dim=(2, 3)) @ luma
    to_grey = luma.expand(3, 3)
    mixed = _along(saturation, 3) * torch.eye(3, device=images.device) + _along(1 - saturation, 3) * to_grey
    matrix = _along(brightness * contrast, 3) * mixed
    shift = ((1 - contrast) * brightness * mean_grey)[:, None] + light
    flat = images.reshape(len(images), 3, -1)
    return torch.baddbmm(shift[:, :, None], matrix, flat).clamp_(0, 255).view(images.shape)


def _light(draws: Tensor, deviation: float) -> Tensor:
    """AlexNet's shift of all pixels of a picture, (B, 3), in grey levels."""
    if not deviation:
        return torch.zeros(len(draws), 3, device=draws.device)
    # The inverse of the normal distribution; a draw of exactly 0 would be infinitely far away.
    normal = math.sqrt(2) * torch.erfinv((draws[:, 4:7] * 2 - 1).clamp(-1 + 1e-6, 1 - 1e-6))
    lengths = torch.tensor(_LENGTHS, device=draws.device)
    directions = torch.tensor(_DIRECTIONS, device=draws.device)
    return 255 * deviation * (normal * lengths) @ directions.T


def _along(values: Tensor, num_dims: int = 4) -> Tensor:
    """(B,) shaped to be multiplied with a batch of `num_dims` dimensions."""
    return values.view(-1, *[1] * (num_dims - 1))
