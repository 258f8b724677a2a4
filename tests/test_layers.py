"""The import table of docs/design.md section 2, held against the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "saccade"

BASE = {"errors", "recipe", "metrics", "screen", "threads", "whole", "clock", "presets", "modes"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "threads": set(),
    "clock": set(),
    "whole": set(),
    "screen": {"errors"},
    "recipe": {"errors"},
    "presets": {"errors", "recipe"},
    "metrics": {"errors"},
    "data": {"errors", "recipe", "metrics", "whole"},
    "models": {"errors", "recipe", "metrics", "whole"},
    "engine": {"errors"},
    "modes": {"errors", "recipe", "whole"},
    "training": {"errors", "recipe", "metrics", "engine", "modes", "whole"},
    "locking": {"errors"},
    "results": {"whole"},
    "predictions": {"metrics", "data"},
    "trained": {"errors", "data", "models"},
    "runs": {"errors", "recipe", "presets", "metrics", "whole", "data", "predictions", "trained"},
    "evaluation": {"errors", "recipe", "metrics", "engine", "data", "models", "runs"},
    "pictures": {"errors", "recipe", "screen", "data", "models"},
    "keeping": BASE | {"engine", "data", "models", "training", "runs", "evaluation"},
    "advice": BASE | {"engine", "data", "models", "training", "runs", "evaluation", "keeping"},
    "headstart": BASE | {"engine", "data", "models", "training", "runs", "evaluation", "keeping"},
    "network_choice": {"errors", "recipe", "presets", "screen", "data", "models"},
    "resuming": BASE | {"results", "data", "training", "runs"},
    "charge": BASE | {"locking", "training", "runs", "resuming"},
    "jobs": BASE | {"runs", "resuming"},
    "growing": {"errors", "recipe", "models"},
    "making": BASE | {"growing", "engine", "data", "models", "training", "trained", "keeping", "pictures", "resuming"},
    "speed": BASE | {"data", "models", "training", "runs", "keeping", "resuming"},
    "learning": BASE
    | {"engine", "data", "models", "training", "trained", "keeping", "headstart", "pictures", "resuming", "safekeeping"}
    | {"speed"},
    "safekeeping": BASE | {"results", "data", "models", "training", "runs", "keeping", "resuming"},
    "pipeline": BASE
    | {"engine", "data", "models", "training", "runs", "evaluation", "keeping", "advice", "headstart", "pictures"}
    | {"network_choice", "resuming", "charge", "jobs", "safekeeping", "making", "learning"},
    "plan": BASE | {"advice", "resuming"},
    "compare": BASE | {"models", "training", "runs", "evaluation", "resuming", "pipeline", "plan"},
    "use": {
        "errors",
        "recipe",
        "metrics",
        "screen",
        "whole",
        "engine",
        "data",
        "models",
        "runs",
        "evaluation",
        "modes",
        "locking",
    },
    "classifier": BASE | {"engine", "models", "trained", "use"},
    "finished": BASE | {"classifier", "engine", "data", "runs", "evaluation", "use"},
    "api": BASE
    | {"classifier", "finished"}
    | {"engine", "data", "models", "training", "runs", "evaluation", "pipeline", "resuming", "use", "learning"}
    | {"compare", "plan"},
    "flags": {"errors", "recipe", "presets"},
    "commands": BASE
    | {"flags", "engine", "data", "models", "training", "runs", "predictions", "evaluation", "pipeline", "use", "api"}
    | {"resuming", "compare", "plan"},
    "cli": {"errors", "flags", "commands"},
    "__main__": {"cli", "threads"},
    "__init__": {"api", "errors", "use", "training"},
}
for parts in ALLOWED.values():
    if "runs" in parts:  # whoever knows run folders knows what is in them
        parts.add("trained")
# The optional or heavy libraries that belong to one file or folder.
OWNERS = {
    "h5py": {"models/keras.py"},
    "typer": {"cli.py", "flags.py", "commands"},
    "jinja2": {"use"},
    "matplotlib": {"use"},
    "cv2": {"data/warp.py"},
    "fastapi": {"use/serve"},
    "starlette": {"use/serve"},
    "uvicorn": {"use/serve"},
    "prometheus_client": {"use/serve_metrics.py"},
}


def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(path: Path) -> list[tuple[str, ast.AST]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append((node.module or "", node))
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_of_a_module_stay_within_the_table(path: Path) -> None:
    part = _part(path)
    assert part in ALLOWED, f"{path} belongs to no part of docs/design.md"
    for name, _ in _imports(path):
        if name.split(".")[0] != "saccade":
            continue
        assert name != "saccade", f"{path} imports the package root; name the module that defines the thing"
        target = name.split(".")[1]
        assert target == part or target in ALLOWED[part], f"{path}: {part} may not import {target}"


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_inside_functions_are_the_command_lines_alone(path: Path) -> None:
    # screen.py loads rich only when something is drawn; __main__ must set threads up before torch is imported.
    if _part(path) in {"cli", "commands", "__main__", "screen"}:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                assert not isinstance(node, ast.Import | ast.ImportFrom), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_libraries_with_one_owner_are_imported_there_alone(path: Path) -> None:
    place = str(path.relative_to(SOURCE))
    for name, _ in _imports(path):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or any(place.startswith(owner) for owner in owners), f"{place} imports {name}"


def test_folder_init_files_are_empty() -> None:
    for path in SOURCE.rglob("__init__.py"):
        if path.parent != SOURCE:
            assert path.read_text() == "", path


def test_nothing_unpickles_but_the_checked_cifar_archive() -> None:
    for path in _modules():
        for name, _ in _imports(path):
            allowed = path.name == "cifar.py"
            assert name.split(".")[0] not in {"pickle", "dill", "cloudpickle", "shelve"} or allowed, path


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_is_named_in_the_layout_of_the_design(path: Path) -> None:
    design = (SOURCE.parent.parent / "docs" / "design.md").read_text(encoding="utf-8")
    layout = design[design.index("    src/saccade/") : design.index("| part |")]
    listed_by_folder = path.name == "__init__.py" or path.parent.name == "commands"
    assert listed_by_folder or path.stem in re.findall(r"\w+", layout), f"docs/design.md, section 2, lacks {path.name}"
