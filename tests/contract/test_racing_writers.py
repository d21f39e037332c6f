"""Many who write at once, against an emulator that makes conditional writes atomic."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.contract.conftest import Emulated
from tests.support.pools import NAME, entry, slot
from volcengine_client.pool.dynamodb import DynamoDBTable
from volcengine_client.pool.slots import Limit, PoolState
from volcengine_client.pool.table import Reply

WRITERS = 8


async def _made(table: DynamoDBTable, limit: int) -> PoolState:
    made = (await table.create(NAME, PoolState(limit=Limit(limit, 1)))).state
    assert made is not None
    return made


def _taken(before: PoolState, holder_id: str, number: int) -> PoolState:
    slots = {**before.slots, number: slot(holder_id)}
    return replace(before, slots=slots, queue={**before.queue, holder_id: entry()})


async def test_of_many_who_take_one_slot_at_once_one_gets_it(ministack: Emulated) -> None:
    """I1."""
    tables = [ministack.table() for _ in range(WRITERS)]
    before = await _made(tables[0], 1)
    replies = await asyncio.gather(
        *(one.write(NAME, before, _taken(before, f"h{number}", 0)) for number, one in enumerate(tables))
    )

    assert sum(reply.is_applied for reply in replies) == 1
    assert [reply.state for reply in replies] == [(await tables[0].read(NAME)).state] * WRITERS


async def test_those_who_take_different_slots_at_once_do_not_disturb_each_other(ministack: Emulated) -> None:
    tables = [ministack.table() for _ in range(WRITERS)]
    before = await _made(tables[0], WRITERS)
    replies = await asyncio.gather(
        *(one.write(NAME, before, _taken(before, f"h{number}", number)) for number, one in enumerate(tables))
    )

    assert all(reply.is_applied for reply in replies)
    after = (await tables[0].read(NAME)).state
    assert after is not None
    assert after.rev == 1 + WRITERS
    assert {number: one.holder_id for number, one in after.slots.items()} == {n: f"h{n}" for n in range(WRITERS)}


async def test_of_many_who_make_a_pool_at_once_one_does(ministack: Emulated) -> None:
    tables = [ministack.table() for _ in range(WRITERS)]
    replies = await asyncio.gather(
        *(one.create(NAME, PoolState(limit=Limit(number + 1, 0))) for number, one in enumerate(tables))
    )

    assert sum(reply.is_applied for reply in replies) == 1
    assert len({reply.state.limit for reply in replies if reply.state is not None}) == 1


async def test_a_lowered_limit_and_a_take_above_it_never_both_come_about(ministack: Emulated) -> None:
    """I1: lowering acts at once."""
    for round_number in range(10):
        lowers, takes = ministack.table(), ministack.table()
        name = f"{NAME}{round_number}"
        before = (await lowers.create(name, PoolState(limit=Limit(10, 1)))).state
        assert before is not None
        lowered = replace(before, limit=Limit(2, 2), queue={"a": entry()})
        replies = await asyncio.gather(
            lowers.write(name, before, lowered), takes.write(name, before, _taken(before, "b", 9))
        )

        assert replies[1].is_applied <= _came_first(replies[1], replies[0])


def _came_first(one: Reply, other: Reply) -> bool:
    assert one.state is not None
    assert other.state is not None
    return one.state.rev < other.state.rev


async def test_writers_who_each_go_on_from_what_they_last_saw_lose_no_write(ministack: Emulated) -> None:
    """Every applied write counts once, and a slot changes hands only by its holder's own give-up."""
    tables = [ministack.table() for _ in range(WRITERS)]
    seen = await _made(tables[0], 2)

    async def take_turns(table: DynamoDBTable, holder_id: str) -> int:
        state, revision, applied_count, has_slot = seen, 0, 0, False
        for _ in range(25):
            free = [number for number in range(2) if number not in state.slots]
            if not has_slot and not free:
                reply = await table.read(NAME)
            else:
                revision += 1
                slots = dict(state.slots)
                if has_slot:
                    number = next(n for n, one in slots.items() if one.holder_id == holder_id)
                    del slots[number]
                else:
                    slots[free[0]] = slot(holder_id)
                queue = {**state.queue, holder_id: entry(revision=revision)}
                reply = await table.write(NAME, state, replace(state, slots=slots, queue=queue))
            assert reply.state is not None
            state = reply.state
            has_slot ^= reply.is_applied
            applied_count += reply.is_applied
            assert (len(state.held_by(holder_id)) == 1) == has_slot
            assert len(state.slots) <= 2
        return applied_count

    counts = await asyncio.gather(*(take_turns(one, f"h{number}") for number, one in enumerate(tables)))
    after = (await tables[0].read(NAME)).state

    assert after is not None
    assert after.rev == 1 + sum(counts)
    assert sum(counts) > WRITERS
