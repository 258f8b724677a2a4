"""FAULTS A22: an item that crashes its process or never ends costs itself and nothing else."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from saccade.data import packing
from saccade.data.children import Children, Task
from saccade.data.decode import DecodeRules
from saccade.data.pack import open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings
from saccade.data.sources.open import open_pictures
from saccade.errors import PictureError, ResourceError

SECONDS = 2.0

# What children run must lie in a file of its own: they import it, as they import the decoder.
FAULTY = '''
import ctypes, os, signal
from saccade.data.rows import find_rows
from saccade.errors import PictureError

def fail(kind):
    """What a defect of a decoder does: it crashes, or never lets go of the interpreter's lock."""
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "hang":
        ctypes.PyDLL(None).sleep(60)
    if kind == "raise":
        raise PictureError("truncated", "as planned", where="here")
    if kind == "print":
        print("noise", flush=True)
        os.write(1, b"more noise")

def squares(items):
    for item in items:
        fail(item)
        yield item * 2 if isinstance(item, str) else item * item

def find_faulty_rows(pictures, preparation, place):
    for picture in pictures:
        fail(picture.item.name.rpartition("/")[2].partition(".")[0])
        yield from find_rows([picture], preparation, place)
'''


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with functions that fail as decoders may."""
    (tmp_path / "faulty_decoder.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty_decoder", raising=False)
    return importlib.import_module("faulty_decoder")


def run(faulty: ModuleType, items: Any, num_children: int = 2) -> list[Any]:
    with Children(num_children) as children:
        task = Task[Any, Any](faulty.squares, lambda item: f"lost: {item}", SECONDS)
        return list(children.results(task, items))


@pytest.mark.parametrize("num_children", [1, 2])
def test_results_of_children_come_in_order(faulty, num_children):
    assert run(faulty, range(1000), num_children) == [number * number for number in range(1000)]


def test_results_of_no_item_are_none(faulty):
    assert run(faulty, []) == []


@pytest.mark.parametrize("num_children", [1, 2])
@pytest.mark.parametrize("places", [[0], [299], [3, 4, 200]], ids=str)
def test_a22_item_that_crashes_its_child_is_lost_alone(faulty, places, num_children):
    items: list[Any] = list(range(300))
    for place in places:
        items[place] = "crash"
    expected = ["lost: crash" if item == "crash" else item * item for item in items]
    assert run(faulty, items, num_children) == expected


def test_a22_item_that_never_ends_is_lost_alone(faulty):
    assert run(faulty, [1, 2, "hang", 3]) == [1, 4, "lost: hang", 9]


def test_what_a_decoder_prints_does_not_get_between_the_results(faulty):
    assert run(faulty, [1, "print", 3]) == [1, "printprint", 9]


def test_error_of_an_item_is_raised_whole(faulty):
    with pytest.raises(PictureError, match="as planned") as caught:
        run(faulty, [1, "raise", 2])
    assert (caught.value.reason, caught.value.where) == ("truncated", "here")


def test_children_end_with_their_block(faulty):
    with Children(2) as children:
        results = children.results(Task[Any, Any](faulty.squares, str, SECONDS), range(300))
        assert next(results) == 0
        processes = [child._process for child in children._all]
    assert len(processes) == 2
    assert all(process.poll() is not None for process in processes)


def test_child_that_cannot_start_is_a_resource_error(faulty, monkeypatch):
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    with pytest.raises(ResourceError, match="cannot be started"):
        run(faulty, [1, 2])


@pytest.mark.parametrize("kind", ["crash", "hang"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a22_pack_with_a_picture_that_ends_its_decoder_goes_on(cache, make_folder, faulty, monkeypatch, kind, workers):
    folder = make_folder("a/1.png", "a/2.png", f"a/{kind}.png", "b/1.png", "b/2.png")
    monkeypatch.setattr(packing, "find_rows", faulty.find_faulty_rows)
    monkeypatch.setattr(packing, "_SECONDS", SECONDS)
    settings = PackSettings(16, False, "squash", DecodeRules())
    pack = open_pack(open_pictures(folder), settings, Work(workers, False, lambda done, total: None))
    reasons = dict(zip(pack.names, pack.reasons, strict=True))
    assert reasons == dict.fromkeys(pack.names, "") | {f"a/{kind}.png": "decoder_crashed"}
    assert [(each.name, each.reason) for each in pack.skipped] == [(f"a/{kind}.png", "decoder_crashed")]
    assert np.asarray(pack.images)[pack.usable].any(axis=(1, 2, 3)).all()
    assert len(pack.usable) == 4
