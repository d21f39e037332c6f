"""Thousands of callers at one account cut into shards, in virtual time, beside one semaphore."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

import looptime

from tests.support.scale.member import Member
from tests.support.scale.shards import Shards
from tests.support.scale.table import MeteredTable
from tests.support.spans import Span, now_ms
from tests.support.virtual_time import END_S, TrueTime, VirtualClock
from volcengine_client.models import TaskItem
from volcengine_client.speech.call import Call
from volcengine_client.speech.speech import Speech

CALL_MS, CALL_SPREAD = 1_200, 0.25  # a call of the upstream, log-normal with this mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is simulated.

    Attributes:
        callers: Each in a process of its own.
        tasks: A caller's batch.
        limit: The account's.
        shards: Into how many it is cut.
        has_lines: Whether those who wait for long wait in lines.
        arrivals_ms: Within which all callers come, evenly.
        apps: Parts of the callers, one an app.
    """

    callers: int = 5_000
    tasks: int = 2
    limit: int = 500
    shards: int = 25
    has_lines: bool = True
    arrivals_ms: int = 1_000
    apps: tuple[int, ...] = (1,)


@dataclass(frozen=True, slots=True)
class Caller:
    """One of them: when it comes, whose it is, and how long its calls take."""

    name: str
    app: str
    at_ms: float
    calls_ms: tuple[float, ...]


def crowd(case: Case, seed: int) -> list[Caller]:
    """Return the callers of a case."""
    chance = Random(f"crowd {seed}")
    mean_log = math.log(CALL_MS) - CALL_SPREAD**2 / 2
    apps = chance.choices([f"app-{number}" for number in range(len(case.apps))], case.apps, k=case.callers)
    return [
        Caller(
            str(number),
            app,
            chance.uniform(0, case.arrivals_ms),
            tuple(chance.lognormvariate(mean_log, CALL_SPREAD) for _ in range(case.tasks)),
        )
        for number, app in enumerate(apps)
    ]


@dataclass(slots=True)
class Upstream:
    """The account: it works on so many calls at once, and one more is a breach of I1."""

    limit: int
    in_flight_count: int = 0
    peak: int = 0
    spans: list[Span] = field(default_factory=list)

    async def work(self, caller: Caller, index: int) -> None:
        """Work on one of a caller's calls."""
        self.in_flight_count += 1
        self.peak = max(self.peak, self.in_flight_count)
        assert self.in_flight_count <= self.limit
        began_ms = now_ms()
        await asyncio.sleep(caller.calls_ms[index] / 1_000)
        self.in_flight_count -= 1
        self.spans.append(Span(caller.name, caller.app, began_ms, now_ms()))

    def ended_ms(self, part: float = 1.0) -> float:
        """Return when that part of the calls was over."""
        ends_ms = sorted(span.ended_ms for span in self.spans)
        return ends_ms[math.ceil(part * len(ends_ms)) - 1]


@dataclass(frozen=True, slots=True)
class Voice:
    """The account as one caller speaks with it."""

    upstream: Upstream
    caller: Caller

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        assert timeout_ms > 0
        call.ready()
        call.sent()
        await self.upstream.work(self.caller, int(task.text))
        call.answered()
        return Speech(audio=task.text.encode(), duration_ms=1, log_id=None)


def in_virtual_time(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run to the end in an event loop whose time passes only while everything waits."""
    loop = looptime.new_event_loop(start=0, noop_cycles=0, end=END_S)
    try:
        loop.run_until_complete(play())
    finally:
        loop.close()


def with_semaphore(case: Case, seed: int) -> Upstream:
    """Make the same calls with one semaphore in one process: the best there can be."""
    upstream = Upstream(case.limit)

    async def play() -> None:
        semaphore = asyncio.Semaphore(case.limit)

        async def call(caller: Caller, index: int) -> None:
            async with semaphore:
                await upstream.work(caller, index)

        async def come(caller: Caller) -> None:
            await asyncio.sleep(caller.at_ms / 1_000)
            await asyncio.gather(*(call(caller, index) for index in range(case.tasks)))

        await asyncio.gather(*map(come, crowd(case, seed)))

    in_virtual_time(play)
    return upstream


@dataclass(slots=True)
class Scene:
    """One run.

    Attributes:
        ideal: The same calls with one semaphore.
        took_s: Real time.
    """

    case: Case
    callers: list[Caller]
    upstream: Upstream
    ideal: Upstream
    table: MeteredTable
    members: list[Member] = field(default_factory=list)
    took_s: float = 0.0


def played(case: Case, seed: int) -> Scene:
    """Let all callers speak through the pool's real code; no call is ever over the limit (I1), every text is spoken."""
    began_s = time.monotonic()
    random.seed(seed)  # participants' waits
    clock = VirtualClock(TrueTime())
    table = MeteredTable(clock=clock, chance=Random(f"table {seed}"))
    scene = Scene(case, crowd(case, seed), Upstream(case.limit), with_semaphore(case, seed), table)
    shards = Shards("server", case.limit, case.shards, has_lines=case.has_lines)
    texts = [str(index) for index in range(case.tasks)]

    async def come(caller: Caller) -> None:
        await asyncio.sleep(caller.at_ms / 1_000)
        chance = Random(f"{seed} {caller.name}")
        voice = Voice(scene.upstream, caller)
        member = Member(shards, table=table, clock=clock, chance=chance, speaker=voice, app=caller.app)
        scene.members.append(member)
        speeches = await member.speak([TaskItem(text=text) for text in texts])
        assert [speech.audio.decode() for speech in speeches] == texts

    async def play() -> None:
        await asyncio.gather(*map(come, scene.callers))

    in_virtual_time(play)
    assert len(scene.upstream.spans) == case.callers * case.tasks
    scene.took_s = time.monotonic() - began_s
    return scene
