"""The machine that a measurement was made on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Processor, cores, instructions that matter to half precision, load average, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    facts = dict.fromkeys(("model name", "flags"), "")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text(encoding="utf-8").splitlines())
        facts |= {key.strip(): value.strip() for key, _, value in lines}
    narrow = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in facts["flags"].split()]
    names = ("saccade", "torch", "torchvision", "numpy")
    return {
        "processor": facts["model name"] or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "instructions": narrow,
        "load": os.getloadavg(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
    }
