"""What all pages share: their templates, and numbers as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

import jinja2


@cache
def page_templates() -> jinja2.Environment:
    """The templates, everything escaped that is put into them; compiled once, however many pages are written."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("saccade.use", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "duration": duration, "moment": moment, "between": between}
    return environment


def percent(share: float, digits: int = 1) -> str:
    """`98.6%`; what is almost all or almost nothing is never rounded to it: `>99.9%`, `<0.1%`."""
    smallest = 10.0**-digits
    text = f"{share:.{digits}%}"
    if share < 1 and text == f"{1:.{digits}%}":
        return f">{100 - smallest:.{digits}f}%"
    return f"<{smallest:.{digits}f}%" if share > 0 and text == f"{0:.{digits}%}" else text


def between(interval: Sequence[float] | None) -> str:
    """`92.1 to 99.0`, in percent; nothing where there is no interval."""
    return "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def duration(seconds: float) -> str:
    """`12.3 s`, `4 min 12 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment(text: str) -> str:
    """An ISO time as `2026-11-22 04:10 UTC`."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
