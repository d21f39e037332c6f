"""How often everybody looks at the table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.pools import entry, held, state, view
from volcengine_client.limits import (
    QUEUE_MAX,
    READ_HOLDING_MS,
    READ_SLOWEST_MS,
    READ_SPARE_MS,
    TAKE_DELAY_MS,
)
from volcengine_client.pool.pace import next_read_ms
from volcengine_client.pool.plan import outlook
from volcengine_client.pool.view import View


def _waits(want: int = 1, *, since_ms: int = 0, **changes: Any) -> Any:
    return entry(want=want, since_ms=since_ms, **changes)


def _read_ms(seen: View) -> int:
    return next_read_ms(seen, outlook(seen), pace_ms=25)


def _waiting(ahead: int, *, own: tuple[int, ...] = ()) -> View:
    queue = {f"w{number}": _waits(since_ms=number) for number in range(ahead)}
    rest = tuple(number for number in range(10) if number not in own)
    pool = state(held(me=own, other=rest), {**queue, "me": entry(want=len(own) + 1)})
    return view(pool, want=len(own) + 1, busy=frozenset(own))


@pytest.mark.parametrize(
    ("ahead", "wait_ms"), [(0, 25), (1, 50), (4, 125), (9, 500), (20, READ_SLOWEST_MS), (150, READ_SLOWEST_MS)]
)
def test_those_next_in_line_look_often_and_the_others_less(ahead: int, wait_ms: int) -> None:
    assert _read_ms(_waiting(ahead)) == wait_ms


def test_one_who_has_a_slot_and_wants_more_looks_less_often() -> None:
    assert _read_ms(_waiting(0, own=(0,))) == 75
    assert _read_ms(_waiting(50, own=(0,))) == READ_SLOWEST_MS
    assert _read_ms(_waiting(50, own=(0, 1))) == READ_HOLDING_MS


def test_a_busy_holder_looks_now_and_then_for_those_who_wait() -> None:
    one, two = (state(held(me=numbers), {"me": entry()}) for numbers in ((0,), (0, 1)))

    assert _read_ms(view(one, busy=frozenset({0}))) == READ_SLOWEST_MS
    assert _read_ms(view(two, busy=frozenset({0, 1}), want=2)) == READ_HOLDING_MS


def test_one_with_slots_to_spare_looks_sooner() -> None:
    pool = state(held(me=(0,)), {"me": entry()})

    assert _read_ms(view(pool)) == READ_SPARE_MS


@pytest.mark.parametrize("place", [1, 2, 3])
def test_one_who_leaves_a_free_slot_to_others_looks_again_when_it_may_take_it(place: int) -> None:
    """I2: the chosen one may be dead."""
    queue = {f"dead{number}": _waits(9, since_ms=number) for number in range(place)}
    pool = state(held(other=tuple(range(1, 10))), queue | {"me": entry()})

    assert _read_ms(view(pool)) <= place * TAKE_DELAY_MS


def test_a_hundred_who_wait_read_less_than_a_hundred_times_as_often_as_one() -> None:
    """However many wait, a pool's reads stay bounded."""
    alone = 1_000 / _read_ms(_waiting(0))
    crowd = sum(1_000 / _read_ms(_waiting(ahead)) for ahead in range(QUEUE_MAX))

    assert crowd < 9 * alone
