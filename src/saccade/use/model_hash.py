"""What a trained network is, in one word: the same for the same answers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import torch

from saccade.trained import TrainedNetwork


def model_hash(trained: TrainedNetwork) -> str:
    """SHA-256, in hexadecimal, of its weights, architecture, class names, preparation and certainty."""
    about = {
        "spec": asdict(trained.network.spec),
        "class_names": trained.class_names,
        "preparation": trained.preparation.to_json(),
        "certainty": trained.certainty.to_json(),
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(trained.network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()
