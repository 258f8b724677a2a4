"""What a recipe asks of the training, through the whole pipeline; and docs/training.md, run as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.cli import run_command_line
from saccade.errors import MissingExtraError, RecipeError
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.models.weights import save_network
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder

DOCS = (Path(__file__).resolve().parent.parent / "docs" / "training.md").read_text(encoding="utf-8")
QUICK: dict[str, object] = {"model": "lenet5", "epochs": 2, "batch_size": 8, "workers": 1, "device": "cpu"}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS, flags=re.MULTILINE | re.DOTALL)


def _train(pictures: Path | str, project: Path, **changes: object) -> RunFolder:
    fields: dict[str, object] = {**QUICK, **changes}
    preset = str(fields.pop("recipe", "scratch"))
    return train(make_recipe(preset, fields), pictures, Place(project, "run"))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 dark and 12 slightly brighter pictures."""
    root, rng = tmp_path_factory.mktemp("uneven"), np.random.default_rng(0)
    for name, number, light in (("dark", 96, 0), ("light", 12, 25)):
        (root / name).mkdir()
        for each in range(number):
            pixels = rng.integers(0, 180, (16, 16, 3), dtype=np.uint8) + np.uint8(light)
            Image.fromarray(pixels).save(root / name / f"{each:03}.png")
    return root


@pytest.mark.parametrize("field", ["class_weights", "sampling"])
def test_balance_lets_the_rare_class_be_found(field: str, uneven: Path, tmp_path: Path) -> None:
    plain, balanced = (
        _train(uneven, tmp_path / name, epochs=4, learning_rate=1e-3, best_by="val_loss", **changes)
        for name, changes in (("plain", {}), ("balanced", {field: "balanced"}))
    )

    def rare(run: RunFolder) -> float:
        return float(np.mean([row["predicted"] == "light" for row in run.predictions]))

    assert rare(plain) == 0.0, "the rare class does not pay"
    assert rare(balanced) > 0.05


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_weights": "balanced", "sampling": "balanced"}, "would count twice"),
        ({"accumulate": 9}, "in 9 pieces"),
        ({"schedule": "step", "step_epochs": "soon"}, "'soon' cannot be read"),
        ({"schedule": "own"}, "a function of the one who called"),
        ({"l2": "fc77=1"}, "is called 'fc77'"),
    ],
)
def test_recipe_that_cannot_be_learnt_with_is_refused_before_a_run_is_made(
    changes: dict[str, object], words: str, colours: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=words):
        _train(colours, tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_that_is_missing_is_said_before_a_run_is_made(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise MissingExtraError("TensorBoard's library is not installed")

    monkeypatch.setattr("saccade.learning.tensorboard_library", refuse)
    with pytest.raises(MissingExtraError):
        _train(colours, tmp_path, tensorboard=True)
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_lies_in_the_run_folder(colours: Path, tmp_path: Path) -> None:
    run = _train(colours, tmp_path, tensorboard=True)
    assert [path.name.split(".")[0] for path in (run.path / "tb").iterdir()] == ["events"]


@pytest.mark.parametrize("recipe", ["features", "finetune"])
def test_balanced_transfer_trains_its_head_by_epochs_and_says_so(recipe: str, colours: Path, tmp_path: Path) -> None:
    save_network(tmp_path / "b.safetensors", build_network(NetworkSpec("lenet5", 7, 32, 3, "gap"), seed=3), {})
    changes = {"recipe": recipe, "weights": str(tmp_path / "b.safetensors"), "image_size": 32, "head": "gap"}
    run = _train(colours, tmp_path / "runs", **changes, class_weights="balanced")
    assert "a solved one counts every picture once" in run.log_path.read_text()
    assert [row["epoch"] for row in run.results] == [1, 2]


def test_run_of_a_recipe_without_the_newer_fields_still_loads(finished: RunFolder, tmp_path: Path) -> None:
    newer = (
        "ema",
        "accumulate",
        "warmup",
        "step_epochs",
        "step_factor",
        "clip_norm",
        "l2",
        "class_weights",
        "sampling",
    )
    text = (finished.path / "recipe.yaml").read_text()
    kept = [line for line in text.splitlines() if line.split(":")[0] not in (*newer, "best_by", "tensorboard")]
    assert len(kept) == len(text.splitlines()) - 11
    (tmp_path / "old.yaml").write_text("\n".join(kept))
    assert make_recipe(str(tmp_path / "old.yaml"), {}) == finished.recipe


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_python_of_the_page_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = _blocks("python")[number].replace("epochs=20", "epochs=8")
    exec(compile(code, "docs/training.md", "exec"), {"__name__": "page"})  # noqa: S102
    assert RunFolder(tmp_path / "runs" / "digits").is_finished


def _commands() -> list[str]:
    return [line for block in _blocks("sh") for line in block.splitlines() if line.startswith("saccade ")]


@pytest.mark.parametrize("command", _commands())
def test_command_of_the_page_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)[1:]
    assert run_command_line([*words, "--epochs", "2", "--workers", "1", "--quiet"]) == 0
    assert (tmp_path / "runs").is_dir()


def test_page_shows_every_flag_of_this_part() -> None:
    flags = ("--warmup", "--step-epochs", "--find-lr", "--class-weights", "--sampling", "--ema", "--accumulate")
    for flag in (*flags, "--clip-norm", "--best-by", "--l2", "--tensorboard", "--step-factor"):
        assert any(flag in command for command in _commands()), flag


def test_callback_is_public() -> None:
    assert saccade.Callback.__module__ == "saccade.training.callbacks"


def test_memory_that_runs_out_while_modes_are_timed_does_not_end_the_run(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def refuse(learner: object, images: torch.Tensor, mode: object) -> None:
        tried.append(len(images))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("saccade.speed._WORTH_TIMING", 0.0)
    monkeypatch.setattr("saccade.speed.trial_step", refuse)
    assert _train(colours, tmp_path, batch_size=9, accumulate=2).is_finished
    assert set(tried) == {5}, "what is timed is a piece"


@pytest.mark.parametrize(("recipe", "code"), [("finetune", 0), ("features", 2)])
def test_find_lr_of_a_transfer_looks_behind_the_solved_head(
    recipe: str, code: int, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(tmp_path / "b.safetensors", build_network(NetworkSpec("lenet5", 7, 32, 3, "gap"), seed=3), {})
    words = [
        "train",
        str(colours),
        "--model",
        "lenet5",
        "--recipe",
        recipe,
        "--weights",
        str(tmp_path / "b.safetensors"),
    ]
    words += ["--image-size", "32", "--head", "gap", "--workers", "1", "--project", str(tmp_path / "runs"), "--find-lr"]
    assert run_command_line(words) == code
    said = capsys.readouterr().err
    assert (
        ("head: solved" in said) and ("-rates.png" in said.replace("\n", ""))
        if code == 0
        else "--no-solve-head" in said
    )
