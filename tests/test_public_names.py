"""The public surface: what `import saccade` hands out, and what it costs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

import saccade
from saccade.api import train
from saccade.flags import FLAG_GROUPS
from saccade.recipe import Recipe

HEAVY = {"torch", "torchvision", "timm", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "joblib", "pydantic", "yaml"}


def _loaded_by(code: str) -> set[str]:
    program = f"import sys\n{code}\nimport json; print(json.dumps(sorted(sys.modules)), file=sys.__stdout__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_public_names_are_those_written_down() -> None:
    names = ["Callback", "Classifier", "Findings", "Run", "SaccadeError", "__version__"]
    assert [*names, "check", "compare", "load", "train"] == saccade.__all__


@pytest.mark.parametrize("name", saccade.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(saccade, name) is not None


@pytest.mark.parametrize("first", ["saccade.train", "import saccade.compare", "from saccade.compare import Plan"])
def test_compare_after_anything_else_is_the_function_and_not_its_module(first: str) -> None:
    program = f"import saccade\n{first}\nassert callable(saccade.compare), saccade.compare"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        saccade.trian  # noqa: B018


def test_import_saccade_loads_nothing_heavy() -> None:
    assert _loaded_by("import saccade") & HEAVY == set()


def test_help_loads_neither_torch_nor_other_heavy_libraries() -> None:
    code = (
        "import io\nfrom saccade.cli import run_command_line\nsys.stdout = io.StringIO()\n"
        "assert run_command_line(['--help']) == 0 and run_command_line(['train', '--help']) == 0"
    )
    # pydantic and yaml are the recipe, whose fields are the flags
    assert _loaded_by(code) & (HEAVY - {"pydantic", "yaml"}) == set()


def test_python_arguments_of_train_are_the_fields_of_the_recipe() -> None:
    own = {"pictures", "project", "name", "resume", "allow_change", "augment_with", "callbacks", "quiet"}
    assert set(inspect.signature(train).parameters) - own == set(Recipe.model_fields)


def test_every_field_of_the_recipe_is_a_flag() -> None:
    flags = [field for fields in FLAG_GROUPS.values() for field in fields]
    assert sorted([*flags, "recipe"]) == sorted(Recipe.model_fields)


def test_every_public_thing_has_a_docstring() -> None:
    for name in ("train", "load", "Run", "Classifier"):
        thing = getattr(saccade, name)
        assert inspect.getdoc(thing), name
        for member_name, member in inspect.getmembers(thing, inspect.isfunction):
            if inspect.isclass(thing) and not member_name.startswith("_"):
                assert inspect.getdoc(member), f"{name}.{member_name}"
