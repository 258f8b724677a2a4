"""Where saccade keeps what it can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """SACCADE_CACHE, else the place the operating system has for caches."""
    return Path(os.environ.get("SACCADE_CACHE") or platformdirs.user_cache_dir("saccade"))
