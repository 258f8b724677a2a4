"""saccade: from labelled pictures to an image classifier its owner can trust.

    import saccade
    run = saccade.train("animals/", model="lenet5", epochs=10)
    run.evaluate().accuracy
    classifier = saccade.load("runs/animals")
    classifier.predict("dog.jpg", top=3)

The names are handed out when they are first asked for, so that `import saccade` does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saccade.api import Callback, Classifier, Run, check, compare, load, train
    from saccade.errors import SaccadeError
    from saccade.use.findings import Findings

    __version__: str

__all__ = [
    "Callback",
    "Classifier",
    "Findings",
    "Run",
    "SaccadeError",
    "__version__",
    "check",
    "compare",
    "load",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'saccade' has no attribute {name!r}")
    if name == "__version__":
        return import_module("importlib.metadata").version("saccade")
    if name == "SaccadeError":
        return import_module("saccade.errors").SaccadeError
    import_module("saccade.threads").calm_threads()
    return getattr(import_module("saccade.api"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
