"""Recipes: presets, changes, YAML, and refusals that help."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from saccade.errors import RecipeError
from saccade.presets import PRESETS, make_recipe
from saccade.recipe import STRENGTHS, Recipe


def test_recipe_cannot_be_changed_after_it_was_made() -> None:
    with pytest.raises(ValidationError):
        make_recipe("scratch", {}).epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_names_itself(preset: str) -> None:
    assert make_recipe(preset, {}).recipe == preset


def test_changes_of_none_leave_the_preset_as_it_is() -> None:
    assert make_recipe("scratch", {"epochs": None}) == make_recipe("scratch", {})


def test_unknown_field_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no field 'epocs'") as caught:
        make_recipe("scratch", {"epocs": 3})
    assert caught.value.remedy == "did you mean 'epochs'?"


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe("scrach", {})
    assert caught.value.remedy == "did you mean 'scratch'?"


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch_size", -1), ("flip", 1.5), ("fit", "stretch"), ("seed", 2**32), ("learning_rate", "fast")],
)
def test_value_out_of_range_names_the_field_and_the_value(field: str, value: object) -> None:
    with pytest.raises(RecipeError, match=f"{field} = {value!r}") as caught:
        make_recipe("scratch", {field: value})
    assert caught.value.exit_code == 2


def test_resolved_recipe_has_nothing_open_that_it_can_know() -> None:
    left_open = {"head", "image_size", "workers", "data_dir", "group_by"}
    by_others = {"warmup", "step_epochs", "best_by", "l2", "small_first"}  # None has a meaning of its own
    resolved = make_recipe("scratch", {}).resolved()
    assert {name for name, value in resolved if value is None} == left_open | by_others


def test_resolved_recipe_keeps_what_was_given() -> None:
    resolved = make_recipe("scratch", {"augment": "strong", "rotation": 5.0}).resolved()
    assert (resolved.rotation, resolved.zoom) == (5.0, STRENGTHS["strong"]["zoom"])


@pytest.mark.parametrize(("schedule", "patience"), [("onecycle", 0), ("cosine", 0), ("plateau", 10), ("constant", 10)])
def test_patience_is_off_where_the_schedule_promises_its_best_at_the_end(schedule: str, patience: int) -> None:
    assert make_recipe("scratch", {"schedule": schedule}).resolved().patience == patience


def test_recipe_survives_yaml(tmp_path: Path) -> None:
    recipe = make_recipe("scratch", {"epochs": 7, "head": "gap", "zoom": 0.3}).resolved()
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert make_recipe(str(path), {}) == recipe


@pytest.mark.parametrize("text", ["- a list", "just words", "epochs: [", ""])
def test_yaml_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        make_recipe(str(path), {})
    assert caught.value.where == str(path)


def test_yaml_recipe_that_is_missing_is_refused() -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        make_recipe("nowhere.yaml", {})


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("model: !!python/object/apply:os.system ['touch owned']")
    with pytest.raises(RecipeError, match="cannot be read"):
        make_recipe(str(path), {})


def test_every_field_says_what_it_means() -> None:
    assert [name for name, field in Recipe.model_fields.items() if not field.description] == []


def test_recipe_as_yaml_lists_every_field() -> None:
    assert set(yaml.safe_load(Recipe().to_yaml())) == set(Recipe.model_fields)
