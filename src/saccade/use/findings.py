"""What `saccade.check` returns: the findings of a check as attributes, as text, and as a page."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from saccade.use.check import Checked
from saccade.use.check_page import render_check, write_check_page
from saccade.use.check_table import checked_in_words
from saccade.use.fixed import write_fixed


class Findings:
    """What is right and wrong with a collection of pictures; docs/check.md says what each finding means.

    Args:
        checked: by `check_pictures`.
    """

    def __init__(self, checked: Checked) -> None:
        self._checked = checked

    @property
    def report(self) -> dict[str, Any]:
        """Everything, as the command writes it to data_report.json."""
        return self._checked.report

    @property
    def warnings(self) -> list[str]:
        """Sentences about what should not be overlooked; empty when all is well."""
        return self._checked.warnings

    @property
    def classes(self) -> dict[str, dict[str, int]]:
        """Pictures by class and part."""
        return dict(self.report["classes"])

    @property
    def skipped(self) -> dict[str, int]:
        """How many pictures cannot be used, by reason."""
        return dict(self.report["skipped"])

    @property
    def duplicates(self) -> dict[str, Any]:
        """The same picture more than once: `num_pairs` by kind, `num_groups`, `groups` by name."""
        return dict(self.report["duplicates"])

    @property
    def leaks(self) -> dict[str, Any]:
        """Pictures of val and test that are learned from: `num_test`, `num_val`, `pictures`."""
        return dict(self.report["leaks"])

    @property
    def conflicts(self) -> dict[str, Any]:
        """Pictures that stand in two classes: `num_pictures`, `pictures`."""
        return dict(self.report["conflicts"])

    @property
    def outliers(self) -> dict[str, Any]:
        """Constant, tiny, long, blurry, dark, bright pictures: `num_pictures` and `pictures` of each kind."""
        return dict(self.report["outliers"])

    @property
    def shortcuts(self) -> list[dict[str, Any]]:
        """What gives the class away without looking at the picture: `fact`, `accuracy`, `chance`."""
        return list(self.report["shortcuts"])

    @property
    def imbalance(self) -> dict[str, Any]:
        """The `largest` and `smallest` class, their `ratio`, and the `baseline` of always saying the largest."""
        return dict(self.report["imbalance"])

    @property
    def suspects(self) -> dict[str, Any] | None:
        """Labels that look wrong to the network that was given; None where none was."""
        found = self.report["suspects"]
        return None if found is None else dict(found)

    def to_html(self, path: str | Path) -> Path:
        """Write a page with the pictures that were found; returns where it lies."""
        return write_check_page(Path(path), self._checked)

    def fix(self, path: str | Path) -> int:
        """Write a table (.csv; of arrays an .npz) of the pictures worth keeping; returns how many were left out.

        Raises:
            UsageError, DataError: the pictures cannot be named there; the message says what can.
        """
        return write_fixed(Path(path), self._checked)

    def __str__(self) -> str:
        return checked_in_words(self._checked)

    def __repr__(self) -> str:
        used = f"{self.report['num_used']:,} of {self.report['num_seen']:,} pictures"
        return f"Findings({self.report['source']}: {used} used, {len(self.warnings)} warnings)"

    def _repr_html_(self) -> str:
        # A frame of its own: the page's styles stay within it.
        style = "width: 100%; height: 640px; border: 1px solid #8884"
        return f'<iframe sandbox="" style="{style}" srcdoc="{escape(render_check(self._checked))}"></iframe>'
