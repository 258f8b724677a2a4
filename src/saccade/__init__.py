"""saccade: from labelled pictures to an image classifier its owner can trust.

    import saccade
    run = saccade.train("animals/", model="lenet5", epochs=10)
    run.evaluate().accuracy
    classifier = saccade.load("runs/animals")
    classifier.predict("dog.jpg", top=3)

The names are handed out when they are first asked for, so that `import saccade` does not load torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
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
    # What predicts alone is there a second sooner than what trains too.
    place = "saccade.classifier" if name in ("Classifier", "load") else "saccade.api"
    return getattr(import_module(place), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """The import system puts the module compare.py where the function belongs as soon as it is loaded; not here."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
