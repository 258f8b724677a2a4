"""training/store.py: what is kept is what was computed, whatever happened in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout

from saccade.training.store import FeatureStore, Layout, make_room

LAYOUT = Layout(num_rows=10, shape=(3, 2), dtype=torch.float32, chunk_rows=4)
VALUES = torch.randn(10, 3, 2, generator=torch.Generator().manual_seed(0))


def _fill(store: FeatureStore, values: torch.Tensor = VALUES) -> int:
    return store.fill(lambda start, stop: values[start:stop], lambda rows: None)


def _refuse(start: int, stop: int) -> torch.Tensor:
    raise AssertionError("nothing was missing")


def test_store_filled_gives_rows_in_any_order_as_they_were(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "a", {"pictures": "x"}, LAYOUT)
    assert _fill(store) == 10
    rows = np.array([9, 0, 4, 4], dtype=np.int64)
    assert torch.equal(store.rows(rows), VALUES[torch.from_numpy(rows)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_store_of_half_precision_keeps_every_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    values = VALUES.to(dtype)
    store = FeatureStore(tmp_path / "a", {}, LAYOUT._replace(dtype=dtype))
    _fill(store, values)
    again = FeatureStore(tmp_path / "a", {}, LAYOUT._replace(dtype=dtype))
    assert again.missing() == []
    assert torch.equal(again.rows(np.arange(10)), values)


def test_store_opened_again_computes_nothing(tmp_path: Path) -> None:
    _fill(FeatureStore(tmp_path / "a", {"pictures": "x"}, LAYOUT))
    again = FeatureStore(tmp_path / "a", {"pictures": "x"}, LAYOUT)
    assert again.fill(_refuse, lambda rows: None) == 0
    assert torch.equal(again.rows(np.arange(10)), VALUES)


@pytest.mark.parametrize(
    ("about", "layout"),
    [({"pictures": "y"}, LAYOUT), ({"pictures": "x"}, LAYOUT._replace(chunk_rows=5)), ({"pictures": "x"}, None)],
)
def test_store_of_something_else_is_computed_anew(
    about: dict[str, object], layout: Layout | None, tmp_path: Path
) -> None:
    _fill(FeatureStore(tmp_path / "a", {"pictures": "x"}, LAYOUT))
    if layout is None:
        (tmp_path / "a" / "store.json").write_text("not json")
    other = FeatureStore(tmp_path / "a", about, layout or LAYOUT)
    assert _fill(other, VALUES + 1) == 10
    assert torch.equal(other.rows(np.arange(10)), VALUES + 1)


def test_store_with_any_flipped_byte_computes_that_chunk_again(tmp_path: Path) -> None:
    _fill(FeatureStore(tmp_path / "a", {}, LAYOUT))
    path = tmp_path / "a" / "features.bin"
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        store = FeatureStore(tmp_path / "a", {}, LAYOUT)
        assert store.missing() == [position // (LAYOUT.row_bytes * 4)]
        _fill(store)
        assert path.read_bytes() == whole


def test_store_cut_at_every_length_of_its_journal_is_never_believed_too_much(tmp_path: Path) -> None:
    _fill(FeatureStore(tmp_path / "a", {}, LAYOUT))
    journal = tmp_path / "a" / "chunks.csv"
    text = journal.read_bytes()
    for length in range(len(text)):
        journal.write_bytes(text[:length])
        store = FeatureStore(tmp_path / "a", {}, LAYOUT)
        assert store.missing() == list(range(text[:length].count(b"\n"), 3))
        assert _fill(store) == sum([4, 4, 2][chunk] for chunk in range(text[:length].count(b"\n"), 3))
        assert torch.equal(store.rows(np.arange(10)), VALUES)


def test_store_cut_short_is_computed_anew(tmp_path: Path) -> None:
    _fill(FeatureStore(tmp_path / "a", {}, LAYOUT))
    path = tmp_path / "a" / "features.bin"
    path.write_bytes(path.read_bytes()[:-1])
    store = FeatureStore(tmp_path / "a", {}, LAYOUT)
    assert _fill(store) == 10
    assert torch.equal(store.rows(np.arange(10)), VALUES)


def test_store_given_other_shapes_refuses(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "a", {}, LAYOUT)
    with pytest.raises(ValueError, match=r"expected \(4, 3, 2\)"):
        store.fill(lambda start, stop: VALUES[start:stop, :2], lambda rows: None)


def test_store_being_filled_by_another_process_says_so(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "a", {}, LAYOUT)
    _fill(store)
    with FileLock(tmp_path / "a" / "lock"), pytest.raises(Timeout):
        FeatureStore(tmp_path / "a", {}, LAYOUT).fill(_refuse, lambda rows: None)
    store.wait()


def test_store_whose_process_is_killed_while_filling_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGKILL at three random moments of one filling; what is in the end is what was computed, nothing twice wrong."""
    script = f"""
import time, torch
from pathlib import Path
from saccade.training.store import FeatureStore, Layout
values = torch.arange(2000.0).reshape(200, 10)
def compute(start, stop):
    time.sleep(0.01)
    return values[start:stop]
FeatureStore(Path({str(tmp_path / "a")!r}), {{}}, Layout(200, (10,), torch.float32, 3)).fill(compute, lambda rows: None)
"""
    layout = Layout(200, (10,), torch.float32, 3)
    reached = 0
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 60
        while not (tmp_path / "a" / "chunks.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        before = reached
        while process.poll() is None and time.monotonic() < deadline:
            lines = (tmp_path / "a" / "chunks.csv").read_bytes().count(b"\n")
            if lines > before:
                break
        time.sleep(rng.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        missing = FeatureStore(tmp_path / "a", {}, layout).missing()
        assert layout.num_chunks - len(missing) >= reached, "what was whole is still there"
        reached = layout.num_chunks - len(missing)
    store = FeatureStore(tmp_path / "a", {}, layout)
    values = torch.arange(2000.0).reshape(200, 10)
    computed = store.fill(lambda start, stop: values[start:stop], lambda rows: None)
    assert computed < 200
    assert torch.equal(store.rows(np.arange(200)), values)


def test_make_room_removes_what_was_not_used_for_longest_and_spares_what_is_kept(tmp_path: Path) -> None:
    stores = [FeatureStore(tmp_path / name, {"name": name}, LAYOUT) for name in ("old", "kept", "new")]
    for age, store in enumerate(stores):
        _fill(store)
        os.utime(store.folder / "store.json", (1000 + age, 1000 + age))
    size = LAYOUT.num_bytes
    make_room(tmp_path, needed=size, budget=4 * size, keep=frozenset())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "new", "old"]
    make_room(tmp_path, needed=size, budget=3 * size, keep=frozenset())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "new"]
    make_room(tmp_path, needed=size, budget=2 * size, keep=frozenset({"kept"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]


def test_make_room_spares_a_store_that_is_being_filled(tmp_path: Path) -> None:
    _fill(FeatureStore(tmp_path / "busy", {}, LAYOUT))
    with FileLock(tmp_path / "busy" / "lock"):
        make_room(tmp_path, needed=1, budget=1, keep=frozenset())
    assert (tmp_path / "busy" / "store.json").exists()
