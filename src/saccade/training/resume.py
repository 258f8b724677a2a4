"""The state of a training, into a checkpoint and back, so that it goes on as if nothing had been.

Order and augmentation are functions of (seed, epoch, index), so the state is small: parameters and buffers, the
optimizer's by the names of the parameters, the average of the weights where there is one, the schedule, the callbacks,
the position with its sums, and the generators that dropout draws from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from saccade.errors import RunError
from saccade.training.checkpoint import Checkpoint, Snapshot
from saccade.training.progress import (
    BatchPlace,
    Progress,
    Sums,
    Training,
    generator_states,
    set_generator_states,
)
from saccade.training.schedule import advance, schedule_state, set_schedule_state

_NETWORK, _OPTIMIZER, _SUMS, _GENERATORS, _AVERAGE = "network", "optimizer", "sums", "generators", "average"


def gather(training: Training) -> Snapshot:
    """Everything that `restore` needs. The tensors are the training's own, not copies."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in training.module.named_parameters()}
    tensors = {f"{_NETWORK}/{name}": tensor for name, tensor in training.module.state_dict().items()}
    others: dict[str, dict[str, Any]] = {}
    for parameter, state in training.optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}/{names[parameter]}/{key}"] = value
            elif value is not None:
                others.setdefault(names[parameter], {})[key] = value
    for name, tensor in generator_states(training.device).items():
        tensors[f"{_GENERATORS}/{name}"] = tensor
    progress = training.progress
    for name in ("loss_sum", "num_correct"):
        if (value := getattr(progress.sums, name)) is not None:
            tensors[f"{_SUMS}/{name}"] = value
    groups = [
        {"parameters": [names[parameter] for parameter in group["params"]]}
        | {key: value for key, value in group.items() if key != "params"}
        for group in training.optimizer.param_groups
    ]
    values = {
        "position": _position_of(progress),
        "optimizer": {"kind": type(training.optimizer).__name__, "groups": groups, "state": others},
        "schedule": schedule_state(training.schedule),
        "callbacks": [[type(each).__name__, each.state()] for each in training.callbacks],
    }
    if training.average is not None:
        tensors |= {f"{_AVERAGE}/{name}": kept for name, kept in training.average.kept.items()}
        values["average"] = {"num_updates": training.average.num_updates}
    return Snapshot(tensors, {key: _to_json(value) for key, value in values.items()})


def restore(training: Training, checkpoint: Checkpoint, *, exact: bool = True) -> None:
    """Bring a training to where a checkpoint was made, in place.

    Args:
        training: freshly made, for the same network.
        checkpoint: its checksums are right.
        exact: the recipe and the pictures are the same. Else the network and what the optimizer and the callbacks know
            are taken over where they fit, the rates are those of the new recipe at this place, and the epoch that was
            interrupted begins anew.

    Raises:
        RunError: it is of another network.
    """
    values = {key: _from_json(value) for key, value in checkpoint.values.items()}
    load_network_state(training.module, checkpoint)
    _set_optimizer(training, checkpoint, values["optimizer"], exact=exact)
    for callback, (name, state) in zip(training.callbacks, values["callbacks"], strict=False):
        if type(callback).__name__ == name:
            callback.set_state(state)
    set_generator_states(checkpoint.tensors_of(_GENERATORS), training.device)
    progress, position = training.progress, values["position"]
    sums = {name: tensor.to(training.device) for name, tensor in checkpoint.tensors_of(_SUMS).items()}
    _set_position(progress, position, sums)
    if training.average is not None:
        known = values.get("average", {"num_updates": 0})
        training.average.set_state(checkpoint.tensors_of(_AVERAGE), known["num_updates"])
    if exact:
        set_schedule_state(training.schedule, values["schedule"])
        return
    progress.begin_epoch_anew()
    progress.not_finite, progress.halved, progress.finished = [], False, False
    advance(training.schedule, (progress.epoch - 1) * training.steps_per_epoch)


def load_network_state(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a network the parameters and buffers of a checkpoint, in place.

    Raises:
        RunError: they are of another network.
    """
    found = checkpoint.tensors_of(_NETWORK)
    wanted = module.state_dict()
    foreign = [name for name in {**found, **wanted} if _shape(found, name) != _shape(wanted, name)]
    if foreign:
        raise RunError(
            f"the checkpoint is of another network: {len(foreign)} tensors differ, among them {foreign[0]} with "
            f"{_shape(found, foreign[0])} there and {_shape(wanted, foreign[0])} now",
            where=str(checkpoint.path),
            remedy="go on with the recipe it was begun with, or begin a new run",
        )
    module.load_state_dict(found)


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return "×".join(map(str, tensors[name].shape)) or "one value" if name in tensors else "nothing"


def _set_optimizer(training: Training, checkpoint: Checkpoint, saved: Mapping[str, Any], *, exact: bool) -> None:
    """By way of torch's own `load_state_dict`, which numbers parameters; here they have names."""
    optimizer = training.optimizer
    names = {parameter: name for name, parameter in training.module.named_parameters()}
    order = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[str, dict[str, Any]] = {name: dict(others) for name, others in saved["state"].items()}
    for name, tensor in checkpoint.tensors_of(_OPTIMIZER).items():
        parameter, _, key = name.rpartition("/")
        state.setdefault(parameter, {})[key] = tensor
    now = optimizer.state_dict()
    groups = now["param_groups"]
    if exact:
        groups = [
            {key: tuple(value) if key == "betas" else value for key, value in group.items() if key != "parameters"}
            | {"params": fresh["params"]}
            for group, fresh in zip(saved["groups"], groups, strict=True)
        ]
    elif saved["kind"] != type(optimizer).__name__:
        state = {}
    numbered = {number: state[name] for number, name in enumerate(order) if name in state}
    optimizer.load_state_dict({"state": numbered, "param_groups": groups})
    for weight, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                # In the weight's order of memory: fused optimizers walk through both side by side.
                values[key] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _position_of(progress: Progress) -> dict[str, Any]:
    return {
        "epoch": progress.epoch,
        "batch": progress.batch,
        "num_pictures": progress.sums.num_pictures,
        "seconds": progress.seconds,
        "seconds_before": progress.seconds_before,
        "finished": progress.finished,
        "not_finite": [list(place) for place in progress.not_finite],
        "num_skipped": progress.num_skipped,
        "halved": progress.halved,
        "pieces": progress.pieces,
    }


def _set_position(progress: Progress, position: Mapping[str, Any], sums: Mapping[str, Tensor]) -> None:
    for name in ("epoch", "batch", "seconds", "seconds_before", "finished", "num_skipped", "halved"):
        setattr(progress, name, position[name])
    progress.pieces = max(progress.pieces, position.get("pieces", 1))
    progress.not_finite = [BatchPlace(*place) for place in position["not_finite"]]
    progress.sums = Sums()
    progress.sums.num_pictures = position["num_pictures"]
    progress.sums.loss_sum, progress.sums.num_correct = sums.get("loss_sum"), sums.get("num_correct")


def _to_json(value: Any) -> Any:
    """JSON has no infinity: it becomes a word. Tuples become lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _to_json(each) for key, each in value.items()}
    return [_to_json(each) for each in value] if isinstance(value, list | tuple) else value


def _from_json(value: Any) -> Any:
    if value in ("inf", "-inf", "nan"):
        return float(value)
    if isinstance(value, dict):
        return {key: _from_json(each) for key, each in value.items()}
    return [_from_json(each) for each in value] if isinstance(value, list) else value
