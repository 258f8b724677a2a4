"""Published weights for `timm/NAME`: out of the Hugging Face cache or downloaded into it, as safetensors only.

timm itself fits a file to the model (renamed parameters, other sizes of positions, grey pictures, an extra background
class), so what a file says goes through timm's own code; then every tensor goes to our name for it
(`TimmNetwork.timm_names`). HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE are respected.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from saccade.errors import ModelError, ResourceError, WeightsError
from saccade.models.fitting import LoadReport, Naming, Origin, PixelScale, fit_tensors
from saccade.models.network import NetworkSpec
from saccade.models.tensor_files import Outline, StoredTensors
from saccade.models.timm import PREFIX, TimmFacts, TimmNetwork, create, timm_facts

FILE_NAME = "model.safetensors"
# What may be used for work as it is; everything else gets a warning.
_FREE_LICENCES = frozenset({"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0"})


def load_timm_weights(network: TimmNetwork, weights: str = "default") -> LoadReport:
    """Give a network of timm's its published weights and the pixels they expect.

    Args:
        network: freshly built; its head keeps its random weights where the file's does not fit.
        weights: `default` for those of the name's tag, another tag of the same model, or a .safetensors file in
            timm's own naming.

    Raises:
        RecipeError: timm publishes no such set for this model.
        ResourceError: the file cannot be had; the message says which file to put where.
        WeightsError: the file is damaged or of another model.
    """
    model = network.spec.model
    if weights.endswith(".safetensors"):
        facts, path = timm_facts(model), Path(weights)
    else:
        facts = timm_facts(model if weights == "default" else f"{model.partition('.')[0]}.{weights}")
        path = fetch(facts)
    state = published_state(replace_model(network.spec, PREFIX + facts.name), path)
    found = StoredTensors(
        where=str(path),
        outline={name: Outline(tuple(value.shape), value.is_floating_point()) for name, value in state.items()},
        read=state.__getitem__,
        metadata={},
        looks_like=f"{PREFIX}{facts.name}, {facts.num_classes} classes",
    )
    naming = Naming(lambda ours: network.timm_names.get(ours, ours), network.head_names)
    pixels = PixelScale(facts.mean, facts.std, f"as timm's {facts.name} expects")
    return fit_tensors(network, found, naming, Origin(f"timm's {facts.name}", pixels, notes_about(facts)))


def replace_model(spec: NetworkSpec, model: str) -> NetworkSpec:
    """The spec of timm's own model that a file is fitted to: same pictures, the classes of the published weights."""
    return replace(spec, model=model, num_classes=timm_facts(model).num_classes, head=None)


def published_state(spec: NetworkSpec, path: Path) -> dict[str, Tensor]:
    """The tensors of a published file, by timm's names, fitted by timm to a model for a spec.

    Raises:
        WeightsError: the file is no whole safetensors file, or not of this model.
    """
    try:
        return dict(create(spec, str(path)).state_dict())
    except (ModelError, SafetensorError, OSError) as error:
        raise WeightsError(
            f"these weights do not belong to {spec.model}: {str(error).splitlines()[0]}",
            where=str(path),
            remedy="take the file that timm publishes for this model",
        ) from None


def fetch(facts: TimmFacts) -> Path:
    """The published file of a model, out of the cache or downloaded into it.

    Raises:
        ResourceError: there is none, or it cannot be had; the message says which file to put where.
    """
    if not facts.repository:
        raise ResourceError(
            f"timm publishes no weights for {facts.name} as safetensors",
            where=PREFIX + facts.name,
            remedy="start from random weights with --weights none, or name a file: --weights FILE.safetensors",
        )
    hub: Any = importlib.import_module("huggingface_hub")
    cached = hub.try_to_load_from_cache(facts.repository, FILE_NAME)
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(hub.hf_hub_download(facts.repository, FILE_NAME, library_name="timm"))
    except (OSError, ValueError, RuntimeError, hub.errors.HfHubHTTPError) as error:
        raise _unreachable(facts, error) from None


def notes_about(facts: TimmFacts) -> tuple[str, ...]:
    """What to say about the terms of a model's weights."""
    published = f"published at https://huggingface.co/{facts.repository}"
    if facts.licence in _FREE_LICENCES:
        return (f"licence of the weights: {facts.licence}, {published}",)
    terms = f"licence {facts.licence}" if facts.licence not in ("", "unknown") else "no licence that timm knows"
    return (f"warning: {terms}: these weights may not be free for commercial use; read the terms, {published}",)


def _unreachable(facts: TimmFacts, error: Exception) -> ResourceError:
    constants: Any = importlib.import_module("huggingface_hub.constants")
    folder = Path(constants.HF_HUB_CACHE) / f"models--{facts.repository.replace('/', '--')}"
    return ResourceError(
        f"the weights of {facts.name} could not be downloaded: {str(error).strip().splitlines()[0]}",
        where=f"https://huggingface.co/{facts.repository}/resolve/main/{FILE_NAME}",
        remedy=f"with a network elsewhere, fetch that file and name it: --weights FILE.safetensors; or run "
        f"`hf download {facts.repository} {FILE_NAME}` there and copy its folder to {folder}; "
        "or start without it: --weights none",
    )
