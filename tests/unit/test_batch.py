"""A batch over a pool: every task ends as audio or as an error, in input order, in time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.support.counting_speaker import CountingSpeaker, Turn
from tests.support.lagging_table import BuggyTable, Fate
from tests.support.pools import TIMES, Machine, World, terms
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.batch import speak_batch
from volcengine_client.errors import (
    LoginRejectedError,
    TextRefusedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from volcengine_client.limits import ATTEMPTS_MAX, DEFAULT_TIMES
from volcengine_client.models import BatchResponse, TaskItem
from volcengine_client.pool.holder import Pool
from volcengine_client.pool.memory import MemoryTable

pytestmark = IN_VIRTUAL_TIME


def texts(count: int, *, name: str = "t") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


def codes(response: BatchResponse) -> list[str | None]:
    """Return the error codes of the results, None for audio."""
    return [None if result.error is None else result.error.code for result in response.results]


def spoken(response: BatchResponse) -> list[str]:
    """Return what each result's audio says."""
    return [result.audio.decode() for result in response.results]


def bench(limit: int = 10, *, call_ms: int = 1_000) -> tuple[World, Machine, CountingSpeaker]:
    world = World()
    machine = world.machine()
    return world, machine, CountingSpeaker(limit=limit, clock=machine.clock, call_ms=call_ms)


# --- one caller -------------------------------------------------------------------------------------------------------


async def test_a_batch_uses_the_whole_limit_and_speaks_every_text_once() -> None:
    """I1 and I8."""
    world, machine, speaker = bench()
    response = await machine.speak(texts(35), speaker)

    assert spoken(response) == texts(35)
    assert Counter(speaker.texts) == Counter(texts(35))
    assert speaker.peak == 10
    assert (await world.state()).slots == {}


async def test_a_batch_on_an_idle_pool_takes_as_long_as_its_calls() -> None:
    _, machine, speaker = bench()
    await machine.speak(["warm"], speaker)
    began_at_ms = machine.clock.monotonic_ms()
    response = await machine.speak(texts(40), speaker)

    assert response.pool.limit == 10
    assert response.pool.waited_ms is not None
    assert response.pool.waited_ms <= 10
    assert machine.clock.monotonic_ms() - began_at_ms <= 4 * speaker.call_ms + 50


async def test_one_task_on_a_warm_pool_waits_for_one_round_trip() -> None:
    _, machine, speaker = bench()
    await machine.speak(["warm"], speaker)
    machine.table.requests.clear()
    machine.pool.begin_invocation()
    requests_before_the_call: list[int] = []
    speaker.on_call = lambda _: requests_before_the_call.append(len(machine.table.requests))
    await machine.speak(["one"], speaker)

    assert requests_before_the_call == [1]


async def test_results_come_in_input_order_with_repeated_and_unsorted_ids() -> None:
    """I3."""
    world, machine, speaker = bench()
    tasks = [TaskItem(task_id=f"id{number % 3}", text=f"t{number}") for number in range(30)]
    for number in range(30):
        speaker.will(f"t{number}", Turn(call_ms=3_000 - 90 * number))
    response = await speak_batch(
        tasks, speaker=speaker, pool=machine.pool, terms=terms(), clock=machine.clock, deadline_at_ms=None
    )

    assert spoken(response) == texts(30)
    assert [result.task_id for result in response.results] == [f"id{number % 3}" for number in range(30)]
    assert speaker.peak == 10
    assert (await world.state()).queue == {}


async def test_a_batch_makes_no_more_calls_at_once_than_its_terms_allow() -> None:
    _, machine, speaker = bench()
    await machine.speak(texts(12), speaker, terms(hold_max=3))

    assert speaker.peak == 3


async def test_a_batch_in_one_process_needs_no_network() -> None:
    _, machine, speaker = bench()
    pool = Pool("own", table=MemoryTable(clock=machine.clock), times=TIMES, clock=machine.clock)
    began_at_ms = machine.clock.monotonic_ms()
    response = await speak_batch(
        [TaskItem(text=text) for text in texts(50)],
        speaker=speaker,
        pool=pool,
        terms=terms(),
        clock=machine.clock,
    )

    assert spoken(response) == texts(50)
    assert speaker.peak == 10
    assert machine.clock.monotonic_ms() - began_at_ms == 5 * speaker.call_ms


# --- many callers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("callers", "tasks", "limit"), [(10, 20, 10), (30, 3, 4)])
async def test_many_callers_share_the_limit_and_use_all_of_it(callers: int, tasks: int, limit: int) -> None:
    """I1, I3 and I8."""
    world = World(times=DEFAULT_TIMES)
    speaker = CountingSpeaker(limit=limit, clock=world.clock())
    responses = await asyncio.gather(
        *(world.machine().speak(texts(tasks, name=f"c{number}-"), speaker, terms(limit)) for number in range(callers))
    )

    assert [spoken(response) for response in responses] == [texts(tasks, name=f"c{n}-") for n in range(callers)]
    assert max(Counter(speaker.texts).values()) == 1
    assert speaker.peak == limit


@pytest.mark.timeout(60)
async def test_a_hundred_callers_share_fifty_slots() -> None:
    """I1 and I3."""
    world = World(times=DEFAULT_TIMES)
    speaker = CountingSpeaker(limit=50, clock=world.clock(), call_ms=1_200)
    responses = await asyncio.gather(
        *(world.machine().speak(texts(2, name=f"c{number}-"), speaker, terms(50)) for number in range(100))
    )

    assert [spoken(response) for response in responses] == [texts(2, name=f"c{number}-") for number in range(100)]
    assert max(Counter(speaker.texts).values()) == 1
    assert speaker.peak == 50


async def test_callers_of_one_process_share_the_limit_too() -> None:
    """I1."""
    _, machine, speaker = bench()
    responses = await asyncio.gather(*(machine.speak(texts(12, name=f"c{n}-"), speaker) for n in range(5)))

    assert all(codes(response) == [None] * 12 for response in responses)
    assert speaker.peak == 10


async def test_one_sentence_does_not_wait_behind_a_huge_batch() -> None:
    """I7."""
    world, machine, speaker = bench()
    huge = asyncio.create_task(machine.speak(texts(300), speaker))
    await machine.clock.sleep(5_500)
    response = await world.machine().speak(["one"], speaker)

    assert response.pool.waited_ms is not None
    assert response.pool.waited_ms <= speaker.call_ms + 200
    await huge
    assert speaker.peak == 10


async def test_an_app_with_many_callers_gets_no_more_than_one_with_one() -> None:
    """I7."""
    world, machine, speaker = bench()
    share: Counter[str] = Counter()
    crowd = [
        asyncio.create_task(world.machine().speak(texts(60, name="crowd"), speaker, terms(app="crowd")))
        for _ in range(5)
    ]
    loner = asyncio.create_task(machine.speak(texts(120, name="loner"), speaker, terms(app="loner")))
    await machine.clock.sleep(6_000)
    speaker.on_call = lambda call: share.update([call.text.rstrip("0123456789")])
    await machine.clock.sleep(10_000)

    assert 0.9 <= share["loner"] / share["crowd"] <= 1.1
    await asyncio.gather(*crowd, loner)
    assert speaker.peak == 10


async def test_background_work_gives_way_to_a_caller_who_waits() -> None:
    """I7."""
    world, machine, speaker = bench()
    night = asyncio.create_task(machine.speak(texts(100, name="n"), speaker, terms(app="n", is_background=True)))
    await machine.clock.sleep(3_300)
    began_at_ms = machine.clock.monotonic_ms()
    day = await world.machine().speak(texts(10, name="d"), speaker, terms(app="d"))

    assert codes(day) == [None] * 10
    assert machine.clock.monotonic_ms() - began_at_ms <= 2 * speaker.call_ms + 400
    assert codes(await night) == [None] * 100


# --- errors of tasks --------------------------------------------------------------------------------------------------


async def test_a_refused_task_is_that_tasks_error() -> None:
    """I4."""
    _, machine, speaker = bench()
    speaker.will("t1", Turn(error=TextRefusedError("unreadable")))
    response = await machine.speak(texts(3), speaker)

    assert codes(response) == [None, "text_refused", None]
    assert speaker.attempts == {"t0": 1, "t1": 1, "t2": 1}


async def test_a_passing_failure_is_tried_again() -> None:
    _, machine, speaker = bench()
    speaker.will("t1", Turn(error=UpstreamUnavailableError("busy")), Turn(error=UpstreamUnavailableError("busy")))
    response = await machine.speak(texts(3), speaker)

    assert spoken(response) == texts(3)
    assert speaker.attempts["t1"] == 3


async def test_a_lasting_failure_is_tried_only_so_often() -> None:
    _, machine, speaker = bench()
    speaker.will("t1", *[Turn(error=UpstreamUnavailableError("broken"))] * 99)
    response = await machine.speak(texts(3), speaker)

    assert codes(response) == [None, "upstream_unavailable", None]
    assert speaker.attempts["t1"] == ATTEMPTS_MAX


async def test_while_one_task_waits_to_be_tried_again_the_others_use_its_slot() -> None:
    _, machine, speaker = bench(limit=1)
    speaker.will("t0", *[Turn(error=UpstreamUnavailableError("busy"), call_ms=10)] * 4)
    response = await machine.speak(texts(9), speaker, terms(1))

    assert speaker.texts[:2] == ["t0", "t1"]
    assert spoken(response) == texts(9)


async def test_a_call_that_is_not_answered_is_tried_again_on_another_slot() -> None:
    """I1: its own slot drains meanwhile."""
    _, machine, speaker = bench(limit=2)
    speaker.will("t0", Turn(is_silent=True, call_ms=TIMES.upstream_call_max_ms))
    response = await machine.speak(["t0"], speaker, terms(2))

    assert spoken(response) == ["t0"]
    assert speaker.timeouts_ms[0] == TIMES.upstream_call_max_ms


async def test_an_upstream_that_works_on_after_our_time_out_is_counted() -> None:
    """I1: the next call on the slot starts only when the first must be over."""
    _, machine, speaker = bench(limit=1)
    speaker.will(
        "t0", Turn(error=UpstreamTimeoutError("cut"), is_unreachable=True), Turn(is_silent=True, call_ms=7_000)
    )
    response = await machine.speak(texts(2), speaker, terms(1))

    assert codes(response) == [None, None]
    assert speaker.peak == 1


async def test_a_rejected_login_fails_the_batch_at_once_when_nothing_was_bought() -> None:
    _, machine, speaker = bench()
    speaker.then = Turn(error=LoginRejectedError("the key is wrong"), call_ms=50)

    with pytest.raises(LoginRejectedError):
        await machine.speak(texts(500), speaker)
    assert len(speaker.calls) <= 10


async def test_a_rejected_login_after_a_purchase_is_the_error_of_what_is_left() -> None:
    """I8: audio already bought is always returned."""
    _, machine, speaker = bench()
    speaker.then = Turn(error=LoginRejectedError("the key was rotated"))
    speaker.will("t3", Turn(call_ms=1_500))
    response = await machine.speak(texts(50), speaker)

    assert codes(response) == ["login_rejected"] * 3 + [None] + ["login_rejected"] * 46
    assert len(speaker.calls) == 10


async def test_a_bug_in_a_speaker_comes_out() -> None:
    _, machine, speaker = bench()
    speaker.will("t3", Turn(error=AssertionError("a bug")))

    with pytest.raises(AssertionError, match="a bug"):
        await machine.speak(texts(20), speaker)


@pytest.mark.parametrize("good_count", [0, 1, 2, 3, 4])
async def test_a_bug_in_the_table_comes_out(good_count: int) -> None:
    """In the middle of the batch, too, when all workers have slots and none is waiting."""
    _, machine, speaker = bench()
    machine.pool.table = BuggyTable(machine.table, good_count=good_count)

    with pytest.raises(KeyError, match="a bug"):
        await machine.speak(texts(200), speaker)


# --- table trouble ----------------------------------------------------------------------------------------------------


async def test_a_table_out_of_reach_is_every_tasks_error_in_time() -> None:
    """I4 and I5."""
    _, machine, speaker = bench()
    machine.table.fate = Fate.LOST
    began_at_ms = machine.clock.monotonic_ms()
    response = await machine.speak(texts(5), speaker, deadline_at_ms=began_at_ms + 28_000)

    assert codes(response) == ["pool_table"] * 5
    assert all(result.error is not None and result.error.retryable for result in response.results)
    assert machine.clock.monotonic_ms() - began_at_ms <= 28_000
    assert speaker.calls == []


async def test_a_table_that_refuses_for_good_is_told_at_once() -> None:
    _, machine, speaker = bench()
    machine.table.fate = Fate.REFUSED
    began_at_ms = machine.clock.monotonic_ms()
    response = await machine.speak(texts(5), speaker)

    assert codes(response) == ["pool_table"] * 5
    assert not any(result.error is not None and result.error.retryable for result in response.results)
    assert machine.clock.monotonic_ms() - began_at_ms <= 3_000


async def test_a_table_that_stumbles_costs_no_task() -> None:
    _, machine, speaker = bench()
    for kind in ("read", "create", "write"):
        machine.table.fates[kind] += [Fate.THROTTLED, Fate.LOST, Fate.UNANSWERED]
    response = await machine.speak(texts(30), speaker)

    assert spoken(response) == texts(30)
    assert max(speaker.attempts.values()) == 1


async def test_calls_that_run_when_the_table_goes_are_kept_and_the_rest_is_told() -> None:
    """I4 and I8: calls go on as long as leases last, deadline or not."""
    _, machine, speaker = bench(call_ms=2_000)
    running = asyncio.create_task(machine.speak(texts(300), speaker))
    await machine.clock.sleep(1_000)
    machine.table.fate = Fate.THROTTLED
    response = await running

    assert codes(response).count(None) in {20, 30}
    assert codes(response).count("pool_table") == 300 - codes(response).count(None)
    assert len(speaker.calls) == codes(response).count(None)
