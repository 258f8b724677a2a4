"""A trained network made fast for prediction, whose answer to a picture does not depend on the pictures beside it.

Kernels add in another order for another number of pictures: lenet5 gives a picture other last bits alone than among
four. So every batch has the same number of pictures here, the last one is filled up, and `predict`, the Python API and
the server, which all compute through this file, give the same picture the same bits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.modules.batchnorm import _BatchNorm

from saccade.data.augment import enlarge
from saccade.data.cache import cache_folder
from saccade.engine import threads_for
from saccade.errors import ResourceError
from saccade.evaluation.looks import SeveralLooks
from saccade.models.costs import cost_of
from saccade.models.network import Network, side_of
from saccade.modes import Asked, Mode, Notes, choose_mode, computing_in
from saccade.recipe import Compile, Looks, Precision
from saccade.use.packed import can_pack, packed
from saccade.use.squares import Pixels

# Multiply-adds of a batch on a CPU: enough to be as fast as it gets, and few enough that one picture, for which a
# whole batch is computed too, is not waited for.
_WORK = 16e9
_SMALLEST, _LARGEST = 4, 64
_TIMED = 3600.0  # batches, where compiling is weighed and nobody said how many there will be


class Speed(NamedTuple):
    """What may be given up for speed.

    Attributes:
        precision: float32, tf32 (on a GPU), bfloat16, or auto: the fastest within 3 % of float32, timed once.
        compile: off, on, or auto: where it pays within the hour. What is compiled differs in the last digits.
        num_pictures: roughly, for auto; 0 where that is not known.
    """

    precision: Precision = "float32"
    compile: Compile = "off"
    num_pictures: int = 0


USUAL = Speed()


class FastNetwork:
    """A network for prediction: BatchNorm folded into the convolutions before it, channels last, batches of one size.

    Args:
        network: in inference mode, on its device; it is not changed.
        speed: what may be given up.

    Attributes:
        batch: pictures that are computed at once.
        mode: how layers compute.

    Raises:
        RecipeError: tf32 was asked for elsewhere than on an NVIDIA GPU.
        ResourceError: the network cannot be compiled here.
    """

    def __init__(self, network: Network, speed: Speed = USUAL) -> None:
        self._device = network.normalise.mean.device
        self._multiply_adds = cost_of(network)
        self._side = side_of(network.spec)
        self.batch = batch_size(self._multiply_adds, self._device)
        self.mode = self._choose(network, speed)
        self._forward = self._made(network, self.mode)
        if self.mode.compiled:
            self._compile_now(network)

    @torch.no_grad()
    def logits(self, squares: Sequence[Pixels], looks: Looks = "none") -> Tensor:
        """Squares uint8 (side, side, C), N of them, as they were prepared -> logits (N, K), float32, on the CPU."""
        seeing = SeveralLooks(self, looks)
        with threads_for(self._multiply_adds * self.batch), computing_in(self.mode, self._device):
            found = [seeing(images)[:num].cpu() for images, num in self._batches(squares)]
        return torch.cat(found)

    def __call__(self, images: Tensor) -> Tensor:
        """Images (batch, C, H, W) at the network's size -> logits (batch, K), float32."""
        return self._forward(images.contiguous(memory_format=self.mode.memory_format)).float()

    def eval(self) -> FastNetwork:
        """It always is in inference mode."""
        return self

    def _batches(self, squares: Sequence[Pixels]) -> Iterator[tuple[Tensor, int]]:
        """Whole batches at the network's size, and how many of their pictures count."""
        for start in range(0, len(squares), self.batch):
            some = squares[start : start + self.batch]
            rows = np.zeros((self.batch, *some[0].shape), dtype=np.uint8)
            np.stack(some, out=rows[: len(some)])
            images = torch.from_numpy(rows).to(self._device).permute(0, 3, 1, 2)
            yield enlarge(images, self._side), len(some)

    def _choose(self, network: Network, speed: Speed) -> Mode:
        asked = Asked(speed.precision, "channels_last", speed.compile)
        spec = network.spec
        work = f"{self.batch} of {self._side} on {self._device.type}"
        key = f"predicting, packed, {spec.model}, {spec.num_classes} classes, {work}"
        num_batches = speed.num_pictures / self.batch if speed.num_pictures else _TIMED
        notes = Notes(cache_folder() / "engine.json", key)
        return choose_mode(asked, partial(self._trial, network), notes, self._device, num_batches)

    def _trial(self, network: Network, mode: Mode) -> Callable[[], Tensor]:
        images, forward = self._noise(network, mode), self._made(network, mode)

        @torch.no_grad()
        def work() -> Tensor:
            with computing_in(mode, self._device):
                return forward(images)

        return work

    def _made(self, network: Network, mode: Mode) -> Callable[[Tensor], Tensor]:
        """What computes in a mode."""
        if not mode.compiled and can_pack(self._device):
            with threads_for(self._multiply_adds * self.batch), computing_in(mode, self._device):
                found = packed(folded_copy(network), self._noise(network, mode), mode.dtype)
            if found is not None:
                return found
        # Copied once more, for here parameters move, and those that were not folded are still the network's own.
        plain = copy.deepcopy(folded_copy(network)).to(memory_format=mode.memory_format)
        # Frozen: weights become constants, laid out once as the kernels like them.
        return torch.compile(plain, dynamic=False, options={"freezing": True}) if mode.compiled else plain

    def _noise(self, network: Network, mode: Mode) -> Tensor:
        """A batch to try things on."""
        shape = (self.batch, network.spec.in_channels, self._side, self._side)
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(self._device)
        return images.contiguous(memory_format=mode.memory_format)

    @torch.no_grad()
    def _compile_now(self, network: Network) -> None:
        """Before anybody waits for an answer, and under an error that says what it is."""
        try:
            with computing_in(self.mode, self._device):
                self(self._noise(network, self.mode))
        except RuntimeError as error:
            raise ResourceError(
                f"the network cannot be compiled here: {str(error).strip().splitlines()[0][:200]}",
                where="--compile on",
                remedy="leave out --compile, or install a C++ compiler",
            ) from error


def batch_size(multiply_adds: int, device: torch.device) -> int:
    """Pictures computed at once: a rule, and no measurement, so that it is the same wherever the network is used.

    Args:
        multiply_adds: of one picture, forward.
        device: on a GPU it is always 64.
    """
    if device.type != "cpu":
        return _LARGEST
    size = _LARGEST
    while size > _SMALLEST and size * multiply_adds > _WORK:
        size //= 2
    return size


def folded_copy(network: Network) -> Network:
    """A copy with BatchNorm folded into the convolution before it, stage by stage, where torch can tell which it is.

    Parameters that nothing is folded into are the network's own, not copies: they must not be changed.
    """
    own = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    folded = copy.deepcopy(network, dict(own)).eval()
    for name, stage in list(folded.stages.named_children()):
        if list(stage.children()) and any(isinstance(module, _BatchNorm | nn.ReLU) for module in stage.modules()):
            setattr(folded.stages, name, _fused(stage))
    return folded


@torch.no_grad()
def _fused(stage: nn.Module) -> nn.Module:
    """The stage as a graph of its layers, in which packed.py finds what can be joined."""
    try:
        return fuse(stage, inplace=True)  # it is traced into a module of its own either way
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError, NotImplementedError):
        return stage  # its forward branches on what it sees; nothing is lost but some speed
