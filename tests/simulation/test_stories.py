"""Schedules that once broke a law, or still do, told one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.simulation.run import run
from tests.support.simulation.schedule import Plan, plan_of
from tests.support.simulation.table import Weather

FAR = Weather(lag_ms=100, spread=0.2)  # another continent


def _quiet(seed: int) -> Plan:
    """Return a schedule in which nothing befalls anyone."""
    return replace(plan_of(seed), strikes=(), queue_max=200)


@pytest.mark.parametrize("seed", [1020])
def test_a_holder_swept_from_a_full_queue_does_not_block_its_process(seed: int) -> None:
    """Its keeper went round and round without ever waiting."""
    assert run(plan_of(seed)).breaches == ()


@pytest.mark.parametrize("seed", [1537, 2398, 2593, 4201, 4996, 5564])
def test_short_suspensions_leave_no_bound_behind(seed: int) -> None:
    assert run(plan_of(seed)).breaches == ()


@pytest.mark.xfail(
    strict=True, reason="who gave a slot up takes it back after TAKE_DELAY_MS, before one far away can have taken it"
)
def test_a_newcomer_far_from_the_table_is_served_beside_one_near_it() -> None:
    """I7."""
    breaches = [run(_quiet(seed), newcomers_weather=FAR).breaches for seed in range(60)]

    assert breaches == [()] * 60
