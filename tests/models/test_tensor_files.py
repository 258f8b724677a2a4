"""Tensors out of files: the safe kinds are read, everything else is one clear sentence and runs nothing."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from saccade.errors import WeightsError
from saccade.models.tensor_files import open_tensors

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1, 2])}


class Trap:
    """Unpickled, it would make a file appear."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def saved(path: Path, content: object, *, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def header_only(path: Path, header: bytes, *, size: int | None = None) -> Path:
    """A safetensors file of a header and nothing else."""
    path.write_bytes((len(header) if size is None else size).to_bytes(8, "little") + header)
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "w.bin", "legacy.pth"])
def test_file_gives_the_tensors_that_were_saved(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(TENSORS, path)
    else:
        saved(path, TENSORS, legacy=name == "legacy.pth")
    found = open_tensors(path)
    assert {name: found.read(name).tolist() for name in found.outline} == {
        name: value.tolist() for name, value in TENSORS.items()
    }
    assert found.outline["a.weight"] == ((2, 3), True)
    assert found.outline["a.bias"] == ((2,), False)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_state_dict_inside_a_checkpoint_is_found(tmp_path: Path, wrapper: str) -> None:
    content = {"epoch": 3, wrapper: OrderedDict(TENSORS), "optimizer": {"lr": 0.1}}
    assert set(open_tensors(saved(tmp_path / "w.pth", content)).outline) == set(TENSORS)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_prefix_of_a_wrapper_is_dropped(tmp_path: Path, prefix: str) -> None:
    save_file({prefix + name: value for name, value in TENSORS.items()}, tmp_path / "w.safetensors")
    found = open_tensors(tmp_path / "w.safetensors")
    assert found.read("a.weight").tolist() == TENSORS["a.weight"].tolist()


@pytest.mark.parametrize("legacy", [False, True])
def test_parameters_come_without_gradient(tmp_path: Path, legacy: bool) -> None:
    path = saved(tmp_path / "w.pth", {"w": nn.Parameter(torch.ones(2))}, legacy=legacy)
    assert not open_tensors(path).read("w").requires_grad


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.safetensors"])
@pytest.mark.parametrize("form", ["zip", "legacy", "protocol 2", "protocol 4"])
def test_pickled_code_is_refused_without_running(tmp_path: Path, name: str, form: str) -> None:
    path, trap = tmp_path / name, Trap(tmp_path / "ran")
    if form.startswith("protocol"):
        path.write_bytes(pickle.dumps({"w": trap}, protocol=int(form[-1])))
    else:
        saved(path, {"w": trap}, legacy=form == "legacy")
    with pytest.raises(WeightsError, match="pickle of more than numbers") as caught:
        open_tensors(path)
    assert "safetensors.torch.save_file" in str(caught.value)
    assert not trap.path.exists()


def test_whole_pickled_model_is_refused_and_its_class_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"would have to run, here torch\.nn\.modules\.linear\.Linear"):
        open_tensors(saved(tmp_path / "model.pth", nn.Linear(2, 2)))


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("kept", [5, 100, 0.5, 0.99])
def test_truncated_file_is_one_clear_sentence(tmp_path: Path, form: str, kept: float) -> None:
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    tensors = {"w": torch.zeros(5000)}
    if form == "safetensors":
        save_file(tensors, path)
    else:
        saved(path, tensors, legacy=form == "legacy")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept > 1 else kept * len(whole))])
    with pytest.raises(WeightsError, match=r"not a whole safetensors file|cut off or damaged") as caught:
        open_tensors(path)
    assert "\n" not in caught.value.what
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html>", b"GIF89a" + bytes(100), b"{}", b"\0", b"version https://git-lfs"]
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.h5", "w"])
def test_foreign_file_is_one_clear_sentence(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"no file of weights|not a whole safetensors file") as caught:
        open_tensors(path)
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.h5"])
def test_empty_file_is_named_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="is empty"):
        open_tensors(tmp_path / name)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights file"):
        open_tensors(tmp_path / "w.pth")


def test_folder_points_at_the_file_inside(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights/best\.safetensors"):
        open_tensors(tmp_path)


def test_huge_header_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write((90_000_000).to_bytes(8, "little") + b"{")
        file.truncate(100_000_000)  # sparse: it takes no disk
    with pytest.raises(WeightsError, match="header of the weights file has 90,000,000 bytes"):
        open_tensors(path)


@pytest.mark.parametrize("shape", [[10**6, 10**6], [2**62, 2**62], [-1]])
def test_shape_without_bytes_behind_it_is_refused(tmp_path: Path, shape: list[int]) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        open_tensors(header_only(tmp_path / "w.safetensors", header))


def test_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        open_tensors(header_only(tmp_path / "w.safetensors", b"{}", size=2**63))


def test_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(50_000_000))
    with pytest.raises(WeightsError, match="claims to unpack to 50,000,000"):
        open_tensors(path)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [("w/constants.pkl", "TorchScript"), ("model.weights.h5", "Keras 3"), ("readme.txt", "not written by torch.save")],
)
def test_other_archive_is_named(tmp_path: Path, entry: str, sentence: str) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, "x")
    with pytest.raises(WeightsError, match=sentence):
        open_tensors(path)


@pytest.mark.parametrize("content", [[torch.ones(2)], {"epoch": 3}, 7, {}])
def test_file_without_named_tensors_says_what_it_holds(tmp_path: Path, content: object) -> None:
    with pytest.raises(WeightsError, match=f"no tensors by name: it holds a {type(content).__name__}"):
        open_tensors(saved(tmp_path / "w.pth", content))
