"""One work over several pools: each product within its own limit, all in one answer."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import AsyncIterator

import pytest

from tests.support.counting_speaker import CountingSpeaker, Turn
from tests.support.pools import TIMES, terms
from tests.support.virtual_time import IN_VIRTUAL_TIME, VirtualClock
from volcengine_client.errors import BatchStoppedError, LoginRejectedError, NoSlotInTimeError, VolcengineError
from volcengine_client.models import BatchResponse, TaskItem
from volcengine_client.pool.holder import Pool
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.products import Counter, speak_batch_by_product, speak_by_product
from volcengine_client.speech.call import Call
from volcengine_client.speech.speech import Speech

pytestmark = IN_VIRTUAL_TIME


class Bench:
    """An account whose upstream counts two products by themselves; a task's voice is its product."""

    def __init__(self, **limits: int) -> None:
        self.clock = VirtualClock()
        self.table = MemoryTable(clock=self.clock)
        self.upstreams = {name: CountingSpeaker(limit=limit, clock=self.clock) for name, limit in limits.items()}
        self.counters = {
            "" if name == "others" else name: Counter(
                Pool(name, table=self.table, times=TIMES, clock=self.clock), terms(limit)
            )
            for name, limit in limits.items()
        }

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        upstream = self.upstreams.get(task.voice_type, self.upstreams["others"])
        return await upstream.speak(task, call=call, timeout_ms=timeout_ms)

    async def batch(
        self, *tasks: TaskItem, within_ms: int | None = None, bytes_max: int | None = None
    ) -> BatchResponse:
        return await speak_batch_by_product(
            tasks,
            counters=self.counters,
            product_of=lambda task: task.voice_type,
            speaker=self,
            clock=self.clock,
            deadline_at_ms=None if within_ms is None else self.clock.monotonic_ms() + within_ms,
            answer_bytes_max=bytes_max,
        )


def of(product: str, count: int) -> list[TaskItem]:
    return [TaskItem(None, f"{product} {number}", product) for number in range(count)]


def mixed(*parts: list[TaskItem]) -> list[TaskItem]:
    return [task for group in zip(*parts, strict=True) for task in group]


async def test_each_product_uses_all_of_its_own_limit_and_no_more() -> None:
    """I1 and I3: the doubles fail whoever goes over their limit."""
    bench = Bench(others=2, new=5, old=3)
    tasks = mixed(of("new", 20), of("old", 20), of("elsewhere", 20))
    began_at_ms = bench.clock.monotonic_ms()
    response = await bench.batch(*tasks)

    assert [result.audio.decode() for result in response.results] == [task.text for task in tasks]
    assert {name: upstream.peak for name, upstream in bench.upstreams.items()} == {"others": 2, "new": 5, "old": 3}
    assert bench.clock.monotonic_ms() - began_at_ms < 11_000
    assert response.pool.limit == 10


async def test_a_pool_is_joined_only_by_work_for_it() -> None:
    bench = Bench(others=2, new=5)
    response = await bench.batch(*of("new", 3))

    assert response.pool.limit == 5
    assert bench.counters[""].pool.snapshot is None


async def test_without_a_limit_of_its_own_all_is_one_pool() -> None:
    bench = Bench(others=2)
    response = await bench.batch(*of("new", 5))

    assert bench.upstreams["others"].peak == 2
    assert response.pool.limit == 2


async def test_a_product_that_is_late_leaves_the_others_their_time() -> None:
    """I4 and I5."""
    bench = Bench(others=1, new=1)
    bench.upstreams["new"].call_ms = 4_000
    response = await bench.batch(*of("new", 5), *of("old", 5), within_ms=12_000)
    outcomes = Tally(
        (task.voice_type, result.error.code if result.error else None)
        for task, result in zip([*of("new", 5), *of("old", 5)], response.results, strict=True)
    )

    assert outcomes["old", None] == 5
    assert outcomes["new", None] + outcomes["new", NoSlotInTimeError.code] == 5
    assert outcomes["new", NoSlotInTimeError.code] >= 2


async def test_a_rejected_login_ends_every_product_at_once() -> None:
    bench = Bench(others=1, new=1)
    for upstream in bench.upstreams.values():
        upstream.then = Turn(error=LoginRejectedError("no"))

    with pytest.raises(LoginRejectedError):
        await bench.batch(*of("new", 50), *of("old", 50))
    assert sum(len(upstream.calls) for upstream in bench.upstreams.values()) <= 2


async def test_one_answer_has_one_room() -> None:
    bench = Bench(others=3, new=3)
    response = await bench.batch(*mixed(of("new", 4), of("old", 4)), bytes_max=1_000)

    assert {result.error.code if result.error else None for result in response.results} == {"answer_full"}


class Stopped:
    """A work that is stopped after its first tasks."""

    def __init__(self, tasks: list[TaskItem]) -> None:
        self._tasks = tasks
        self.outcomes: dict[int, Speech | VolcengineError] = {}
        self.rest: VolcengineError | None = None

    @property
    def open_count(self) -> int:
        return len(self._tasks) - len(self.outcomes)

    async def tasks(self) -> AsyncIterator[tuple[int, TaskItem]]:
        for numbered in enumerate(self._tasks):
            yield numbered
        await asyncio.sleep(1.5)
        raise BatchStoppedError("stopped")

    def is_wanted(self, index: int) -> bool:
        return index not in self.outcomes

    def settle(self, index: int, outcome: Speech | VolcengineError) -> None:
        self.outcomes[index] = outcome

    def settle_rest(self, error: VolcengineError) -> None:
        self.rest = error


async def test_a_work_that_is_stopped_starts_no_further_call_and_loses_none_under_way() -> None:
    bench = Bench(others=1, new=1)
    work = Stopped(mixed(of("new", 5), of("old", 5)))
    await speak_by_product(
        work,
        counters=bench.counters,
        product_of=lambda task: task.voice_type,
        speaker=bench,
        clock=bench.clock,
    )

    assert isinstance(work.rest, BatchStoppedError)
    assert len(work.outcomes) == sum(len(upstream.calls) for upstream in bench.upstreams.values()) == 4


async def test_cancelling_gives_every_slot_back() -> None:
    bench = Bench(others=2, new=2)
    speaking = asyncio.create_task(bench.batch(*mixed(of("new", 9), of("old", 9))))
    await bench.clock.sleep(1_500)
    speaking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await speaking
    for counter in bench.counters.values():
        state = counter.pool.snapshot
        assert state is not None
        assert state.queue == {}


async def test_a_bug_in_the_work_is_raised_as_it_is() -> None:
    class Broken(Stopped):
        async def tasks(self) -> AsyncIterator[tuple[int, TaskItem]]:
            yield 0, self._tasks[0]
            raise AssertionError("a bug")

    bench = Bench(others=2, new=2)
    with pytest.raises(AssertionError, match="a bug"):
        await speak_by_product(
            Broken(of("new", 1)),
            counters=bench.counters,
            product_of=lambda task: task.voice_type,
            speaker=bench,
            clock=bench.clock,
        )
