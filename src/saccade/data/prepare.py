"""From the bytes of a file to the square of pixels that a network was trained on: the one way, for all who need it.

Packing, prediction and the server call `prepare`, so the same file gives the same answer in all three.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from saccade.data.decode import Decoded, DecodeRules, decode
from saccade.data.square import fit_square, square_of

if TYPE_CHECKING:  # a child that decodes has no use for recipes, and is ready sooner without
    from saccade.recipe import Fit

# A JPEG is reduced while decoding as long as both sides keep twice the pixels that are stored, and as many as a look
# is taken from: up to 256 pixels the network's size then makes no difference to what is decoded, nor to the looks.
LOOK_LEAST_SIDE = 512
_LEAST_SHARE = 2


@dataclass(frozen=True)
class PackSettings:
    """What decides how pictures are packed.

    Attributes:
        image_size: the side the network sees; pictures are stored at most this large.
        grey: whether the network asks for one channel; it gets one when every picture is grey.
        fit: squash, crop or pad.
        rules: of the decoder.
    """

    image_size: int
    grey: bool
    fit: Fit
    rules: DecodeRules


@dataclass(frozen=True)
class Preparation:
    """How a file becomes pixels. It is stored with every pack and every network trained from one.

    Attributes:
        side: of the stored square in pixels; at most the network's own, larger squares are made from it on the device.
        channels: 1 for grey, 3 for RGB.
        fit: squash, crop or pad.
        rules: of the decoder.
    """

    side: int
    channels: int
    fit: Fit
    rules: DecodeRules

    def to_json(self) -> dict[str, Any]:
        """As plain values for pack.json and the weights' metadata."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Preparation:
        """The opposite of `to_json`."""
        # What was trained before JPEGs were reduced while decoding goes on seeing them decoded in full.
        rules: dict[str, Any] = {"draft": False} | dict(
            values["rules"], background=tuple(values["rules"]["background"])
        )
        return cls(values["side"], values["channels"], values["fit"], DecodeRules(**rules))


class Prepared(NamedTuple):
    """Pixels uint8 (side, side, channels), and the whole picture they were made from."""

    pixels: npt.NDArray[np.uint8]
    decoded: Decoded

    @property
    def original_size(self) -> tuple[int, int]:
        """Width and height of the picture before."""
        return self.decoded.original_size

    @property
    def grey(self) -> bool:
        """Whether the picture has one channel."""
        return self.decoded.image.mode == "L"

    @property
    def codes(self) -> tuple[str, ...]:
        """What was noted while decoding."""
        return self.decoded.codes


def prepare(data: bytes, name: str, preparation: Preparation) -> Prepared:
    """Decode a file and make it the square that the network expects.

    Raises:
        PictureError: with a reason code, when the file cannot be used.
    """
    decoded = decode(data, name, preparation.rules, max(LOOK_LEAST_SIDE, _LEAST_SHARE * preparation.side))
    square = square_of(decoded.image, preparation.side, preparation.fit, preparation.rules.background)
    mode = "RGB" if preparation.channels == 3 else "L"
    pixels = np.array(square if square.mode == mode else square.convert(mode))
    return Prepared(pixels.reshape(preparation.side, preparation.side, preparation.channels), decoded)


def whole_picture(data: bytes, name: str, found: Prepared, preparation: Preparation) -> Image.Image:
    """The picture that a look is taken from: of mode L or RGB, the same whatever the network's size."""
    image = found.decoded.image
    if min(image.size) < 2 * LOOK_LEAST_SIDE or not preparation.rules.draft or found.decoded.format != "JPEG":
        return image
    return decode(data, name, preparation.rules, LOOK_LEAST_SIDE).image


def prepare_pixels(pixels: npt.NDArray[np.uint8], preparation: Preparation) -> npt.NDArray[np.uint8]:
    """The same for a picture that is decoded already: uint8 (H, W, C), C = 1 or 3."""
    square = fit_square(pixels, preparation.side, preparation.fit, preparation.rules.background)
    return with_channels(square, preparation.channels)


def with_channels(pixels: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """Grey (H, W, 1) repeated three times, or RGB (H, W, 3) reduced to its luma (ITU-R 601)."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
