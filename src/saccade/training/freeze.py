"""Which parameters learn. Frozen is frozen in every sense: no gradient, no statistics that move, no dropout.

all                 everything
head                the head alone
block5_conv3        that stage and the head (the head always learns)
layer4              layer4_0, layer4_1 ...; also written layer4.* or "layer4_*", and layer4.1 for layer4_1
last-2              the last two stages that have parameters, and the head
last-quarter        the last quarter of them, rounded up
stem,layer4.1       several of these
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from saccade.errors import RecipeError

_LAST = re.compile(r"last-(\d+)")


class Freezable(Protocol):
    """What freezing needs of a network; every `models.network.Network` has it.

    Attributes:
        stages: named blocks in order.
        head: what follows them.
        auxiliary: classifiers hung behind a stage, by its name.
        frozen_stages: names of stages that `train()` leaves in inference mode.
        keep_statistics: whether `train()` leaves BatchNorm in inference mode in the other stages too.
        training: the mode it is in.
    """

    stages: nn.Sequential
    head: nn.Module
    auxiliary: nn.ModuleDict
    frozen_stages: Collection[str]
    keep_statistics: bool
    training: bool

    def train(self, mode: bool = True) -> nn.Module:
        """Switch to training mode."""


@dataclass(frozen=True)
class FreezeReport:
    """What learns and what does not.

    Attributes:
        frozen: names of the stages with parameters that do not learn, in order.
        learning: names of those that do; the head is not among them, it always does.
        num_frozen: parameters.
        num_learning: parameters, the head's included.
        batch_norm: whether there is BatchNorm in what is frozen.
        keeps_statistics: whether there is BatchNorm in what learns that keeps its means and deviations.
    """

    frozen: tuple[str, ...]
    learning: tuple[str, ...]
    num_frozen: int
    num_learning: int
    batch_norm: bool
    keeps_statistics: bool = False

    def in_words(self) -> str:
        """`frozen: stem to layer3_1, 2.8 M parameters, ...; learns: layer4_0, layer4_1 and head, 8.4 M`."""
        kept = ", BatchNorm with the statistics it has" if self.keeps_statistics else ""
        learns = f"learns: {_range([*self.learning, 'head'])}, {_count(self.num_learning)}{kept}"
        if not self.frozen:
            return f"frozen: nothing; {learns}"
        norm = ", BatchNorm in inference mode" if self.batch_norm else ""
        return f"frozen: {_range(self.frozen)}, {_count(self.num_frozen)} parameters{norm}; {learns}"

    def learning_in_words(self) -> str:
        """The stages that learn, without the head: `layer4_0 and layer4_1`."""
        return _range(self.learning)


def freeze(network: Freezable, train: str, *, keep_statistics: bool = False) -> FreezeReport:
    """Let the chosen stages and the head learn and freeze the others, in place; may be called again.

    A stage without parameters is frozen when no stage before it learns. An auxiliary classifier goes with the stage
    that it hangs behind.

    Args:
        network: its parameters' `requires_grad` and its `frozen_stages` are set.
        train: what learns, in the words above.
        keep_statistics: BatchNorm of the stages that learn keeps its means and deviations, and only its scales learn:
            those of a few batches of few pictures are worse than what it was pretrained with.

    Raises:
        RecipeError: a name or pattern fits no stage with parameters; the nearest stages are named.
    """
    stages = dict(network.stages.named_children())
    chosen = choose_stages(stages, train)
    first = min((number for number, name in enumerate(stages) if name in chosen), default=len(stages))
    frozen = [
        name
        for number, (name, stage) in enumerate(stages.items())
        if name not in chosen and (number < first or has_parameters(stage))
    ]
    for name, stage in stages.items():
        stage.requires_grad_(name not in frozen)
        if name in network.auxiliary:
            network.auxiliary[name].requires_grad_(name not in frozen)
    network.head.requires_grad_(True)
    network.frozen_stages = frozenset(frozen)
    network.keep_statistics = keep_statistics
    network.train(network.training)
    return _report(network, frozen)


def choose_stages(stages: dict[str, nn.Module], train: str) -> list[str]:
    """The names of the stages with parameters that `train` asks for, in their order.

    Raises:
        RecipeError: a part of it fits none; the nearest are named.
    """
    names = [name for name, stage in stages.items() if has_parameters(stage)]
    chosen: set[str] = set()
    for pattern in train.split(","):
        chosen.update(_fitting(pattern.strip(), names))
    return [name for name in names if name in chosen]


def stages_called(pattern: str, names: Sequence[str]) -> list[str]:
    """Those that a name or pattern means: `layer4` is layer4_0, layer4_1 ...; `layer4.1` is layer4_1."""
    flat = pattern.replace(".", "_")
    return [name for name in names if fnmatchcase(name, flat) or (flat and name.startswith(f"{flat}_"))]


def _fitting(pattern: str, names: Sequence[str]) -> Iterable[str]:
    if pattern in ("all", "head"):
        return names if pattern == "all" else ()
    if pattern == "last-quarter":
        return names[-max(1, -(-len(names) // 4)) :]
    last = _LAST.fullmatch(pattern)
    if last and 1 <= int(last[1]) <= len(names):
        return names[-int(last[1]) :]
    found = stages_called(pattern, names)
    if found:
        return found
    near = difflib.get_close_matches(pattern.replace(".", "_"), names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise RecipeError(
        f"no stage with parameters is called {pattern!r}",
        where="train",
        remedy=f"{hint}Use all, head, last-1 to last-{len(names)}, or stages: {_range(names)}",
    )


def _report(network: Freezable, frozen: Collection[str]) -> FreezeReport:
    named = [(name, stage) for name, stage in network.stages.named_children() if has_parameters(stage)]
    everything = [*network.stages.parameters(), *network.auxiliary.parameters(), *network.head.parameters()]
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in everything]
    return FreezeReport(
        frozen=tuple(name for name, _ in named if name in frozen),
        learning=tuple(name for name, _ in named if name not in frozen),
        num_frozen=sum(size for size, learns in sizes if not learns),
        num_learning=sum(size for size, learns in sizes if learns),
        batch_norm=any(_has_batch_norm(stage) for name, stage in named if name in frozen),
        keeps_statistics=network.keep_statistics
        and any(_has_batch_norm(stage) for name, stage in named if name not in frozen),
    )


def _has_batch_norm(stage: nn.Module) -> bool:
    return any(isinstance(layer, _BatchNorm) for layer in stage.modules())


def has_parameters(stage: nn.Module) -> bool:
    """Whether there is anything in it that could learn."""
    return any(True for _ in stage.parameters())


def _range(names: Sequence[str]) -> str:
    """`stem to layer3_1`, or the names where they are few; the last one after `and`."""
    if len(names) > 3:
        *rest, last = names
        return f"{rest[0]} to {rest[-1]} and {last}" if last == "head" else f"{names[0]} to {last}"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _count(num: int) -> str:
    return f"{num / 1e6:.1f} M" if num >= 1e6 else f"{num:,}"
