"""Checkpoints on disk: whole or not there, checked to the bit, never the reason for a raw error."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saccade.errors import RunError
from saccade.training.checkpoint import CHECKPOINT_FORMAT, Checkpoint, CheckpointFolder, Snapshot

FIXTURE = Path(__file__).parent.parent / "fixtures" / "checkpoint-format-1"


def _snapshot(number: int, best: Path | None = None) -> Snapshot:
    tensors = {
        "network/weight": torch.full((2, 3), float(number)),
        "generators/cpu": torch.arange(4, dtype=torch.uint8),
    }
    return Snapshot(tensors, {"position": {"epoch": number}}, [best] if best else [])


def _folder(path: Path, how_many: int = 2) -> CheckpointFolder:
    """With checkpoints 1, 2, ..., each with a file of best weights."""
    folder = CheckpointFolder(path / "checkpoint")
    for number in range(1, how_many + 1):
        best = path / "best.safetensors"
        partial = path / "new"
        partial.write_bytes(bytes([number]) * 50)
        partial.replace(best)
        folder.write(_snapshot(number, best))
    return folder


def _newest(folder: CheckpointFolder, warnings: list[str] | None = None) -> Checkpoint:
    found = folder.newest((warnings if warnings is not None else []).append)
    assert found is not None
    return found


def _epoch(checkpoint: Checkpoint) -> int:
    return int(checkpoint.values["position"]["epoch"])


def test_what_was_written_is_read_back_and_two_are_kept(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 4)
    found = _newest(folder)
    assert sorted(path.name for path in folder.folder.iterdir()) == ["00000003", "00000004"]
    assert _epoch(found) == 4
    assert torch.equal(found.tensors()["network/weight"], torch.full((2, 3), 4.0))
    assert list(found.tensors_of("generators")) == ["cpu"]


def test_files_that_belong_to_a_checkpoint_stay_as_they_were_when_replaced(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 2)
    assert (folder.folder / "00000001" / "best.safetensors").read_bytes() == b"\1" * 50
    assert (tmp_path / "best.safetensors").samefile(folder.folder / "00000002" / "best.safetensors"), "a link, no copy"


def test_checkpoint_is_read_by_plain_tools(tmp_path: Path) -> None:
    path = _newest(_folder(tmp_path)).path
    assert load_file(path / "state.safetensors")["network/weight"][0, 0] == 2
    assert json.loads((path / "state.json").read_text())["format"] == CHECKPOINT_FORMAT
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=path, check=True)


def test_no_checkpoint_at_all_is_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "checkpoint").newest(pytest.fail) is None


def test_e09_every_single_flipped_bit_is_noticed_and_the_one_before_used(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    newest = folder.folder / "00000002"
    tried = 0
    for path in sorted(newest.iterdir()):
        whole = path.read_bytes()
        path.unlink()  # a link: what is behind it must not change
        for position in range(len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << (position % 8)
            path.write_bytes(damaged)
            warnings: list[str] = []
            assert _epoch(_newest(folder, warnings)) == 1, (path.name, position)
            assert "is damaged" in warnings[0]
            assert "the one before is used" in warnings[0]
            tried += 1
        path.write_bytes(whole)
    assert tried > 500
    assert _epoch(_newest(folder)) == 2


def test_e09_checkpoint_cut_off_at_any_position_is_noticed_and_the_one_before_used(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    newest = folder.folder / "00000002"
    for path in sorted(newest.iterdir()):
        whole = path.read_bytes()
        path.unlink()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert _epoch(_newest(folder)) == 1, (path.name, length)
        path.unlink()
        assert _epoch(_newest(folder)) == 1, f"{path.name} gone"
        path.write_bytes(whole)


def test_e09_all_damaged_is_refused_in_words_with_a_way_out(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    for path in folder.folder.rglob("state.json"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match="every checkpoint of this run is damaged") as caught:
        folder.newest(lambda text: None)
    assert caught.value.exit_code == 5
    assert "begins the run anew" in str(caught.value.remedy)


def test_e11_newer_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoint")
    folder.write(Snapshot({"a": torch.zeros(1)}, {"format": CHECKPOINT_FORMAT + 1, "written_by": "9.8.7"}))
    with pytest.raises(RunError, match=rf"format {CHECKPOINT_FORMAT + 1} \(saccade 9\.8\.7\), this saccade") as caught:
        folder.newest(lambda text: None)
    assert caught.value.exit_code == 5


def test_e07_full_disk_leaves_the_checkpoints_as_they_were(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    before = {path: path.read_bytes() for path in folder.folder.rglob("*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in range(0, 150, 29):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError):  # noqa: PT011 (which error depends on what was being written)
                folder.write(_snapshot(3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert {path: path.read_bytes() for path in folder.folder.rglob("*") if path.is_file()} == before


def test_e07_disk_without_space_for_a_third_gives_up_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _folder(tmp_path)
    whole = CheckpointFolder._write

    def write(self: CheckpointFolder, snapshot: Snapshot) -> Path:
        if len(self._paths()) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, snapshot)

    monkeypatch.setattr(CheckpointFolder, "_write", write)
    folder.write(_snapshot(3))
    assert sorted(path.name for path in folder.folder.iterdir()) == ["00000002", "00000003"]


def test_what_an_interruption_left_behind_is_swept_away(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder.folder / "00000003.partial").mkdir()
    (folder.folder / "00000003.partial" / "state.json").write_text("half")
    (folder.folder / "00000000.removed").mkdir()
    assert _epoch(_newest(folder)) == 2
    folder.write(_snapshot(3))
    assert sorted(path.name for path in folder.folder.iterdir()) == ["00000002", "00000003"]


def test_e11_checkpoint_of_format_1_is_still_read(tmp_path: Path) -> None:
    found = CheckpointFolder(FIXTURE / "checkpoint").newest(pytest.fail)
    assert found is not None
    assert found.values["position"]["epoch"] == 2
    assert found.values["about"]["recipe"]["model"] == "lenet5"
    assert {"network/head.logits.weight", "optimizer/head.logits.weight/exp_avg"} <= found.tensors().keys()
