"""Give a network the tensors of a file: match by name and shape, refuse what does not belong, say what was done.

- Stages take all or nothing: a tensor missing, left over or of another shape there means another architecture.
- The head is replaced as a whole where it does not fit: it is what one's own classes train.
- Auxiliary classifiers take every tensor that fits; a file without them leaves them at random weights.
- The pixels are normalised as the weights expect from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from saccade.errors import WeightsError
from saccade.models.network import Network
from saccade.models.recognise import recognise_in_words
from saccade.models.tensor_files import Outline, StoredTensors

_NAMES_SHOWN = 4


class PixelScale(NamedTuple):
    """Mean and deviation per channel in 0..255, RGB or grey, and whose they are, in words."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    words: str


class Naming(NamedTuple):
    """How a file names things.

    Attributes:
        their_name: our parameter's name -> the file's.
        head: what the names of the file's head begin with.
    """

    their_name: Callable[[str], str]
    head: tuple[str, ...]


class Origin(NamedTuple):
    """Where weights come from: in words, the pixels they expect, what to say about them (licence, assumptions).

    `pixels` is None where the file carries `normalise.mean` and `normalise.std` itself.
    """

    source: str
    pixels: PixelScale | None
    notes: tuple[str, ...] = ()


OWN_NAMING = Naming(lambda name: name, ("head.",))


@dataclass(frozen=True)
class LoadReport:
    """What a network was given.

    Attributes:
        source: where the weights come from, in words.
        num_loaded: tensors taken over.
        new_head: the head kept its random weights.
        missing: names of the head and the auxiliary classifiers that the file does not have.
        left_over: names of the file's head and auxiliary classifiers that found no place.
        reshaped: names in both whose shapes differ, with both shapes.
        normalisation: what the pixels are normalised with now, in words.
        notes: licence and assumptions, to be said on the screen.
    """

    source: str
    num_loaded: int
    new_head: bool
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    normalisation: str = ""
    notes: tuple[str, ...] = ()

    def in_words(self) -> list[str]:
        """A line for each thing a reader should know; nothing for random weights."""
        if not self.num_loaded:
            return []
        lines = [f"weights: {self.num_loaded} tensors of {self.source}"]
        if self.new_head:
            lines.append("the head is new and starts from random weights")
        for what, names in (("missing", self.missing), ("left over", self.left_over), ("reshaped", self.reshaped)):
            if names:
                lines.append(f"{what} in the file: {shorten(names)}")
        return [*lines, f"pixels: {self.normalisation}", *self.notes]


class _Match(NamedTuple):
    """Our names that fit, and those of both sides that do not, by part of the network."""

    fitting: dict[str, str]
    missing: dict[str, str]
    reshaped: dict[str, str]
    left_over: tuple[str, ...]


def fit_tensors(network: Network, found: StoredTensors, naming: Naming, origin: Origin) -> LoadReport:
    """Copy a file's tensors into a network, in the network's own dtype and on its device.

    Nothing is changed unless everything fits.

    Raises:
        WeightsError: tensors of the stages are missing, left over, of another shape or not finite.
    """
    match = _match(network, found, naming)
    _refuse_misfits(network, found, naming, match)
    state = network.state_dict()
    values = {ours: _read(found, theirs, state[ours].shape) for ours, theirs in match.fitting.items()}
    notes = [*_about_colours(network, found, match), *origin.notes]
    new_head = not _head_fits(network, naming, match)
    if not new_head and not all(_is_finite(value) for name, value in values.items() if name.startswith("head.")):
        # torchvision's VGG16 IMAGENET1K_FEATURES fills the head it does not have with NaN.
        new_head = True
        notes.insert(0, "the head in the file holds no finite numbers")
    if new_head:
        values = {name: value for name, value in values.items() if not name.startswith("head.")}
    _refuse_non_finite(values, found)
    pixels = origin.pixels or _stored_pixels(found)
    with torch.no_grad():
        for name, value in values.items():
            state[name].copy_(value)
    return LoadReport(
        source=origin.source,
        num_loaded=len(values),
        new_head=new_head,
        missing=tuple(match.missing.values()),
        left_over=match.left_over,
        reshaped=tuple(match.reshaped.values()),
        normalisation=_normalise(network, pixels),
        notes=tuple(notes),
    )


def _match(network: Network, found: StoredTensors, naming: Naming) -> _Match:
    fitting, missing, reshaped = {}, {}, {}
    wanted = {name: value for name, value in network.state_dict().items() if not name.startswith("normalise.")}
    first = _first_convolution(network)
    for ours, value in wanted.items():
        theirs = naming.their_name(ours)
        outline = found.outline.get(theirs)
        both = ours if ours == theirs else f"{ours} ({theirs})"
        if outline is None:
            # Files from before 2018 do not have it, and nothing but a momentum of None looks at it.
            if not ours.endswith(".num_batches_tracked"):
                missing[ours] = both
        elif _fits(outline, value) or (ours == first and outline == _coloured(value)):
            fitting[ours] = theirs
        else:
            kind = "" if outline.is_float or not value.is_floating_point() else ", not of a float type,"
            reshaped[ours] = f"{both} {outline.shape}{kind} instead of {tuple(value.shape)}"
    known = {naming.their_name(ours) for ours in wanted} | {"normalise.mean", "normalise.std"}
    return _Match(fitting, missing, reshaped, tuple(name for name in found.outline if name not in known))


def _fits(outline: Outline, value: Tensor) -> bool:
    return outline.shape == tuple(value.shape) and (outline.is_float or not value.is_floating_point())


def _first_convolution(network: Network) -> str:
    return next((f"stages.{name}" for name, value in network.stages.named_parameters() if value.ndim == 4), "")


def _coloured(value: Tensor) -> Outline | None:
    """The outline of the same first convolution for three colours, when this one is for grey."""
    if value.ndim != 4 or value.shape[1] != 1:
        return None
    return Outline((value.shape[0], 3, *value.shape[2:]), is_float=True)


def _about_colours(network: Network, found: StoredTensors, match: _Match) -> list[str]:
    first = _first_convolution(network)
    theirs = match.fitting.get(first)
    if theirs is None or found.outline[theirs].shape[1] == network.spec.in_channels:
        return []
    return [f"grey pictures: {first} is the sum of {theirs} over the three colours"]


def _read(found: StoredTensors, theirs: str, shape: torch.Size) -> Tensor:
    try:
        value = found.read(theirs)
    except Exception as error:  # of safetensors, torch or HDF5: the bytes are not what the header promised
        raise WeightsError(f"{theirs} cannot be read: {error}", where=found.where) from None
    return value if value.shape == shape else value.float().sum(dim=1, keepdim=True)


def _head_fits(network: Network, naming: Naming, match: _Match) -> bool:
    # Of a file with more layers in its head, the last could fit by chance.
    if any(name.startswith(naming.head) for name in match.left_over):
        return False
    return all(name in match.fitting for name in network.state_dict() if name.startswith("head."))


def _is_finite(value: Tensor) -> bool:
    wide = value.float() if value.is_floating_point() and value.element_size() == 1 else value
    return bool(torch.isfinite(wide).all())


def _refuse_non_finite(values: Mapping[str, Tensor], found: StoredTensors) -> None:
    broken = [name for name, value in values.items() if not _is_finite(value)]
    if broken:
        raise WeightsError(
            f"{len(broken)} tensors hold infinite numbers or none at all: {shorten(broken)}",
            where=found.where,
            remedy="take weights of a training that did not diverge",
        )


def _refuse_misfits(network: Network, found: StoredTensors, naming: Naming, match: _Match) -> None:
    auxiliary = tuple({naming.their_name(f"auxiliary.{stage}.x").removesuffix("x") for stage in network.auxiliary})
    elsewhere = (*naming.head, *auxiliary)
    misfits = {
        "missing": [text for name, text in match.missing.items() if name.startswith("stages.")],
        "left over": [name for name in match.left_over if not name.startswith(elsewhere)],
        "of another shape": [text for name, text in match.reshaped.items() if name.startswith("stages.")],
    }
    parts = [f"{len(names)} {what}: {shorten(names)}" for what, names in misfits.items() if names]
    if not parts:
        return
    spec = network.spec
    looks_like = found.looks_like or recognise_in_words(found)
    identity = f"file: {looks_like}; now: {spec.model}, {spec.num_classes} classes; " if looks_like else ""
    raise WeightsError(
        f"these weights do not belong to {spec.model}: {identity}{'; '.join(parts)}",
        where=found.where,
        remedy=f"use --model {looks_like.split(',')[0]}" if looks_like else "choose the --model they were made for",
    )


def _stored_pixels(found: StoredTensors) -> PixelScale:
    names = ("normalise.mean", "normalise.std")
    shapes = [found.outline[name].shape if name in found.outline else None for name in names]
    if shapes not in ([(1, 1, 1)] * 2, [(3, 1, 1)] * 2):
        raise WeightsError(f"{' and '.join(names)} must have shape (3, 1, 1), not {shapes}", where=found.where)
    mean, std = (found.read(name).double().flatten() for name in names)
    _refuse_non_finite(dict(zip(names, (mean, std), strict=True)), found)
    return PixelScale(tuple(mean.tolist()), tuple(std.tolist()), "as the file says")


def _normalise(network: Network, pixels: PixelScale) -> str:
    """Set the network's normalisation; for grey pictures, the average over the colours."""
    mean, std = pixels.mean, pixels.std
    if len(mean) != network.spec.in_channels:
        mean, std = (_average(mean, network.spec.in_channels), _average(std, network.spec.in_channels))
    network.normalise.set(mean, std)
    shown = (" ".join(f"{value:.4g}" for value in values) for values in (mean, network.normalise.std.flatten()))
    return "mean {}, deviation {} of 0..255, {}".format(*shown, pixels.words)


def _average(values: tuple[float, ...], num: int) -> tuple[float, ...]:
    return (sum(values) / len(values),) * num


def shorten(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" … and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
