"""Can any sequence of events break the pool's promise? Every state of small pools, seen one by one.

Each size exhausts its space: I1 holds in every state, no slot stays tied to one who is gone (I2), and from every state,
when nothing goes wrong any more, a living participant has a slot within the time that I2 allows. What is left out of a
size is in another one; `infra/decisions/model.md` tells why that is enough. `pytest tests/model -s` prints the sizes
and stories; `MODEL_SIZE=full pytest tests/model/test_model.py -s` exhausts larger spaces too, in minutes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest

from tests.support.model.calm import Calm
from tests.support.model.search import Model
from tests.support.model.shape import Size
from volcengine_client.pool.slots import Limit

PROMPT = Size(
    delayed_max=0, has_repeats=False, has_old_snapshots=False, has_late_replies=False, has_sweeps=False, clock_behind=1
)
STAYING = replace(PROMPT, has_crashes=False, has_leaving=False)
SIZES = {
    # the size, and how many states it has at the least
    "one thing late at a time": (
        replace(PROMPT, delayed_max=1, has_repeats=True, has_old_snapshots=True, has_late_replies=True),
        330_000,
    ),
    "two requests late at a time": (replace(STAYING, delayed_max=2), 700_000),
    "fast clocks, and leases counted from wrong times": (
        replace(PROMPT, delayed_max=1, clock_behind=0, clock_ahead=1, estimates=(-1, 1), counts_absence=True),
        300_000,
    ),
    "clocks wrong at both ends, calls of certain end": (
        replace(PROMPT, clock_behind=1, clock_ahead=1, estimates=(-1, 1), has_doubt=False),
        500,
    ),
    "entries swept under their owners": (replace(PROMPT, has_sweeps=True), 6_000),
    "two slots": (replace(PROMPT, slots=2), 43_000),
    "a limit that is lowered, one request late": (
        replace(STAYING, delayed_max=1, has_doubt=False, slots=2, terms=(Limit(2, 1), Limit(1, 2))),
        870_000,
    ),
    "a limit that is raised": (replace(PROMPT, slots=2, terms=(Limit(1, 1), Limit(2, 2))), 87_000),
    "a limit that is cut and climbs back": (replace(STAYING, slots=2, has_refusals=True, has_doubt=False), 10_000),
    "three participants": (replace(PROMPT, participants=3), 4_000),
    "an item that is deleted": (replace(STAYING, has_losses=True, has_crashes=True, delayed_max=1), 210_000),
}
FULL = {
    "three participants, one request late": (replace(STAYING, participants=3, delayed_max=1), 1_000_000),
    "entries swept, one request late": (
        replace(STAYING, delayed_max=1, has_repeats=True, has_sweeps=True),
        600_000,
    ),
    "two things late at a time": (
        replace(STAYING, delayed_max=2, has_old_snapshots=True, has_late_replies=True),
        2_000_000,
    ),
}
if os.environ.get("MODEL_SIZE") == "full":
    SIZES |= FULL


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.timeout(3_600 if os.environ.get("MODEL_SIZE") == "full" else 300)
def test_no_law_is_broken_in_the_whole_space(name: str) -> None:
    size, floor = SIZES[name]
    model = Model(size)

    finding = model.search()
    longest_ticks = Calm(model).longest_ticks() if finding.is_exhausted else -1

    sys.stdout.write(f"\n{name}: {finding}; served again within {longest_ticks} ticks\n")
    assert not finding.breach, finding
    assert finding.is_exhausted
    assert finding.state_count > floor
    assert 0 <= longest_ticks <= size.times.recovery_ms + max(size.estimates)
