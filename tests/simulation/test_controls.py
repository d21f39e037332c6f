"""Does the simulation see what it should? Code that was broken on purpose must be caught, each within few seeds.

*By a law*: what callers, the upstream or the pool's users would see. *By the proof*: a step on which the protocol's
proof rests fails, long before the one schedule in many thousands in which two margins are used up at once.
"""

from __future__ import annotations

import pytest

from tests.support.simulation.crowd import Tally, play
from tests.support.simulation.mutants import MUTANTS
from tests.support.simulation.schedule import contended_plan_of

pytestmark = pytest.mark.timeout(300)

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

BY_LATE_WRITES = ["a belief taken from a read", "a slot used again after a lost reply"]

HARMLESS = [
    # A snapshot only proposes writes, and conditions judge those; what is owned is learned from applied writes alone.
    "an old snapshot adopted",
    "eventually consistent reads",
    # The call rule asks the table's time, which goes on while a process is stopped; a machine's own suspension is seen
    # by its two clocks.
    "no heed of pauses",
]


def _laws(tally: Tally) -> set[str]:
    return {law.split(":")[0] for law in tally.breached.values()}


@pytest.mark.parametrize("mutant", BY_A_LAW)
def test_a_broken_clause_breaks_a_law(mutant: str) -> None:
    tally = play(SEEDS, mutant, has_proof=False, sought=BY_A_LAW[mutant])

    assert BY_A_LAW[mutant] in _laws(tally), tally


@pytest.mark.parametrize("mutant", BY_THE_PROOF)
def test_a_broken_margin_breaks_a_step_of_the_proof(mutant: str) -> None:
    tally = play(SEEDS, mutant, sought="proof")

    assert "proof" in _laws(tally), tally


@pytest.mark.parametrize("mutant", BY_LATE_WRITES)
def test_a_broken_belief_breaks_a_step_of_the_proof(mutant: str) -> None:
    """It takes a give-up that arrives late, after its giver has read, or thought, that the slot is still its own."""
    tally = play(SEEDS, mutant, sought="proof", drawn=contended_plan_of)

    assert "proof" in _laws(tally), tally


@pytest.mark.parametrize("mutant", HARMLESS)
def test_a_clause_that_is_harmless_to_leave_out_breaks_no_law_of_safety(mutant: str) -> None:
    tally = play(SEEDS[:100], mutant)

    assert _laws(tally) <= {"I2", "I7"}, tally


def test_every_mutant_is_judged() -> None:
    assert {*BY_A_LAW, *BY_THE_PROOF, *BY_LATE_WRITES, *HARMLESS} == set(MUTANTS)
