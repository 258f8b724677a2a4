"""What is known about a file that was exported: a record, and the same in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from saccade.metrics import Interval, wilson
from saccade.use.export_parity import Parity


class Share(NamedTuple):
    """How many of the run's test pictures are right."""

    num_correct: int
    num_pictures: int

    @property
    def interval(self) -> Interval:
        """At 95 %."""
        return wilson(self.num_correct, self.num_pictures)

    @property
    def accuracy(self) -> float:
        """0..1"""
        return self.num_correct / self.num_pictures


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what is known about it.

    Attributes:
        path: where it lies.
        parity: what came of trying it on pictures.
        before: the network on the run's test pictures; None where they are gone.
        after: the file on the same.
        megabytes: of the file.
        milliseconds: per picture, by file and by torch, in batches of 16 on the CPU.
    """

    path: Path
    parity: Parity
    before: Share | None
    after: Share | None
    megabytes: float
    milliseconds: dict[str, float]

    @property
    def loss(self) -> float:
        """Of accuracy on the run's test pictures, 0..1; 0 where they are gone."""
        return self.before.accuracy - self.after.accuracy if self.before and self.after else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        shares = {"before": self.before, "after": self.after}
        return {
            "path": str(self.path),
            "megabytes": self.megabytes,
            "milliseconds": self.milliseconds,
            "parity": self.parity.to_json(),
            **{name: None if share is None else share._asdict() for name, share in shares.items()},
        }


def in_words(exported: Exported) -> list[str]:
    """What was found, a line each."""
    parity = exported.parity
    pictures = "test pictures of the run" if parity.real else "pictures that were made up"
    lines = [
        f"tried on {parity.including_resizing.num_pictures:,} {pictures}: without resizing {_difference(parity, 0)}; "
        f"including resizing {_difference(parity, 1)}"
    ]
    if parity.in_full is not None:
        lines.append(
            f"{parity.in_full.num_pictures:,} of them are large JPEGs that saccade reduces while it decodes; decoded "
            f"in full {_difference(parity, 2)}"
        )
    if exported.before and exported.after:
        before, after = (
            f"{share.accuracy:.1%} ({share.num_correct:,} of {share.num_pictures:,}, 95 % interval "
            f"{share.interval.low:.1%} to {share.interval.high:.1%})"
            for share in (exported.before, exported.after)
        )
        lines.append(f"test accuracy {before} before, {after} after")
    speeds = ", ".join(f"{name} {value:.2f} ms" for name, value in exported.milliseconds.items())
    lines.append(f"{exported.megabytes:.1f} MB; per picture, in batches of 16 on this CPU: {speeds}")
    return lines


def _difference(parity: Parity, step: int) -> str:
    found = (parity.without_resizing, parity.including_resizing, parity.in_full)[step]
    if found is None:
        return ""
    return f"probabilities differ by at most {found.largest:.1e}, {found.same_labels:.1%} have the same label"
