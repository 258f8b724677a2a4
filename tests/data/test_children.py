"""FAULTS A22: an item that crashes its process or never ends costs itself and nothing else."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from cloudpickle import register_pickle_by_value, unregister_pickle_by_value

from saccade.data import packing
from saccade.data.children import Task, in_children
from saccade.data.decode import DecodeRules
from saccade.data.listing import StoredItem
from saccade.data.pack import open_pack
from saccade.data.packing import Row, Work
from saccade.data.prepare import PackSettings, Preparation
from saccade.data.sources.open import open_pictures
from saccade.errors import ResourceError

SECONDS = 2.0
SLEEP = 60


@pytest.fixture(autouse=True, scope="module")
def functions_of_this_file_travel() -> Iterator[None]:
    """Children cannot import tests by name."""
    register_pickle_by_value(sys.modules[__name__])
    yield
    unregister_pickle_by_value(sys.modules[__name__])


def end_suddenly() -> None:
    """What a defect of a decoder does."""
    os.kill(os.getpid(), signal.SIGSEGV)


def hold_the_lock() -> None:
    """What a decoder does that never ends: C code that does not let go of the interpreter's lock."""
    ctypes.PyDLL(None).sleep(SLEEP)


def squares(items: Sequence[Any]) -> Iterator[Any]:
    for item in items:
        if item == "crash":
            end_suddenly()
        if item == "hang":
            hold_the_lock()
        if item == "raise":
            raise KeyError(item)
        yield item * item


def run(items: Sequence[Any], num_children: int = 2) -> list[Any]:
    return list(in_children(Task(squares, lambda item: f"lost: {item}", SECONDS), items, num_children))


@pytest.mark.parametrize("num_children", [1, 2])
def test_results_of_children_come_in_order(num_children):
    assert run(range(1000), num_children) == [number * number for number in range(1000)]


def test_results_of_no_item_are_none():
    assert run([]) == []


@pytest.mark.parametrize("num_children", [1, 2])
@pytest.mark.parametrize("places", [[0], [150], [299], [3, 4, 200]], ids=str)
def test_a22_item_that_crashes_its_child_is_lost_alone(places, num_children):
    items: list[Any] = list(range(300))
    for place in places:
        items[place] = "crash"
    assert run(items, num_children) == [f"lost: {item}" if item == "crash" else item * item for item in items]


def test_a22_item_that_never_ends_is_lost_alone():
    items: list[Any] = [1, 2, "hang", 3]
    assert run(items) == [1, 4, "lost: hang", 9]


def test_error_of_an_item_is_raised_like_any_other():
    with pytest.raises(KeyError, match="raise"):
        run([1, "raise", 2])
    assert run([1, 2]) == [1, 4]  # and the next children work


def crash_in_company(items: Sequence[int]) -> Iterator[int]:
    """Ends every process that was given more than one item, as want of memory may."""
    for item in items:
        if len(items) > 1:
            end_suddenly()
        yield item


def test_children_that_end_for_no_item_are_a_resource_error():
    with pytest.raises(ResourceError, match="again and again"):
        list(in_children(Task(crash_in_company, lambda item: -1, SECONDS), range(400), 2))


@pytest.mark.parametrize("kind", ["crash", "hang"])
def test_a22_pack_with_a_picture_that_ends_its_decoder_goes_on(cache, make_folder, monkeypatch, kind):
    folder = make_folder("a/1.png", "a/2.png", "a/bad.png", "b/1.png", "b/2.png")
    real = packing._decode_items

    def decode_items(items: Sequence[StoredItem], preparation: Preparation) -> Iterator[Row]:
        for item in items:
            if item.name.endswith("bad.png"):
                end_suddenly() if kind == "crash" else hold_the_lock()
            yield from real([item], preparation)

    monkeypatch.setattr(packing, "_decode_items", decode_items)
    monkeypatch.setattr(packing, "_SECONDS", SECONDS)
    settings = PackSettings(16, False, "squash", DecodeRules())
    pack = open_pack(open_pictures(folder), settings, Work(2, False, lambda done, total: None))
    assert dict(zip(pack.names, pack.reasons, strict=True)) == {
        "a/1.png": "",
        "a/2.png": "",
        "a/bad.png": "decoder_crashed",
        "b/1.png": "",
        "b/2.png": "",
    }
    assert [(each.name, each.reason) for each in pack.skipped] == [("a/bad.png", "decoder_crashed")]
    assert np.asarray(pack.images)[[0, 1, 3, 4]].any(axis=(1, 2, 3)).all()
