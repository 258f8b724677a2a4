"""Write the tables of models.md from the catalogue: `python docs/fill_models.py [--check]`.

A table stands between `<!-- catalogue: cnn1 vgg* -->`, which names its networks, and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from saccade.models.catalogue import transfer_of
from saccade.models.summary import CatalogueRow, catalogue_rows

PAGE = Path(__file__).with_name("models.md")
_TABLE = re.compile(r"(<!-- catalogue: ([^>]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_HEAD = "| network | pictures | parameters | multiply-adds | published weights | `--train last` |"


def filled(text: str) -> str:
    """The page with every table as the code has it."""
    rows = catalogue_rows()  # it builds every network
    return _TABLE.sub(lambda place: f"{place[1]}\n{_table(rows, place[2].split())}\n\n{place[4]}", text)


def _table(rows: Sequence[CatalogueRow], patterns: Sequence[str]) -> str:
    wanted = [row for row in rows if any(fnmatchcase(row.name, pattern) for pattern in patterns)]
    return "\n".join([_HEAD, "| --- " * 6 + "|", *(_row(row) for row in wanted)])


def _row(row: CatalogueRow) -> str:
    adds = f"{row.multiply_adds / 1e9:.2f} G" if row.multiply_adds >= 1e8 else f"{row.multiply_adds / 1e6:.2f} M"
    weights = f"ImageNet, {row.weights.top1:.1f} % right" if row.weights else "none"
    side = f"{row.image_size}×{row.image_size}×{row.in_channels}"
    cells = (f"`{row.name}`", side, f"{row.parameters:,}", adds, weights, f"`{transfer_of(row.name).last}`")
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the page, or with --check say whether it is stale; 1 where it is."""
    parser = argparse.ArgumentParser(description="Write the tables of models.md from the catalogue.")
    parser.add_argument("--check", action="store_true", help="change nothing, say whether it is stale")
    check = parser.parse_args(arguments).check
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before)
    if after != before and check:
        print("models.md is stale: python docs/fill_models.py", file=sys.stderr)
        return 1
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
