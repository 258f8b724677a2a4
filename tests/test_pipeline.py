"""The whole way: it learns, it is honest, and it does the same twice."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.errors import DataError, DivergedError, LabelError, PictureError, ResourceError
from saccade.models.catalogue import find_entry
from saccade.pipeline import Place, train
from saccade.presets import make_recipe
from saccade.runs import RunFolder
from saccade.screen import RecordingScreen

QUICK = {"model": "lenet5", "epochs": 1, "batch_size": 8, "workers": 1, "device": "cpu"}


class _Listener(RecordingScreen):
    """Keeps what is said."""

    def __init__(self) -> None:
        from saccade.screen import QuietScreen

        super().__init__(QuietScreen())
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")


def _weights_of(run: RunFolder) -> str:
    return hashlib.sha256((run.path / "weights" / "last.safetensors").read_bytes()).hexdigest()


def test_network_learns_classes_that_can_be_told_apart(finished: RunFolder) -> None:
    assert finished.metrics["test"]["accuracy"] == 1.0


def test_results_of_training_fall(finished: RunFolder) -> None:
    losses = [row["train_loss"] for row in finished.results]
    assert losses[-1] < losses[0] / 2


def test_same_seed_in_the_same_process_gives_the_same_weights(colours: Path, tmp_path: Path) -> None:
    recipe = make_recipe("scratch", QUICK)
    assert len({_weights_of(train(recipe, colours, Place(tmp_path))) for _ in range(2)}) == 1


def test_other_seed_gives_other_weights(colours: Path, tmp_path: Path) -> None:
    runs = [train(make_recipe("scratch", QUICK | {"seed": seed}), colours, Place(tmp_path)) for seed in (1, 2)]
    assert _weights_of(runs[0]) != _weights_of(runs[1])


def test_same_command_in_fresh_processes_with_other_workers_gives_the_same_bits(colours: Path, tmp_path: Path) -> None:
    digests = set()
    for workers in (1, 3):
        project = tmp_path / str(workers)
        command = [sys.executable, "-m", "saccade", "train", str(colours), "--model", "lenet5", "--epochs", "2"]
        command += ["--augment", "strong", "--workers", str(workers), "--project", str(project), "--quiet"]
        own = os.environ | {"SACCADE_CACHE": str(project / "cache")}
        subprocess.run(command, check=True, env=own, timeout=300)
        digests.add(_weights_of(RunFolder.open(project / colours.name)))
    assert len(digests) == 1


def test_second_run_reuses_the_pack_and_says_so(colours: Path, finished: RunFolder, tmp_path: Path) -> None:
    screen = _Listener()
    train(make_recipe("scratch", QUICK), colours, Place(tmp_path), screen)
    assert any(line.startswith("pack: 60 pictures of 24×24×3, reused, nothing changed") for line in screen.lines)


def test_last_lines_say_what_was_seen_used_and_skipped(colours: Path, tmp_path: Path) -> None:
    root = _copy(colours, tmp_path / "pictures")
    (root / "red" / "broken.png").write_bytes((root / "red" / "00.png").read_bytes()[:200])
    screen = _Listener()
    train(make_recipe("scratch", QUICK), root, Place(tmp_path), screen)
    assert screen.lines[-2:] == ["pictures: 61 seen, 60 used, 1 skipped", "  skipped: 1 truncated"]


def test_pictures_that_a_fraction_leaves_out_are_counted_as_that(colours: Path, tmp_path: Path) -> None:
    screen = _Listener()
    run = train(make_recipe("scratch", QUICK | {"fraction": 0.5}), colours, Place(tmp_path), screen)
    used = len(run.splits)
    assert 30 < used < 60
    expected = f"pictures: 60 seen, {used} used, 0 skipped, {60 - used} not learned from (--fraction)"
    assert screen.lines[-1] == expected


def test_skipped_pictures_are_listed_in_the_run(colours: Path, tmp_path: Path) -> None:
    root = _copy(colours, tmp_path / "pictures")
    (root / "red" / "empty.png").touch()
    run = train(make_recipe("scratch", QUICK), root, Place(tmp_path))
    assert "red/empty.png,empty_file," in (run.path / "skipped.csv").read_text()


def test_more_than_five_percent_broken_stops_before_training(colours: Path, tmp_path: Path) -> None:
    root = _copy(colours, tmp_path / "pictures")
    for number in range(5):
        (root / "red" / f"x{number}.png").write_text("not a picture")
    with pytest.raises(DataError, match="5 of 65 pictures cannot be used"):
        train(make_recipe("scratch", QUICK), root, Place(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_strict_stops_at_the_first_broken_picture(colours: Path, tmp_path: Path) -> None:
    root = _copy(colours, tmp_path / "pictures")
    (root / "red" / "empty.png").touch()
    with pytest.raises(PictureError) as caught:
        train(make_recipe("scratch", QUICK | {"strict": True}), root, Place(tmp_path))
    assert (caught.value.reason, caught.value.where) == ("empty_file", "red/empty.png")


def test_b08_class_of_one_picture_goes_to_train_and_is_warned_about(colours: Path, tmp_path: Path) -> None:
    root = _copy(colours, tmp_path / "pictures")
    (root / "rare").mkdir()
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(root / "rare" / "one.png")
    screen = _Listener()
    run = train(make_recipe("scratch", QUICK), root, Place(tmp_path), screen)
    assert run.splits["rare/one.png"] == "train"
    assert any("class 'rare' has 1 picture to learn from" in line for line in screen.lines)


def test_loss_that_leaves_the_finite_numbers_stops_with_a_lower_rate_to_try(colours: Path, tmp_path: Path) -> None:
    explosive = {"optimizer": "sgd", "learning_rate": 10.0, "weight_decay": 1.0}  # at half the rate it explodes, too
    recipe = make_recipe("scratch", QUICK | explosive | {"epochs": 60, "schedule": "constant"})
    with pytest.raises(DivergedError, match="left the finite numbers") as caught:
        train(recipe, colours, Place(tmp_path))
    assert caught.value.remedy == "start again with a lower rate: --learning-rate 1"


def test_device_that_is_not_there_is_refused_when_asked_for_by_name(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="cannot be used") as caught:
        train(make_recipe("scratch", QUICK | {"device": "cuda:99"}), colours, Place(tmp_path))
    assert caught.value.exit_code == 4


def test_part_without_pictures_is_refused(tmp_path: Path, colours: Path) -> None:
    for name in ("blue", "red"):
        (tmp_path / "two" / name).mkdir(parents=True)
        picture = (colours / name / "00.png").read_bytes()
        (tmp_path / "two" / name / "only.png").write_bytes(picture)
    with pytest.raises(LabelError, match="no picture is left for the val part"):
        train(make_recipe("scratch", QUICK), tmp_path / "two", Place(tmp_path))


def test_given_parts_are_kept(tmp_path: Path, colours: Path) -> None:
    for part, numbers in (("train", range(10)), ("valid", range(10, 15)), ("testing", range(15, 20))):
        for name in ("blue", "green", "red"):
            (tmp_path / "given" / part / name).mkdir(parents=True)
            for number in numbers:
                picture = (colours / name / f"{number:02}.png").read_bytes()
                (tmp_path / "given" / part / name / f"{number:02}.png").write_bytes(picture)
    run = train(make_recipe("scratch", QUICK), tmp_path / "given", Place(tmp_path))
    parts = {"train": "train", "valid": "val", "testing": "test"}
    assert all(parts[name.split("/")[0]] == part for name, part in run.splits.items())


def test_learning_rate_left_open_is_the_networks(finished: RunFolder) -> None:
    assert finished.recipe.learning_rate == find_entry("lenet5").rate


def test_plateau_schedule_and_early_stopping_end_a_run_that_does_not_improve(colours: Path, tmp_path: Path) -> None:
    changes = {"schedule": "constant", "patience": 2, "epochs": 40, "learning_rate": 1e-2}
    run = train(make_recipe("scratch", QUICK | changes), colours, Place(tmp_path))
    losses = [row["val_loss"] for row in run.results]
    assert len(losses) < 40
    assert min(losses[-2:]) >= min(losses[:-2])


def _copy(source: Path, target: Path) -> Path:
    for path in source.rglob("*.png"):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return target


def test_class_whose_pictures_are_all_broken_stops_before_training(colours: Path, tmp_path: Path) -> None:
    root = _copy(colours, tmp_path / "pictures")
    (root / "violet").mkdir()
    (root / "violet" / "only.png").write_text("not a picture")
    with pytest.raises(DataError, match="not one picture of 'violet' can be used"):
        train(make_recipe("scratch", QUICK), root, Place(tmp_path / "runs"))


def test_training_begins_from_the_weights_of_another_run(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    changes = QUICK | {"weights": str(finished.path / "weights" / "best.safetensors"), "train": "head"}
    run = train(make_recipe("scratch", changes), colours, Place(tmp_path))
    ours, theirs = run.load().network.state_dict(), finished.load().network.state_dict()
    same = {name for name in ours if torch.equal(ours[name], theirs[name])}
    assert {name for name in ours if not name.startswith("head.")} <= same
    assert "head.logits.weight" not in same


def test_timm_network_trains_through_the_pipeline(colours: Path, tmp_path: Path) -> None:
    changes = QUICK | {"model": "timm/test_resnet", "image_size": 32}
    run = train(make_recipe("scratch", changes), colours, Place(tmp_path))
    assert run.load().network.spec.model == "timm/test_resnet"


def test_timm_network_begins_from_the_weights_of_another_run(colours: Path, tmp_path: Path) -> None:
    changes = QUICK | {"model": "timm/test_resnet", "image_size": 32}
    first = train(make_recipe("scratch", changes), colours, Place(tmp_path))
    again = changes | {"weights": str(first.path / "weights" / "best.safetensors"), "train": "head"}
    second = train(make_recipe("scratch", again), colours, Place(tmp_path))
    ours, theirs = second.load().network.state_dict(), first.load().network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("head."))
