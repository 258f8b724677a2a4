"""Any name of a picture or class on a page: shown as text, found by searching, never markup."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser

import jinja2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saccade.data.cells import printable
from saccade.use.found import found_in
from saccade.use.report_page import page_templates
from saccade.use.report_pictures import Mistake, Mistakes

NAMES = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=200) | st.text(
    st.sampled_from("<>&\"'/= \n\r\t-!{}%#;amplt\u202e한😀"), min_size=1, max_size=60
)
STEADY = settings(derandomize=True, database=None, deadline=None, max_examples=200)


class Parts(HTMLParser):
    """The elements of a page, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.titles: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element, and the attributes it has."""
        self.tags.append(" ".join([tag, *(name for name, _ in attrs)]))
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.text += data


@cache
def templates() -> jinja2.Environment:
    """The report's, compiled once."""
    return page_templates()


def render(name: str) -> Parts:
    """The parts of the report that show names of pictures and classes."""
    mistakes = Mistakes(1, (Mistake(name, name, name, 0.5, None),), name)
    data = {
        "classes": {name: {"train": 3, "val": 1, "test": 1}},
        "num_seen": 5,
        "num_used": 5,
        "num_skipped": 1,
        "splits_given": True,
        "source": name,
        "noted": {},
        "skipped": {"truncated": 1},
        "outliers": {"blurry": {"num_pictures": 1, "pictures": [name]}},
        "duplicates": {"num_pairs": {"exact": 1}, "num_groups": 1, "groups": [[name, name]]},
        "imbalance": {"largest": name, "smallest": name, "ratio": 3.0, "baseline": 0.7},
    }
    skipped = [{"path": name, "reason": "truncated", "detail": name}]
    page = templates().get_template("sections/mistakes.html").render(mistakes=mistakes)
    context = {"data": data, "found": found_in(data), "remarks": [name], "skipped": skipped}
    return Parts(page + templates().get_template("sections/pictures.html").render(**context))


@STEADY
@given(name=NAMES)
@example(name="<script>alert(1)</script>")
@example(name='" onmouseover="alert(1)')
@example(name="--><b>&lt;")
@example(name="{{ 7 * 7 }}")
@example(name="\udcff" + "x" * 5000)
def test_f20_any_name_on_the_report_is_text_and_nothing_else(name: str) -> None:
    shown, plain = printable(name), render("plain")
    found = render(shown)
    assert found.tags == plain.tags
    assert shown in found.titles
    assert found.text.count(shown) >= 8
