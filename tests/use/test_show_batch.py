"""The sheet of what the network will see, against the batches that training takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.cli import run_command_line
from saccade.data.augment import augmentation_of
from saccade.data.batches import Batches
from saccade.data.decode import DecodeRules
from saccade.data.mixing import mixing_of
from saccade.data.pack import open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sources.open import open_pictures
from saccade.presets import make_recipe
from saccade.use.show_batch import write_batch


@pytest.mark.parametrize("changes", [{"augment": "none"}, {"augment": "strong"}, {"augment": "light", "cutmix": 1.0}])
def test_sheet_shows_the_first_training_batch(colours: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    settings = PackSettings(24, False, "squash", DecodeRules())
    pack = open_pack(open_pictures(colours), settings, Work(1, False, lambda done, total: None))
    recipe = make_recipe("scratch", {**changes, "seed": 3}).resolved()
    rows = np.arange(5, 55)
    assert write_batch(tmp_path / "sheet.png", pack, rows, recipe) == 32
    how = (32, 24, torch.device("cpu"), 3, augmentation_of(recipe))
    batch = next(Batches(pack.images, pack.labels, rows, *how, mixing=mixing_of(recipe)).epoch(1))
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet, dtype=int)
    for number in (0, 9, 31):
        left, top = 6 + number % 8 * 30, 6 + number // 8 * 46
        expected = batch.images[number].float().permute(1, 2, 0).numpy()
        assert np.abs(pixels[top : top + 24, left : left + 24] - expected).max() <= 0.51


def test_check_with_show_batch_writes_a_png(colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "batch.png"
    command = ["check", str(colours), "--output", str(tmp_path / "found.json"), "--show-batch", str(sheet)]
    assert run_command_line([*command, "--augment", "strong"]) == 0
    assert "32 pictures as scratch with --augment strong" in capsys.readouterr().err
    with Image.open(sheet) as image:
        assert image.format == "PNG"
