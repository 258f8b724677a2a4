"""How patient torch's threads are. Read before torch is imported; imports nothing but os."""

from __future__ import annotations

import os

# GNU OpenMP's threads spin for a while at the end of every operation before they sleep. When another process wants
# the cores, the ones that still work wait for those that spin: small networks were seen to train 5 to 30 times
# slower beside two busy processes on two cores. A short spin keeps nearly all of the speed on an idle machine.
SPIN_COUNT = "1000"


def calm_threads() -> None:
    """Let idle threads sleep soon, unless the environment says otherwise. Without effect once torch is loaded."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
