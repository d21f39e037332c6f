from __future__ import annotations

import pytest

from tests.support.virtual_time import IN_VIRTUAL_TIME, VirtualClock
from volcengine_client.deadline import Deadline, seconds
from volcengine_client.limits import ANSWER_RESERVE_MS

pytestmark = IN_VIRTUAL_TIME


async def test_what_is_left_ends_early_enough_for_the_answer_to_leave() -> None:
    """I5."""
    clock = VirtualClock()
    deadline = Deadline(clock.monotonic_ms() + 10_000, clock=clock)
    assert deadline.left_ms() == 10_000 - ANSWER_RESERVE_MS
    await clock.sleep(4_000)

    assert deadline.left_ms() == 6_000 - ANSWER_RESERVE_MS
    await clock.sleep(60_000)
    assert deadline.left_ms() == 0


async def test_calls_may_start_while_they_would_end_in_time() -> None:
    clock = VirtualClock()
    deadline = Deadline(clock.monotonic_ms() + 10_000, clock=clock)

    assert deadline.left_to_start_ms(3_000) == 7_000 - ANSWER_RESERVE_MS
    await clock.sleep(9_000)
    left_ms = deadline.left_to_start_ms(3_000)
    assert left_ms is not None
    assert left_ms <= 0


async def test_however_slow_calls_were_the_first_half_of_the_time_is_open() -> None:
    """Or no call could ever show that the slow hour is over."""
    clock = VirtualClock()
    deadline = Deadline(clock.monotonic_ms() + 10_000 + ANSWER_RESERVE_MS, clock=clock)
    await clock.sleep(4_999)
    assert deadline.left_to_start_ms(60_000) == 1
    await clock.sleep(1)

    assert deadline.left_to_start_ms(60_000) == 0


async def test_without_a_deadline_there_is_always_time() -> None:
    deadline = Deadline(None, clock=VirtualClock())

    assert deadline.left_ms() is None
    assert deadline.left_to_start_ms(3_000) is None


@pytest.mark.parametrize(("duration_ms", "whole_s"), [(None, None), (0, 0.0), (1_500, 1.5)])
async def test_asyncio_is_told_seconds(duration_ms: int | None, whole_s: float | None) -> None:
    assert seconds(duration_ms) == whole_s
