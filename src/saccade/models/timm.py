"""`timm/NAME`: every classification model of timm (https://github.com/huggingface/pytorch-image-models), one surface.

NAME is timm's, with or without the tag of its weights: timm/resnet26, timm/convnext_tiny.fb_in22k. The model is built
by timm itself, with random weights and without a network connection, and taken apart by `timm_stages`. The pixels it
expects, its size and its crop come from timm's own configuration of the weights with that tag.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from saccade.errors import ModelError, RecipeError
from saccade.models.heads import make_head
from saccade.models.network import Network, NetworkSpec, feature_shape, side_of
from saccade.models.timm_stages import take_apart, unpack

PREFIX = "timm/"
# What timm and torch raise when a model cannot be built or cannot see a picture of some size.
_REFUSALS = (RuntimeError, AssertionError, ValueError, TypeError, IndexError, KeyError, ZeroDivisionError)


class TimmFacts(NamedTuple):
    """What timm says about a model and the weights of its tag.

    Attributes:
        name: timm's, as asked for.
        image_size: side of the pictures in pixels it was made for.
        num_classes: of the published weights; 1000 where they have no classifier.
        mean: of the pixels, per channel, in 0..255.
        std: likewise.
        crop_share: share of the picture's shorter side that the published accuracy saw.
        crop_mode: center, border or squash, as timm calls it.
        interpolation: bicubic, bilinear ... likewise.
        has_classifier: whether the published weights have one.
        fixed_size: another size needs another network.
        licence: of the weights, as timm writes it; "" where it says nothing.
        repository: of the weights at Hugging Face; "" where there are none.
        idea: the first line of what timm says about it.
        source: the paper of its file, by link.
        year: of that paper; 0 where unknown.
    """

    name: str
    image_size: int
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_share: float
    crop_mode: str
    interpolation: str
    has_classifier: bool
    fixed_size: bool
    licence: str
    repository: str
    idea: str
    source: str
    year: int

    def to_json(self) -> dict[str, Any]:
        """As plain values, under the name that `--model` takes."""
        return {**self._asdict(), "name": PREFIX + self.name}


class TimmNetwork(Network):
    """A network whose layers are timm's.

    Attributes:
        grouping: how its stages came about: stages, stem+stages or body (see timm_stages).
        timm_names: our parameter's or buffer's name -> timm's, for all that timm has.
        head_names: what timm calls the modules of its head.
    """

    def __init__(self, spec: NetworkSpec, stages: nn.Sequential, head: nn.Module, facts: TimmFacts) -> None:
        super().__init__(spec, stages, head)
        self.grouping = ""
        self.timm_names: Mapping[str, str] = {}
        self.head_names: tuple[str, ...] = ()
        mean, std = facts.mean, facts.std
        if spec.in_channels != len(mean):
            mean, std = ((sum(values) / len(values),) * spec.in_channels for values in (mean, std))
        self.normalise.set(mean, std)


class TimmHead(nn.Module):
    """timm's `forward_head`.

    Args:
        model: timm's, with what the head needs.
        packed: shapes of the tensors that `Body` flattened into one.
        pooled: stop before the classifier: features -> (N, D).
    """

    def __init__(self, model: nn.Module, packed: tuple[tuple[int, ...], ...], *, pooled: bool) -> None:
        super().__init__()
        self.model = model
        self._packed = packed
        self._pooled = pooled

    def forward(self, features: Tensor) -> Tensor:
        """Features to logits (N, K), or to pooled features (N, D)."""
        inputs = unpack(features, self._packed) if self._packed else features
        result: Tensor = self.model.forward_head(inputs, **({"pre_logits": True} if self._pooled else {}))  # type: ignore[operator]
        return result


def timm_names() -> list[str]:
    """The names of all models of timm that are not deprecated, with `timm/` before them."""
    return [PREFIX + name for name in _timm().list_models()]


@cache
def timm_facts(model: str) -> TimmFacts:
    """What timm says about `timm/NAME`.

    Raises:
        RecipeError: timm has no such model, or no weights of that tag; the nearest names are given.
    """
    name = model.removeprefix(PREFIX)
    base, _, tag = name.partition(".")
    timm = _timm()
    # Nothing but timm's own names: `hf-hub:...` would build what a stranger wrote.
    if re.fullmatch(r"\w+", base) is None or not timm.is_model(base):
        raise _unknown(name, timm.list_models())
    tagged = list(timm.models.get_arch_pretrained_cfgs(base))
    if tag and name not in tagged:
        raise _unknown(name, tagged)
    config = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    entrypoint = timm.model_entrypoint(base)
    paper = re.search(r"arxiv\.org/(?:abs|pdf)/((\d\d)\d\d\.\d{4,5})", sys.modules[entrypoint.__module__].__doc__ or "")
    return TimmFacts(
        name=name,
        image_size=config.input_size[1],
        num_classes=config.num_classes or 1000,
        mean=tuple(255 * value for value in config.mean),
        std=tuple(255 * value for value in config.std),
        crop_share=config.crop_pct,
        crop_mode=config.crop_mode,
        interpolation=config.interpolation,
        has_classifier=bool(config.num_classes),
        fixed_size=config.fixed_input_size,
        licence=config.license or "",
        repository=config.hf_hub_id or "",
        idea=(inspect.getdoc(entrypoint) or base).strip().split("\n")[0],
        source=f"https://arxiv.org/abs/{paper[1]}" if paper else "https://github.com/huggingface/pytorch-image-models",
        year=2000 + int(paper[2]) if paper else 0,
    )


@cache
def timm_parameters(model: str) -> int:
    """How many parameters it has with the classes of its published weights; it is built without its numbers."""
    facts = timm_facts(model)
    with torch.device("meta"):
        built = create(NetworkSpec(model, facts.num_classes, facts.image_size))
    return sum(parameter.numel() for parameter in built.parameters())


def timm_network(spec: NetworkSpec) -> TimmNetwork:
    """Build `timm/NAME` for a spec whose image_size is filled in.

    Raises:
        RecipeError: timm has no such model, or the head cannot be read.
        ModelError: timm cannot build it for pictures of this size or colour.
    """
    facts = timm_facts(spec.model)
    model = create(replace(spec, num_classes=0) if spec.head else spec)
    names = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
    if len(names) < len(model.state_dict()):
        raise ModelError(f"{spec.model} shares weights between layers, which a file of weights cannot hold")
    # A network that takes any size is taken apart at its own, so that a size too small is said by feature_shape.
    side = side_of(spec) if facts.fixed_size else facts.image_size
    device = next(model.parameters()).device
    try:
        parts = take_apart(model, torch.zeros(1, spec.in_channels, side, side, device=device))
        shape = feature_shape(parts.stages, spec)
    except _REFUSALS as error:
        raise _cannot(spec, facts, error) from None
    own_head = TimmHead(parts.head_model, parts.packed, pooled=bool(spec.head))
    head = _new_head(spec, own_head, parts.stages, shape) if spec.head else own_head
    network = TimmNetwork(spec, parts.stages, head, facts)
    network.grouping = parts.grouping
    state = network.state_dict(keep_vars=True)
    network.timm_names = {ours: names[id(tensor)] for ours, tensor in state.items() if id(tensor) in names}
    network.head_names = tuple(f"{name}." for name, _ in parts.head_model.named_children())
    return network


def create(spec: NetworkSpec, weights_file: str | None = None) -> nn.Module:
    """timm's own model for a spec, with random weights or with those of a file, which timm fits to the model.

    All its buffers are kept in its state dict, and none shares memory with another: a saved network must not need
    timm to compute them again.

    Raises:
        ModelError: timm cannot build it for pictures of this size or colour.
    """
    facts, side = timm_facts(spec.model), side_of(spec)
    options: dict[str, Any] = {"num_classes": spec.num_classes, "in_chans": spec.in_channels}
    if facts.fixed_size and side != facts.image_size:
        options["img_size"] = side
    if weights_file:
        overlay = {"file": weights_file, "custom_load": False, "hf_hub_id": None, "url": None}
        options |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names and functions of timm's own
            model = _create(facts.name, options)
    except _REFUSALS as error:
        raise _cannot(spec, facts, error) from None
    for module in model.modules():
        for name in list(module._non_persistent_buffers_set):
            buffer = module._buffers[name]
            module.register_buffer(name, buffer if buffer is None else buffer.clone())
    return model


def _create(name: str, options: dict[str, Any]) -> nn.Module:
    build = partial(_timm().create_model, name, **options)
    try:
        model: nn.Module = build()
    except RuntimeError:
        if not torch.empty(0).is_meta:
            raise
        # timm 1.0.20 reads numbers out of tensors while it builds, which needs tensors that have some.
        with torch.device("cpu"):
            model = build()
        model.to("meta")
    return model


def _new_head(spec: NetworkSpec, pooled: TimmHead, stages: nn.Sequential, shape: tuple[int, ...]) -> nn.Module:
    """A head of `heads.make_head`: on the feature map where there is one (D, h, w), else on what timm pools it to."""
    num_features = getattr(pooled.model, "num_features", None)
    if len(shape) == 3 and shape[0] == num_features and getattr(pooled.model, "output_fmt", "NCHW") == "NCHW":
        return make_head(spec.head or "gap", shape, spec.num_classes)
    vector = feature_shape(nn.Sequential(stages, pooled), spec)
    layers = make_head(spec.head or "gap", vector, spec.num_classes)
    return nn.Sequential(OrderedDict([("timm", pooled), *layers.named_children()]))


def _cannot(spec: NetworkSpec, facts: TimmFacts, error: Exception) -> ModelError:
    if isinstance(error, ModelError):
        return error
    why = f": {str(error).splitlines()[0]}" if str(error) else ""
    return ModelError(
        f"{spec.model} cannot be built for {spec.in_channels}×{spec.image_size}×{spec.image_size} pictures and "
        f"{spec.num_classes} classes{why}",
        remedy=f"leave out --image-size: it is made for {facts.image_size} pixels",
    )


def _unknown(name: str, known: list[str]) -> RecipeError:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(PREFIX + each for each in near)}? " if near else ""
    return RecipeError(
        f"timm has no model called {name!r}",
        where="model",
        remedy=f"{hint}`saccade models --timm --filter NAME` lists them",
    )


def _timm() -> Any:
    """timm itself, on demand: loading it takes 1.4 s (1.0.31, one core), which the classic networks need not pay."""
    return importlib.import_module("timm")
