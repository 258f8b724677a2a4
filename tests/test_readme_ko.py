"""README.ko.md says what README.md says: the same commands, code, links and numbers, section by section.

To bring it up to date after README.md has changed, run this test: it names the section and the numbers, links or
commands that one page has and the other lacks. Write those into README.ko.md.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, KOREAN = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ko.md"))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)*")


def _sections(page: str) -> list[tuple[str, str]]:
    """Heading and text of what stands before the first heading of the second level, and of each of these."""
    parts = re.split(r"^## (.*)\n", page, flags=re.MULTILINE)
    return [("(top)", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]


def _commands(page: str) -> list[tuple[str, str]]:
    """Blocks of code in their order, without comments, which are translated."""
    return [(language, re.sub(r" *# .*", "", code)) for language, code in _BLOCK.findall(page)]


def _links(page: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)]+)\)", page) if link not in {"README.md", "README.ko.md"}]


def _numbers(section: str) -> Counter[str]:
    """How often each number stands there; order and words differ between languages."""
    return Counter(number.rstrip(",") for number in _NUMBER.findall(_BLOCK.sub("", section)))


def _quoted(section: str) -> Counter[str]:
    return Counter(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", _BLOCK.sub("", section)))


PAIRS = list(zip(_sections(ENGLISH), _sections(KOREAN), strict=False))
NAMES = [english for (english, _), _ in PAIRS]


def test_korean_readme_has_as_many_sections() -> None:
    assert len(_sections(ENGLISH)) == len(_sections(KOREAN))


def test_korean_readme_shows_the_same_commands_and_code() -> None:
    assert _commands(KOREAN) == _commands(ENGLISH)


def test_korean_readme_has_the_same_links_in_the_same_order() -> None:
    assert _links(KOREAN) == _links(ENGLISH)


@pytest.mark.parametrize("number", range(len(PAIRS)), ids=NAMES)
def test_korean_readme_has_the_numbers_of_each_section(number: int) -> None:
    (heading, english), (_, korean) = PAIRS[number]
    stale, lacking = _numbers(korean) - _numbers(english), _numbers(english) - _numbers(korean)
    assert not stale + lacking, f"{heading}: README.ko.md still says {dict(stale)}, README.md says {dict(lacking)}"


@pytest.mark.parametrize("number", range(len(PAIRS)), ids=NAMES)
def test_korean_readme_quotes_the_code_of_each_section(number: int) -> None:
    (heading, english), (_, korean) = PAIRS[number]
    stale, lacking = _quoted(korean) - _quoted(english), _quoted(english) - _quoted(korean)
    assert not stale + lacking, f"{heading}: only in README.ko.md {dict(stale)}, only in README.md {dict(lacking)}"


def test_korean_readme_is_written_in_korean() -> None:
    for heading, text in _sections(KOREAN):
        prose = re.sub(r"`[^`]*`|\([^)]*\)|\[[^\]]*\]", "", _BLOCK.sub("", text))
        hangul = len(re.findall(r"[가-힣]", prose))
        assert hangul > len(re.findall(r"[A-Za-z]", prose)), heading
