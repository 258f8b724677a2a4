"""The cache keeps to its budget, and never takes away what somebody reads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from saccade.data.cache_room import use_entry
from saccade.data.sources.given import keep_given
from saccade.data.sources.open import open_pictures

HOLD = """
import sys
from pathlib import Path
from saccade.data.cache_room import use_entry
use_entry(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def fill(cache: Path, age: int, name: str) -> Path:
    """A megabyte that was last used so many hours ago."""
    path = cache / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(2**20))
    entry = cache.joinpath(*Path(name).parts[:2])
    for each in {path, entry}:
        os.utime(each, (1e9 - 3600 * age, 1e9 - 3600 * age))
    return entry


@pytest.fixture
def entries(cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Four entries of a megabyte each, in a cache that may have three."""
    monkeypatch.setenv("SACCADE_CACHE_BUDGET", str(3 / 1024))
    return {
        "oldest": fill(cache, 9, "tars/1.tar"),
        "older": fill(cache, 8, "given/shards-x/a.tar"),
        "old": fill(cache, 7, "sets/word/file.gz"),
        "now": fill(cache, 6, "tars/2.tar"),
    }


def there(entries: dict[str, Path]) -> set[str]:
    return {name for name, path in entries.items() if path.exists()}


def test_entry_not_used_for_longest_makes_room_and_it_is_said(entries):
    (said,) = use_entry(entries["now"])
    assert there(entries) == {"older", "old", "now"}
    assert "1.tar" in said
    assert use_entry(entries["now"]) == []


def test_entry_that_is_used_now_stays_though_it_is_the_oldest(entries):
    use_entry(entries["oldest"])
    assert there(entries) == {"oldest", "old", "now"}


def test_entry_that_another_process_reads_stays_until_that_ends(entries, monkeypatch):
    command = [sys.executable, "-c", HOLD, str(entries["oldest"])]
    environment = dict(os.environ, SACCADE_CACHE_BUDGET="1")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"held\n"
        monkeypatch.setenv("SACCADE_CACHE_BUDGET", "0")
        use_entry(entries["now"])
        assert there(entries) == {"oldest", "now"}
        reader.kill()
    use_entry(entries["now"])
    assert there(entries) == {"now"}


def test_path_outside_the_cache_changes_nothing(entries, tmp_path):
    assert use_entry(tmp_path / "pictures") == []
    assert len(there(entries)) == 4


def test_open_of_a_compressed_tar_and_of_arrays_trims_and_says_so(cache, make_folder, tmp_path, monkeypatch):
    packed = shutil.make_archive(str(tmp_path / "packed"), "gztar", make_folder("a/1.png", "b/1.png"))
    assert len(open_pictures(packed)) == 2
    monkeypatch.setenv("SACCADE_CACHE_BUDGET", "0")
    old = fill(cache, 5, "tars/old.tar")
    kept = keep_given((np.zeros((4, 8, 8), dtype=np.uint8), [0, 1, 0, 1]))
    listing = open_pictures(kept)
    assert not old.exists()
    assert kept.is_file()
    assert any("SACCADE_CACHE_BUDGET" in note for note in listing.notes)
    assert [path.suffix for path in (cache / "tars").iterdir()] == [".tar"]  # held by us
