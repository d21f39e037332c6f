"""That the largest write fits into what DynamoDB takes; the rest of the adapter is under tests/contract."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.pools import entry, slot, state
from volcengine_client.limits import ENTRIES_A_WRITE_MAX, QUEUE_MAX
from volcengine_client.pool.dynamodb import _item_of, _state_of, _Update
from volcengine_client.pool.slots import Cap, Entry, Limit, Slot

EXPRESSION_BYTES_MAX = 4_096
OPERATORS_MAX = 300
ITEM_BYTES_MAX = 400_000
FULL = entry(since_ms=10**13, is_background=True, is_new=True, left_count=1_000, call_ms=60_000)


def test_the_largest_write_fits_into_an_expression() -> None:
    numbers = range(900, 900 + ENTRIES_A_WRITE_MAX - 2)
    before = state(
        {number: Slot("deadXXXX", 10**13) for number in numbers},
        {"meXXXXXX": FULL, "youngest": FULL},
        limit=Limit(999, 10**13),
        cap=Cap(999, 10**13),
    )
    after = replace(
        before,
        slots=dict.fromkeys(numbers, slot("meXXXXXX")),
        queue={"meXXXXXX": replace(FULL, revision=2)},
        limit=Limit(1_000, 10**13 + 1),
        cap=Cap(1_000, 10**13 + 1),
        kept_until_s=10**10,
    )
    request = _Update(before, after).request()

    for name in ("UpdateExpression", "ConditionExpression"):
        expression = request[name]
        assert len(expression.encode()) <= EXPRESSION_BYTES_MAX
        operators = sum(expression.count(sign) for sign in ("=", " AND ", "(", "ADD ", ","))
        assert operators <= OPERATORS_MAX


def test_what_an_entry_does_not_say_takes_no_room() -> None:
    """Most entries leave these out, in an item of which every byte is read again and again."""
    says, silent = (_item_of(state(queue={"me": one}))["queue"]["M"]["me"]["M"] for one in (FULL, entry()))

    assert {name: says[name] for name in says.keys() - silent.keys()} == {
        "b": {"N": "1"},
        "n": {"N": "1"},
        "t": {"N": "1000"},
        "c": {"N": "60000"},
    }


@pytest.mark.parametrize("changes", [{}, {"is_background": True}, {"is_new": True}, {"left_count": 7}, {"call_ms": 9}])
def test_what_an_entry_says_is_read_as_it_was_written(changes: dict[str, Any]) -> None:
    pool = state(queue={"me": entry(**changes)})

    assert _state_of(_item_of(pool)) == pool


def test_an_entry_written_before_there_was_more_to_say_is_read() -> None:
    """And compares as unchanged, so that participants of both kinds get on in one pool."""
    old = {"r": 1, "g": 1, "w": 2, "l": 10, "s": 5, "x": 6}
    written = {"a": {"S": "default"}, **{name: {"N": str(value)} for name, value in old.items()}}
    pool = _state_of({"rev": {"N": "1"}, "slots": {"M": {}}, "queue": {"M": {"me": {"M": written}}}})

    assert pool.queue["me"] == Entry(1, "default", 1, 2, 10, 5, 6)
    assert _item_of(pool)["queue"]["M"]["me"]["M"] == written


def test_the_largest_pool_fits_into_an_item() -> None:
    queue = {f"holder{number:02}": replace(FULL, app="x" * 64) for number in range(QUEUE_MAX)}
    largest = state({number: slot("holder00") for number in range(1_000)}, queue, cap=Cap(999, 10**13))

    assert len(str(_item_of(largest))) < ITEM_BYTES_MAX
