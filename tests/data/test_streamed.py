"""Pictures that no pack keeps: the same bits as a pack's, each process reads its own alone, nothing changes unseen."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.format import open_memmap
from PIL import Image

import saccade
from saccade.data import streamed
from saccade.data.augment import augmentation_of
from saccade.data.batches import Batches, resident_images
from saccade.data.decode import DecodeRules
from saccade.data.mixing import Mixing
from saccade.data.pack import Pack, open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sources.open import open_pictures
from saccade.data.sources.shard_writer import Target, pack_shards
from saccade.data.statistics import pixel_statistics
from saccade.data.streamed import Streamed
from saccade.errors import PictureError
from saccade.recipe import Recipe
from saccade.training.callbacks import EpochResult

SETTINGS = PackSettings(image_size=16, grey=False, fit="squash", rules=DecodeRules())
KEEP = Work(1, False, lambda done, total: None)
STREAM = KEEP._replace(stream=2)
CPU = torch.device("cpu")
SMALL: dict[str, object] = {"model": "lenet5", "recipe": "scratch", "epochs": 2, "batch_size": 8, "workers": 1}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SACCADE_CACHE", str(folder))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """21 pictures in two classes, one of them broken."""
    root, rng = tmp_path / "pictures", np.random.default_rng(0)
    for number in range(21):
        path = root / f"{'cat' if number < 12 else 'dog'}/{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20 + number, 31, 3), dtype=np.uint8)).save(path)
    (root / "cat" / "05.png").write_bytes((root / "cat" / "05.png").read_bytes()[:300])
    return root


def kinds_of(pictures: Path, folder: Path) -> dict[str, str]:
    """The same pictures as a folder, a zip, shards and arrays."""
    shards, arrays = folder / "shards", folder / "pictures.npz"
    pack_shards(open_pictures(pictures), Target(shards, "some"), lambda done, total: None)
    images = np.random.default_rng(1).integers(0, 256, (9, 20, 20, 3), dtype=np.uint8)
    np.savez(arrays, X_train=images, y_train=np.arange(9) % 2)
    archive = shutil.make_archive(str(folder / "zipped"), "zip", pictures)
    return {"folder": str(pictures), "zip": archive, "shards": str(shards), "arrays": str(arrays)}


def both(source: str) -> tuple[Pack, Pack]:
    """Streamed first: a pack that is there already would be used."""
    listing = open_pictures(source)
    streaming = open_pack(listing, SETTINGS, STREAM)
    return streaming, open_pack(listing, SETTINGS, KEEP)


def batches_of(pack: Pack, mixing: Mixing | None = None) -> Batches:
    augmentation = augmentation_of(Recipe(model="lenet5", augment="standard").resolved(), None)
    return Batches(pack.images, pack.labels, pack.usable, 6, 18, CPU, 3, augmentation, 0, mixing)


@pytest.mark.parametrize("kind", ["folder", "zip", "shards", "arrays"])
def test_streamed_pixels_are_those_of_the_pack(kind: str, pictures: Path, cache: Path, tmp_path: Path) -> None:
    streaming, kept = both(kinds_of(pictures, tmp_path)[kind])
    assert isinstance(streaming.images, Streamed)
    assert isinstance(kept.images, np.memmap)
    assert streaming.images.shape == kept.images.shape
    rows = np.array([4, 0, 8, 4])
    for which in (slice(None), slice(1, 9, 3), rows):
        np.testing.assert_array_equal(streaming.images[which], kept.images[which])
    np.testing.assert_array_equal(streaming.images[7], kept.images[7])
    np.testing.assert_array_equal(streaming.looks, kept.looks)
    assert (streaming.fingerprint, streaming.reasons) == (kept.fingerprint, kept.reasons)


def test_streaming_keeps_no_pixels_on_disk_and_finds_its_index_again(pictures: Path, cache: Path) -> None:
    listing = open_pictures(pictures)
    assert not open_pack(listing, SETTINGS, STREAM).reused
    assert not list(cache.rglob("images.npy"))
    again = open_pack(listing, SETTINGS, STREAM)
    assert again.reused
    assert again.is_streamed
    assert [each.reason for each in again.skipped] == ["truncated"]
    kept = open_pack(listing, SETTINGS, KEEP)
    assert not kept.reused
    assert not kept.is_streamed


def test_pack_that_is_there_is_used_rather_than_streaming(pictures: Path, cache: Path) -> None:
    listing = open_pictures(pictures)
    open_pack(listing, SETTINGS, KEEP)
    assert not open_pack(listing, SETTINGS, STREAM).is_streamed


@pytest.mark.parametrize("mixing", [None, Mixing(0.4, 1.0)])
def test_epochs_are_those_of_the_pack(mixing: Mixing | None, pictures: Path, cache: Path) -> None:
    streaming, kept = both(str(pictures))
    for epoch in (1, 2):
        pairs = list(
            zip(batches_of(streaming, mixing).epoch(epoch), batches_of(kept, mixing).epoch(epoch), strict=True)
        )
        assert len(pairs) == 4
        for ours, theirs in pairs:
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.labels, theirs.labels)


def test_each_process_reads_its_share_and_no_more(pictures: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = streamed.read_item
    monkeypatch.setattr(streamed, "read_item", lambda item: read.append(item.name) or original(item))
    pack, _ = both(str(pictures))
    shares = []
    for rank in range(2):
        seen = [row for batch in batches_of(pack).shared(rank, 2).epoch(1) for row in batch.rows.tolist()]
        assert sorted(read) == sorted(pack.names[row] for row in seen)
        read.clear()
        shares.append(seen)
    assert sorted(shares[0] + shares[1]) == pack.usable.tolist()
    assert [len(share) for share in shares] == [11, 9]  # of the last batch, of two, one process has both


def test_batches_are_decoded_ahead_and_none_is_left_when_nobody_wants_more(pictures: Path, cache: Path) -> None:
    pack, _ = both(str(pictures))
    images = pack.images
    assert isinstance(images, Streamed)
    epoch = batches_of(pack).epoch(1)
    next(epoch)
    assert len(images._asked) == 12  # two batches of six
    epoch.close()
    assert not images._asked


@pytest.mark.parametrize(("change", "reason"), [("removed", "missing"), ("another", "changed"), ("cut", "changed")])
def test_picture_that_is_not_what_it_was_is_named_and_never_learned_from(
    change: str, reason: str, pictures: Path, cache: Path
) -> None:
    pack, _ = both(str(pictures))
    path = pictures / "dog" / "14.png"
    if change == "removed":
        path.unlink()
    else:
        path.write_bytes((pictures / "dog" / "15.png").read_bytes() if change == "another" else path.read_bytes()[:-20])
    with pytest.raises(PictureError) as raised:
        list(batches_of(pack).epoch(1))
    assert raised.value.reason == reason
    assert raised.value.where == "dog/14.png"
    assert "--resume" in str(raised.value.remedy)


def test_training_learns_the_same_bits_and_judging_builds_no_pack(colours: Path, cache: Path, tmp_path: Path) -> None:
    runs = [
        saccade.train(colours, name=name, project=tmp_path / "runs", quiet=True, stream=name == "streamed", **SMALL)  # type: ignore[arg-type]
        for name in ("streamed", "kept")
    ]
    one, two = ((run.folder.path / "weights" / "last.safetensors").read_bytes() for run in runs)
    assert one == two
    assert runs[0].metrics["test"] == runs[1].metrics["test"]


def test_streamed_run_is_judged_and_reported_without_a_pack(colours: Path, cache: Path, tmp_path: Path) -> None:
    run = saccade.train(colours, name="streamed", project=tmp_path / "runs", quiet=True, stream=True, **SMALL)  # type: ignore[arg-type]
    assert run.evaluate().accuracy == run.metrics["test"]["accuracy"]
    assert not list(cache.rglob("images.npy"))


class _Take(saccade.Callback):
    """Moves a class away after the second epoch."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder, self.target = folder, target

    def after_epoch(self, result: EpochResult) -> bool:
        if result.epoch == 2:
            self.folder.rename(self.target)
        return False


def test_run_whose_pictures_went_goes_on_to_the_same_bits_when_they_are_back(
    colours: Path, cache: Path, tmp_path: Path
) -> None:
    pictures = Path(shutil.copytree(colours, tmp_path / "pictures"))
    settings = SMALL | {"epochs": 4, "stream": True, "quiet": True, "project": tmp_path / "runs"}
    taken = _Take(pictures / "red", tmp_path / "red")
    with pytest.raises(PictureError, match="does not exist"):
        saccade.train(pictures, name="taken", callbacks=[taken], **settings)  # type: ignore[arg-type]
    taken.target.rename(taken.folder)
    back = saccade.train(resume=tmp_path / "runs" / "taken", quiet=True)
    calm = saccade.train(pictures, name="calm", **settings)  # type: ignore[arg-type]
    one, two = ((run.folder.path / "weights" / "last.safetensors").read_bytes() for run in (back, calm))
    assert one == two


def test_gpu_keeps_no_copy_of_streamed_pictures(pictures: Path, cache: Path) -> None:
    pack, _ = both(str(pictures))
    assert resident_images(pack.images, torch.device("cuda")) is None


def test_statistics_are_those_of_numpy_in_double_precision(tmp_path: Path) -> None:
    """More pixels than float32 can count: its sums stop at 2**24 of a value, and the mean came out at half."""
    images = open_memmap(tmp_path / "images.npy", mode="w+", dtype=np.uint8, shape=(1500, 128, 128, 3))
    rng = np.random.default_rng(0)
    for start in range(0, 1500, 250):
        images[start : start + 250] = rng.integers((90, 120, 150), (200, 250, 256), (250, 128, 128, 3), dtype=np.uint8)
    rows = np.arange(1500)[::-1]
    means, deviations = pixel_statistics(images, rows)
    whole = np.asarray(images)
    np.testing.assert_allclose(means, [whole[..., channel].mean(dtype=np.float64) for channel in range(3)], rtol=1e-12)
    np.testing.assert_allclose(
        deviations, [whole[..., channel].std(dtype=np.float64) for channel in range(3)], rtol=1e-9
    )


def test_statistics_of_streamed_pictures_are_those_of_the_pack(pictures: Path, cache: Path) -> None:
    streaming, kept = both(str(pictures))
    assert pixel_statistics(streaming.images, kept.usable) == pixel_statistics(kept.images, kept.usable)


def test_broken_rows_are_zeros_as_in_a_pack(pictures: Path, cache: Path) -> None:
    streaming, kept = both(str(pictures))
    broken = np.flatnonzero(np.array(kept.reasons) != "")
    assert len(broken) == 1
    np.testing.assert_array_equal(streaming.images[broken], np.zeros((1, 16, 16, 3), dtype=np.uint8))
    assert replace(kept, images=streaming.images).is_streamed
