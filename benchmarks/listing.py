"""Listing and fingerprinting many pictures, beside what else one would use: seconds and peak memory, in turns.

    python benchmarks/listing.py [--files 100000] [--rows 1000000] [--rounds 5]

folder   FILES small files in one class folder, ten in another   torchvision's ImageFolder, which takes no fingerprint
table    a csv of ROWS rows, in folders of a thousand files      csv.DictReader and os.stat of every file

Each measurement is a process of its own; seconds do not count what is imported before, peak memory does (saccade's
sources some 147 MiB, torchvision some 690 MiB). The files' entries are in the
system's cache, as after writing them: on a cold disk or a network drive both sides wait for it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from peers.machine import machine

FOLDER_OF = 1000
MOST_LINKS = 20_000  # a file system allows some 65,000 names for one file

MEASURE = """
import json, resource, sys, time
{imports}
before, path = time.perf_counter(), sys.argv[1]
{work}
seconds = time.perf_counter() - before
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found]))
"""
OURS = (
    "from saccade.data.decode import DecodeRules\nfrom saccade.data.pack import fingerprint_of\n"
    "from saccade.data.prepare import PackSettings\nfrom saccade.data.sources.open import open_pictures",
    "listing = open_pictures(path)\n"
    "fingerprint_of(listing, PackSettings(32, False, 'squash', DecodeRules()))\nfound = len(listing)",
)
IMAGE_FOLDER = ("from torchvision.datasets import ImageFolder", "found = len(ImageFolder(path).samples)")
DICT_READER = (
    "import csv, os",
    "rows = list(csv.DictReader(open(path, newline='')))\nroot = os.path.dirname(path)\n"
    "sizes = [os.stat(os.path.join(root, row['path'])).st_size for row in rows]\nfound = len(sizes)",
)


def write_folder(root: Path, num_files: int) -> Path:
    for name, count in (("cats", num_files - 10), ("dogs", 10)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:07}.png").write_bytes(b"a small picture")
    return root


def write_table(root: Path, num_rows: int) -> Path:
    """Names for a few files, so that a million of them are written in seconds."""
    root.mkdir()
    with (root / "table.csv").open("w", encoding="utf-8") as table:
        table.write("path,label,split,group\n")
        for number in range(num_rows):
            folder = root / f"{number // FOLDER_OF:04}"
            if number % FOLDER_OF == 0:
                folder.mkdir()
            if number % MOST_LINKS == 0:
                (source := root / f"{number}.png").write_bytes(b"a small picture")
            name = f"{folder.name}/{number % FOLDER_OF:03}.png"
            os.link(source, root / name)
            split = "train" if number % 5 else "test"
            table.write(f"{name},class{number // FOLDER_OF % 10},{split},g{number // 100}\n")
    return root / "table.csv"


def measure(path: Path, side: tuple[str, str]) -> tuple[float, float, int]:
    """Seconds, peak memory in MiB, and how many pictures were found."""
    program = MEASURE.format(imports=side[0], work=side[1])
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    seconds, memory, found = json.loads(done.stdout)
    return seconds, memory, found


def compare(name: str, path: Path, peer: tuple[str, str], rounds: int) -> None:
    found = {"saccade": [], "peer": []}
    for _ in range(rounds):
        for word, side in (("saccade", OURS), ("peer", peer)):
            found[word].append(measure(path, side))
    assert len({count for each in found.values() for _, _, count in each}) == 1, "both sides list the same pictures"
    medians = {}
    for word, each in found.items():
        seconds = sorted(one[0] for one in each)
        medians[word] = statistics.median(seconds)
        memory = max(one[1] for one in each)
        print(f"{name:8}{word:9}{medians[word]:7.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f})  {memory:6.0f} MiB")
    print(f"{name:8}ratio    {medians['peer'] / medians['saccade']:7.2f} times as fast as the peer (n = {rounds})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    print(json.dumps(machine()))
    with tempfile.TemporaryDirectory() as scratch:
        compare("folder", write_folder(Path(scratch, "folder"), asked.files), IMAGE_FOLDER, asked.rounds)
        compare("table", write_table(Path(scratch, "table"), asked.rows), DICT_READER, asked.rounds)


if __name__ == "__main__":
    main()
