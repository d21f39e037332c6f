"""Schedules that once broke a law, told one by one."""

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


def test_a_write_that_is_late_behind_a_repeated_join_ties_no_slot_for_longer_than_a_lease() -> None:
    assert run(plan_of(504155)).breaches == ()


def test_a_wall_clock_set_back_hides_no_suspension() -> None:
    assert run(plan_of(700370)).breaches == ()


@pytest.mark.parametrize("seed", [1537, 2398, 2593, 4201, 4996, 5564])
def test_short_suspensions_leave_no_bound_behind(seed: int) -> None:
    assert run(plan_of(seed)).breaches == ()


def test_a_batch_that_waits_for_room_in_its_answer_keeps_no_idle_slot_from_another() -> None:
    """I2, I7: for as long as its own slowest call takes."""
    assert run(plan_of(505543)).breaches == ()


def test_a_newcomer_far_from_the_table_is_served_beside_one_near_it() -> None:
    """I7."""
    breaches = [run(_quiet(seed), newcomers_weather=FAR).breaches for seed in range(60)]

    assert breaches == [()] * 60
