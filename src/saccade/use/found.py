"""What was found in a run's pictures, arranged for the report: a line per finding, from data_report.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from saccade.data.outliers import OUTLIERS

_MOST_EXAMPLES = 5
_UNEVEN = 1.5  # the largest class against the smallest: below there is nothing to say
_FACTS = {
    "size": "the size of a picture gives its class away",
    "format": "the file format gives the class away",
    "greyness": "whether a picture is grey gives its class away",
}


class Found(NamedTuple):
    """A finding: what, how many pictures (or how much), what it means, and the names of some of them."""

    title: str
    amount: str
    words: str
    examples: tuple[str, ...] = ()


def found_in(data: Mapping[str, Any]) -> tuple[Found, ...]:
    """The findings of a data_report.json, the gravest first; runs of older versions looked for fewer."""
    return (
        *_leaks(data.get("leaks")),
        *_conflicts(data.get("conflicts")),
        *_shortcuts(data.get("shortcuts", ())),
        *_copies(data.get("duplicates")),
        *_outliers(data.get("outliers", {})),
        *_imbalance(data.get("imbalance")),
    )


def _leaks(leaks: Mapping[str, Any] | None) -> Iterator[Found]:
    if leaks and leaks["num_test"] + leaks["num_val"]:
        amount = f"{leaks['num_test']:,} test, {leaks['num_val']:,} val"
        copies = f"{leaks['num_copies']:,} copies on an earlier side, which "
        words = copies + ("are not used" if leaks["dropped"] else "are learned from: their accuracy is too good")
        yield Found("Leaked", amount, words, _some(leaks["pictures"]))


def _conflicts(conflicts: Mapping[str, Any] | None) -> Iterator[Found]:
    if conflicts and conflicts["num_pictures"]:
        words = "the same picture as one of another class; they judge nothing"
        yield Found("In two classes", f"{conflicts['num_pictures']:,}", words, _some(conflicts["pictures"]))


def _shortcuts(shortcuts: Sequence[Mapping[str, Any]]) -> Iterator[Found]:
    for each in shortcuts:
        words = f"{_FACTS.get(each['fact'], each['fact'])}; guessing names {each['chance']:.0%} rightly"
        yield Found("Shortcut", f"{each['accuracy']:.0%}", words)


def _copies(copies: Mapping[str, Any] | None) -> Iterator[Found]:
    if copies and copies["num_groups"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in copies["num_pairs"].items() if count)
        examples = tuple(" = ".join(_some(group)) for group in copies["groups"][:_MOST_EXAMPLES])
        yield Found("More than once", f"{copies['num_groups']:,}", f"pairs: {kinds}", examples)


def _outliers(outliers: Mapping[str, Mapping[str, Any]]) -> Iterator[Found]:
    for name, about in outliers.items():
        if about["num_pictures"]:
            title, words = name.replace("_", " ").capitalize(), OUTLIERS.get(name, "")
            yield Found(title, f"{about['num_pictures']:,}", words, _some(about["pictures"]))


def _imbalance(found: Mapping[str, Any] | None) -> Iterator[Found]:
    if found and found["ratio"] >= _UNEVEN:
        words = f"as many pictures of {found['largest']} as of {found['smallest']}"
        always = f"; always saying {found['largest']} would be right {found['baseline']:.1%} of the time"
        yield Found("Imbalance", f"{found['ratio']:,.1f} times", words + always)


def _some(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[:_MOST_EXAMPLES])
