"""Whatever is written, DynamoDB and the pure rule come to the same state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.conftest import Emulated
from tests.support.pools import NAME
from volcengine_client.pool.slots import SHUT, Cap, Entry, Limit, PoolState, Slot, applied

NUMBERS, HOLDERS = st.integers(0, 3), st.sampled_from(["a", "b", "c-_"])
TIMES = st.integers(0, 2)
SLOTS = st.builds(Slot, st.sampled_from(["a", "b", SHUT]), TIMES)
LIMITS = st.none() | st.builds(Limit, st.integers(1, 2), st.integers(0, 1))
CAPS = st.none() | st.builds(Cap, st.integers(1, 2), TIMES)
ENTRIES = st.builds(
    Entry,
    revision=st.integers(1, 3),
    app=st.just("x"),
    weight=st.just(1),
    want=st.integers(0, 1),
    limit=st.just(3),
    since_ms=st.just(0),
    expires_at_ms=TIMES,
    is_background=st.booleans(),
    is_new=st.booleans(),
    left_count=st.integers(0, 1),
    call_ms=st.integers(0, 1),
)
STATES = st.builds(
    PoolState,
    slots=st.dictionaries(NUMBERS, SLOTS, max_size=3),
    queue=st.dictionaries(HOLDERS, ENTRIES, max_size=2),
    limit=LIMITS,
    cap=CAPS,
    kept_until_s=st.none() | st.integers(1, 2),
)
EDITS = st.lists(
    st.tuples(st.just("slots"), NUMBERS, st.none() | SLOTS)
    | st.tuples(st.just("queue"), HOLDERS, st.none() | ENTRIES)
    | st.tuples(st.just("limit"), st.just(0), LIMITS)
    | st.tuples(st.just("cap"), st.just(0), CAPS)
    | st.tuples(st.just("kept_until_s"), st.just(0), st.none() | st.integers(1, 2)),
    min_size=1,
    max_size=4,
)


def _edited(before: PoolState, edits: list[tuple[str, Any, Any]]) -> PoolState:
    fields: dict[str, Any] = {}
    for field, key, value in edits:
        if field in {"slots", "queue"}:
            entries = {**fields.get(field, getattr(before, field)), key: value}
            fields[field] = {name: one for name, one in entries.items() if one is not None}
        else:
            fields[field] = value
    return replace(before, **fields)


def _is_a_write(before: PoolState, after: PoolState) -> bool:
    pairs = [(before.queue.get(holder_id), entry) for holder_id, entry in after.queue.items()]
    is_grown = all(seen is None or own == seen or own.revision > seen.revision for seen, own in pairs)
    return is_grown and (before.slots, before.queue) != (after.slots, after.queue)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=STATES, writes=st.lists(st.tuples(st.integers(0, 3), EDITS), min_size=1, max_size=6))
async def test_what_a_write_makes_of_a_pool_is_what_the_rule_says(
    ministack: Emulated, start: PoolState, writes: list[tuple[int, list[tuple[str, Any, Any]]]]
) -> None:
    """Writers go on from any state that was ever seen, so old ones too."""
    table = ministack.table()
    name = f"{NAME}-{len(await table.names())}"
    made = (await table.create(name, start)).state
    assert made is not None
    seen, model = [made], made
    for age, edits in writes:
        before = seen[-1 - age % len(seen)]
        after = _edited(before, edits)
        if not _is_a_write(before, after):
            continue
        expected = applied(model, before, after)
        reply = await table.write(name, before, after)
        model = model if expected is None else expected

        assert reply.is_applied == (expected is not None)
        assert reply.state == model
        seen.append(model)


async def test_a_writer_that_says_nothing_of_how_long_an_item_is_kept_changes_nothing_there(
    ministack: Emulated,
) -> None:
    """Though another said meanwhile until when."""
    table = ministack.table()
    before = (await table.create(NAME, PoolState())).state
    assert before is not None
    between = replace(before, slots={1: Slot("a", 0)}, kept_until_s=1)
    after = replace(before, slots={0: Slot("b", 0)})
    model = applied(before, before, between)
    assert model is not None
    assert (await table.write(NAME, before, between)).state == model

    reply = await table.write(NAME, before, after)

    assert reply.state == applied(model, before, after)
    assert reply.state is not None
    assert reply.state.kept_until_s == 1


async def test_what_a_later_version_adds_to_an_entry_does_not_keep_others_from_sweeping_it(ministack: Emulated) -> None:
    """In a rolling deployment both versions share a pool."""
    table, name = ministack.table(), f"{NAME}-later"
    gone = Entry(revision=3, app="x", weight=1, want=1, limit=3, since_ms=0, expires_at_ms=0)
    made = (await table.create(name, PoolState(queue={"a": gone}))).state
    assert made is not None
    ministack.client().update_item(
        TableName=ministack.table_name,
        Key={"pool": {"S": name}},
        UpdateExpression="SET #queue.a.later = :later",
        ExpressionAttributeNames={"#queue": "queue"},
        ExpressionAttributeValues={":later": {"N": "1"}},
    )

    reply = await table.write(name, made, replace(made, queue={}))

    assert reply.is_applied
    assert reply.state is not None
    assert not reply.state.queue
