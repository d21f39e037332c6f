"""The same laws for as long as one likes, over all cores: `SOAK_MINUTES=60 make soak`; seeds not seen before."""

from __future__ import annotations

import os
import sys
import time

from tests.support.simulation.crowd import Tally, play_over_cores

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))
FIRST_SEED = int(os.environ.get("SOAK_SEED", str(time.time_ns() // 1_000_000_000 * 1_000)))
TOLD_EVERY_S = 60


def test_every_law_holds_for_as_long_as_one_likes() -> None:
    total = Tally()
    began_s = told_s = time.monotonic()
    _tell(f"\n{MINUTES:g} minutes from seed {FIRST_SEED} (SOAK_MINUTES, SOAK_SEED)")
    for part in play_over_cores(FIRST_SEED, None, until_s=began_s + MINUTES * 60):
        total.add(part)
        if part.breached:
            _tell(part.told())
        if time.monotonic() - told_s >= TOLD_EVERY_S:
            told_s = time.monotonic()
            _tell(f"{(told_s - began_s) / 60:6.1f} min  {total}")
    _tell(str(total))

    assert not total.breached, f"\n{total.told()}"


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
