"""Does the simulation see what it should? Code that was broken on purpose must be caught, each within few seeds.

*By a law*: what callers, the upstream or the pool's users would see. *By the proof*: a step on which the protocol's
proof rests fails, long before the one schedule in many thousands in which two margins are used up at once.
"""

from __future__ import annotations

import pytest

from tests.support.simulation.crowd import play

SEEDS = range(600)

BY_A_LAW = {
    "no drain": "I1",
    "a drain too short": "I1",
    "leaving without shutting": "I1",
    "a write without condition": "I1",
    "a counter instead of numbers": "I1",
    "no own revision": "I2",
    "no tombstone": "I2",
    "granting to others": "I2",
    "never acting on a free slot": "I2",
    "the host's wall clock": "I2",
    "results sorted by id": "I3",
}
BY_THE_PROOF = [
    "no call rule",
    "reclaim without margins",
    "clocks that stood still",
    "clocks from an earlier invocation",
]


@pytest.mark.parametrize("mutant", BY_A_LAW)
def test_a_broken_clause_breaks_a_law(mutant: str) -> None:
    tally = play(SEEDS, mutant, has_proof=False, breaches_max=1)

    assert [law.split(":")[0] for law in tally.breached.values()] == [BY_A_LAW[mutant]], tally


@pytest.mark.parametrize("mutant", BY_THE_PROOF)
def test_a_broken_margin_breaks_a_step_of_the_proof(mutant: str) -> None:
    tally = play(SEEDS, mutant, breaches_max=1)

    assert [law.split(":")[0] for law in tally.breached.values()] == ["proof"], tally
