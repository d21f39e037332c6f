"""Do the laws hold with wrong clocks, a bad network, and participants that are killed, frozen and cancelled?

The real asyncio code of the pool and the batch, in virtual time; every schedule comes from a seed. A breach is told
with the command that prints its story.
"""

from __future__ import annotations

import pytest

from tests.support.simulation.crowd import Tally, play_over_cores
from tests.support.simulation.run import Outcome, run
from tests.support.simulation.schedule import Chaos, plan_of

SCHEDULE_COUNT = 2_000

pytestmark = pytest.mark.timeout(600)  # the first test plays them all, on whatever cores there are


@pytest.fixture(scope="module")
def tally() -> Tally:
    """Return what all schedules came to."""
    total = Tally()
    for part in play_over_cores(0, SCHEDULE_COUNT):
        total.add(part)
    return total


def test_every_law_holds_in_every_schedule(tally: Tally) -> None:
    """I1 to I5, I7, I8."""
    assert tally.schedule_count == SCHEDULE_COUNT
    assert not tally.breached, f"\n{tally.told()}"


@pytest.mark.parametrize("trouble", [kind.name for kind in Chaos])
def test_every_trouble_befalls_often_enough_to_tell(tally: Tally, trouble: str) -> None:
    assert tally.befell[trouble] >= SCHEDULE_COUNT // 25


@pytest.mark.parametrize(
    "what",
    [
        "lost",
        "unanswered",
        "late",
        "repeated",
        "conflict",
        "taken over",
        "in doubt",
        "shut",
        "lower limit",
        "higher limit",
        "cap",
        "cancelled",
        "invoked again",
    ],
)
def test_schedules_reach_what_they_are_for(tally: Tally, what: str) -> None:
    assert tally.befell[what] >= SCHEDULE_COUNT // 100


@pytest.mark.parametrize(
    "code",
    ["no_slot_in_time", "answer_full", "cut_at_deadline", "upstream_timeout", "text_refused", "pool_table"],
)
def test_tasks_end_in_every_way(tally: Tally, code: str) -> None:
    assert tally.befell[code] >= 5


def test_most_tasks_are_spoken(tally: Tally) -> None:
    """A simulation in which everything fails would break no law either."""
    assert tally.befell["audio"] > SCHEDULE_COUNT * 8


def test_a_seed_replays_exactly() -> None:
    def played(seed: int) -> Outcome:
        return run(plan_of(seed))

    assert all(played(seed) == played(seed) for seed in range(20))
