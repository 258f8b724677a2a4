"""What is said about the pictures: every one is counted, and too many broken ones stop the run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.data.audit import check_bad_pictures, describe_pictures, pictures_in_words
from saccade.data.decode import DecodeRules
from saccade.data.listing import Skipped
from saccade.data.pack import Pack, open_pack
from saccade.data.packing import Work
from saccade.data.prepare import PackSettings, Preparation
from saccade.data.sources.open import open_pictures
from saccade.errors import DataError


def make_pack(
    num: int, broken: Sequence[str] = (), left_out: Sequence[Skipped] = (), codes: Sequence[str] = ()
) -> Pack:
    """A pack of `num` pictures in two classes: the first are broken, for these reasons."""
    names = tuple(f"{'cat' if index % 2 else 'dog'}/{index}.png" for index in range(num))
    return Pack(
        folder=Path("x"),
        images=np.zeros((num, 1, 1, 3), dtype=np.uint8),
        names=names,
        labels=np.arange(num) % 2,
        splits=np.full(num, "unassigned"),
        class_names=("cat", "dog"),
        reasons=(*broken, *[""] * (num - len(broken))),
        codes=(*codes, *[""] * (num - len(codes))),
        skipped=(*left_out, *(Skipped(*pair, "detail") for pair in zip(names, broken, strict=False))),
        preparation=Preparation(1, 3, "squash", DecodeRules()),
        fingerprint="0" * 64,
        reused=False,
    )


def refusal(pack: Pack, max_bad: float) -> DataError:
    with pytest.raises(DataError) as caught:
        check_bad_pictures(pack, max_bad)
    return caught.value


def left_out(num: int, reason: str) -> list[Skipped]:
    return [Skipped(f"{reason}{index}", reason, "detail") for index in range(num)]


# A, rule 3: too many broken pictures


@pytest.mark.parametrize("num_broken", [0, 1, 5])
def test_rule3_bad_pictures_up_to_the_limit_pass(num_broken):
    check_bad_pictures(make_pack(100, ["truncated"] * num_broken), 0.05)


def test_rule3_bad_pictures_above_the_limit_stop():
    assert refusal(make_pack(100, ["truncated"] * 6), 0.05).exit_code == 3


def test_rule3_bad_pictures_are_counted_by_reason():
    what = refusal(make_pack(100, ["truncated", "empty_file"] * 3 + ["truncated"]), 0.05).what
    assert "7 of 100" in what
    assert "(4 truncated, 3 empty_file)" in what


def test_rule3_bad_pictures_are_named_as_examples():
    where = refusal(make_pack(20, ["truncated", "empty_file", "too_small", "truncated"]), 0.05).where
    assert where == "dog/0.png (truncated); cat/1.png (empty_file); dog/2.png (too_small)"


def test_rule3_bad_files_that_the_listing_left_out_count():
    assert "6 of 106" in refusal(make_pack(100, left_out=left_out(6, "permission_denied")), 0.05).what


@pytest.mark.parametrize("reason", ["not_a_picture_name", "link_not_followed", "seen_before", "link_loop"])
def test_rule3_files_left_out_on_purpose_are_no_bad_pictures(reason):
    check_bad_pictures(make_pack(10, left_out=left_out(50, reason)), 0.0)


def test_rule3_files_that_are_no_pictures_do_not_hide_bad_ones():
    what = refusal(make_pack(20, ["truncated"] * 2, left_out(500, "not_a_picture_name")), 0.05).what
    assert "2 of 20" in what
    assert "not_a_picture_name" not in what


@pytest.mark.parametrize(
    ("max_bad", "words"), [(0.05, "the 5 % that"), (0.005, "the 0.5 % that"), (0.29, "the 29 % that")]
)
def test_rule3_limit_is_named_as_it_was_given(max_bad, words):
    assert words in refusal(make_pack(100, ["truncated"] * 50), max_bad).what


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_rule3_no_bad_pictures_pass_any_limit(limit):
    check_bad_pictures(make_pack(3), limit)


def suggested(error: DataError) -> float:
    found = re.search(r"--max-bad (\S+)", str(error.remedy))
    assert found
    return float(found[1])


@given(num=st.integers(1, 400), data=st.data())
def test_rule3_suggested_max_bad_is_accepted(num, data):
    pack = make_pack(num, ["truncated"] * data.draw(st.integers(1, num)))
    share = suggested(refusal(pack, 0.0))
    assert 0 < share <= 1
    check_bad_pictures(pack, share)


@pytest.mark.parametrize("num_broken", range(1, 101))
def test_rule3_a_share_that_is_exactly_the_limit_passes(num_broken):
    check_bad_pictures(make_pack(100, ["truncated"] * num_broken), num_broken / 100)


# A, rule 2: nothing disappears


def test_rule2_report_counts_seen_used_and_skipped():
    pack = make_pack(20, ["truncated", "truncated", "empty_file"], left_out(2, "not_a_picture_name"))
    report = describe_pictures(pack, pack.usable, np.full(17, "train"), "x", [])
    assert (report["num_seen"], report["num_used"], report["num_skipped"]) == (22, 17, 5)
    assert list(report["skipped"].items()) == [("not_a_picture_name", 2), ("truncated", 2), ("empty_file", 1)]


@given(num=st.integers(1, 30), data=st.data(), others=st.integers(0, 5))
def test_rule2_seen_is_used_and_skipped_together(num, data, others):
    pack = make_pack(num, ["truncated"] * data.draw(st.integers(0, num)), left_out(others, "seen_before"))
    report = describe_pictures(pack, pack.usable, np.full(len(pack.usable), "train"), "x", [])
    assert report["num_seen"] == report["num_used"] + report["num_skipped"] == num + others


def test_rule2_report_counts_each_class_in_each_part():
    pack = make_pack(10, ["truncated"])  # row 0, a dog: label 0 is "cat" by index, so it is missing there
    parts = np.array(["train", "train", "val", "test", "train", "val", "test", "train", "train"])
    labels = pack.labels[pack.usable]
    expected = {
        name: {part: sum(1 for pair in zip(labels, parts, strict=True) if pair == (index, part)) for part in set(parts)}
        for index, name in enumerate(pack.class_names)
    }
    assert describe_pictures(pack, pack.usable, parts, "x", [])["classes"] == expected


def test_rule2_words_name_every_count_and_reason():
    pack = make_pack(
        2000, ["truncated"] * 2, left_out(1, "seen_before"), ["", "", "multi_frame", "multi_frame constant"]
    )
    words = pictures_in_words(describe_pictures(pack, pack.usable, np.full(1998, "train"), "x", []))
    assert words == [
        "pictures: 2,001 seen, 1,998 used, 3 skipped",
        "  skipped: 2 truncated, 1 seen_before",
        "  used, but noted: 2 multi_frame, 1 constant",
    ]


def test_rule2_words_about_whole_pictures_are_one_line():
    words = pictures_in_words(describe_pictures(make_pack(4), np.arange(4), np.full(4, "train"), "x", []))
    assert words == ["pictures: 4 seen, 4 used, 0 skipped"]


@pytest.mark.parametrize(("split", "given_by_owner"), [("train", True), ("unassigned", False)])
def test_report_tells_whether_splits_were_given(split, given_by_owner):
    pack = make_pack(4)
    pack.splits[0] = split
    assert describe_pictures(pack, pack.usable, np.full(4, "train"), "x", [])["splits_given"] is given_by_owner


def test_report_of_a_real_pack_counts_what_lies_there(cache, encode, noise, write_files, tmp_path):
    good = {f"{name}/{index}.png": encode(noise(10, 10, 3, index)) for name in "ab" for index in range(3)}
    others = {"a/bad.png": b"", "b/bad.png": good["b/0.png"][:-40], "b/notes.txt": b"x", "b/odd.jpg": good["b/0.png"]}
    listing = open_pictures(write_files(tmp_path / "x", good | others))
    settings = PackSettings(10, False, "squash", DecodeRules())
    pack = open_pack(listing, settings, Work(1, False, lambda done, total: None))
    report = describe_pictures(pack, pack.usable, np.full(len(pack.usable), "train"), listing.source, [])
    assert report["skipped"] == {"not_a_picture_name": 1, "empty_file": 1, "truncated": 1}
    assert report["noted"] == {"wrong_extension": 1}
    assert (report["num_seen"], report["num_used"], report["num_skipped"]) == (10, 7, 3)
    assert report["preparation"] == pack.preparation.to_json()
    assert report["fingerprint"] == pack.fingerprint
