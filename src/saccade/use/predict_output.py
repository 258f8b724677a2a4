"""Where predictions go, and what became of the pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from saccade.use.predict import Prediction
from saccade.use.predict_rows import Sort


class Output(NamedTuple):
    """Where predictions go.

    Attributes:
        path: .csv, .jsonl or .parquet.
        sort: input, path or confidence.
        resume: go on with what was interrupted.
        copy_to: a folder that pictures are copied into, by class.
    """

    path: Path
    sort: Sort = "input"
    resume: bool = False
    copy_to: Path | None = None


@dataclass
class Summary:
    """What became of the pictures.

    Attributes:
        num_pictures: rows that were written.
        num_unsure: of them.
        reasons: reason code -> pictures that could not be used.
        num_copied: pictures that were copied; 0 where none were to be.
    """

    num_pictures: int = 0
    num_unsure: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    num_copied: int = 0

    @property
    def num_named(self) -> int:
        """Pictures that could be used, sure or not."""
        return self.num_pictures - self.reasons.total()

    def count(self, prediction: Prediction) -> Prediction:
        """One more; the same prediction is returned."""
        self.num_pictures += 1
        self.num_unsure += not prediction.reason and not prediction.sure
        if prediction.reason:
            self.reasons[prediction.reason] += 1
        return prediction

    def in_words(self) -> str:
        """A sentence: how many were named, and why the others were not."""
        word = "picture" if self.num_pictures == 1 else "pictures"
        words = f"{self.num_pictures:,} {word}: {self.num_named - self.num_unsure:,} named"
        if self.num_unsure:
            words += f", {self.num_unsure:,} not sure"
        if self.reasons:
            each = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.most_common())
            words += f", {self.reasons.total():,} could not be used ({each})"
        return words + (f"; {self.num_copied:,} copied" if self.num_copied else "")
