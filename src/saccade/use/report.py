"""placeholder until the report is written"""

from pathlib import Path

from saccade.runs import RunFolder


def write_report(run: RunFolder) -> Path:
    return run.write_report("<html></html>")
