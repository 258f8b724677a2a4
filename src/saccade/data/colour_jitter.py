"""Random brightness, contrast, saturation, hue and light of a whole batch: one small matrix per picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

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


class ColourMaps(NamedTuple):
    """What happens to the colours of pictures, a row each: linear in a pixel's colours and the picture's mean grey.

    Attributes:
        matrices: (B, C, C + 1), new colours from old ones; the last column is added, in grey levels.
        of_mean: (B,), how much of the mean grey is added to that.
    """

    matrices: Tensor
    of_mean: Tensor


def colour_maps(draws: Tensor, jitter: Jitter, channels: int) -> ColourMaps:
    """Brightness, contrast, saturation and light: each is linear in the colours, and so are all of them together.

    Args:
        draws: (B, NUM_COLOUR_DRAWS) in [0, 1); 0.5 changes nothing.
        jitter: how far.
        channels: 1 or 3; a picture in grey knows brightness and contrast alone.
    """
    signed = draws * 2 - 1
    brightness, contrast, saturation = (
        1 + share * signed[:, column]
        for column, share in enumerate((jitter.brightness, jitter.contrast, jitter.saturation))
    )
    identity = torch.eye(channels, device=draws.device)
    to_grey = torch.tensor(weights_of_grey(channels), device=draws.device).expand(channels, channels)
    mixed = _along(saturation, 3) * identity + _along(1 - saturation, 3) * to_grey
    coloured = jitter.pca_colour if channels == 3 else 0.0
    light = _light(draws, coloured) if coloured else torch.zeros(len(draws), channels, device=draws.device)
    matrices = torch.cat([_along(brightness * contrast, 3) * mixed, light[:, :, None]], dim=2)
    return ColourMaps(matrices, (1 - contrast) * brightness)


def change_colours(images: Tensor, draws: Tensor, jitter: Jitter) -> Tensor:
    """Brightness, contrast, saturation and light in one pass, clamped once at its end; then the hue.

    Args:
        images: float (B, C, H, W) in 0..255, C = 1 or 3.
        draws: (B, NUM_COLOUR_DRAWS) in [0, 1), on the same device; 0.5 changes nothing.
        jitter: how far.

    Returns:
        float32 (B, C, H, W), 0..255.
    """
    return change_hue(apply_colours(images, colour_maps(draws, jitter, images.shape[1])), draws, jitter)


def apply_colours(images: Tensor, colours: ColourMaps) -> Tensor:
    """float (B, C, H, W) in 0..255 through their maps, clamped."""
    channels, mixing = images.shape[1], colours.matrices[:, :, :-1]
    grey = images.mean(dim=(2, 3)) @ torch.tensor(weights_of_grey(channels), device=images.device)
    shift = colours.matrices[:, :, -1] + (colours.of_mean * grey)[:, None]
    flat = images.reshape(len(images), channels, -1)
    return torch.baddbmm(shift[:, :, None], mixing, flat).clamp_(0, 255).view(images.shape)


def change_hue(images: Tensor, draws: Tensor, jitter: Jitter) -> Tensor:
    """The draws' turns of the hues of (B, C, H, W) in 0..255; grey has none."""
    if not jitter.hue or images.shape[1] == 1:
        return images
    return turn_hue(images, jitter.hue * (draws[:, 3] * 2 - 1))


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


def weights_of_grey(channels: int) -> tuple[float, ...]:
    """What each channel adds to grey."""
    return _LUMA if channels == 3 else (1.0,)


def _light(draws: Tensor, deviation: float) -> Tensor:
    """AlexNet's shift of all pixels of a picture, (B, 3), in grey levels."""
    # The inverse of the normal distribution; a draw of exactly 0 would be infinitely far away.
    normal = math.sqrt(2) * torch.erfinv((draws[:, 4:7] * 2 - 1).clamp(-1 + 1e-6, 1 - 1e-6))
    lengths = torch.tensor(_LENGTHS, device=draws.device)
    directions = torch.tensor(_DIRECTIONS, device=draws.device)
    return 255 * deviation * (normal * lengths) @ directions.T


def _along(values: Tensor, num_dims: int = 4) -> Tensor:
    """(B,) shaped to be multiplied with a batch of `num_dims` dimensions."""
    return values.view(-1, *[1] * (num_dims - 1))
