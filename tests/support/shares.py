"""Many callers at one account, each in a process of its own, in virtual time; and who was spoken for when."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from tests.support.lagging_table import LaggingTable, Request
from tests.support.pools import NAME, World
from tests.support.spans import Span, busy_ms, now_ms
from volcengine_client import batch as batch_module
from volcengine_client.errors import ConcurrencyExceededError
from volcengine_client.limits import DEFAULT_TIMES
from volcengine_client.models import BatchResponse, TaskItem
from volcengine_client.pool import holder as holder_module
from volcengine_client.pool.holder import Holder, Pool, Terms
from volcengine_client.pool.slots import Limit
from volcengine_client.pool.table import PoolTable, Reply
from volcengine_client.speech.call import Call
from volcengine_client.speech.speech import Speech

TABLE_LAG_MS, TABLE_SPREAD = 6.0, 0.4  # there and back, log-normal
CALL_MS, CALL_SPREAD = 1_200, 0.25  # a call of the upstream, log-normal with this mean
WIRE_MS = 15  # to the upstream, and the same back
TRIED_MS = 8_000  # a cut limit is tried again after this at the earliest
ARRIVALS_MS = 50  # within which those who come together come


class Breeze(LaggingTable):
    """A way to the table whose requests take now less, now more time."""

    def __init__(self, inner: PoolTable, *, chance: Random, **rest: Any) -> None:
        super().__init__(inner, **rest)
        self._chance = chance

    async def _ask(self, request: Request, send: Callable[[], Awaitable[Reply]]) -> Reply:
        self._lag_ms = max(1, round(self._chance.lognormvariate(math.log(TABLE_LAG_MS), TABLE_SPREAD)))
        return await super()._ask(request, send)


@dataclass(slots=True)
class Account:
    """An account's upstream, shared with somebody outside of the pool.

    Attributes:
        limit: Calls that it lets in at once, everybody's; one more is refused.
        chance: Decides how long calls take.
        call_ms: How long they take in the mean.
        spread: Of the logarithm; 0: all take the same.
        foreign_count: Calls of the others now.
        own_count: Ours.
        peak: The most of ours there ever were.
        spans: Our calls that have ended.
        counts: How many of ours there were from when on.
        refused_at_ms: When ours were refused.
    """

    limit: int
    chance: Random
    call_ms: int = CALL_MS
    spread: float = CALL_SPREAD
    foreign_count: int = 0
    own_count: int = 0
    peak: int = 0
    spans: list[Span] = field(default_factory=list)
    counts: list[tuple[float, int]] = field(default_factory=list)
    refused_at_ms: list[float] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether it refuses one more call."""
        return self.own_count + self.foreign_count >= self.limit

    async def work_for(self, caller: str, app: str) -> None:
        """Do the work of one of our calls."""
        began_ms = now_ms()
        self._count(1)
        await self.work()
        self._count(-1)
        self.spans.append(Span(caller, app, began_ms, now_ms()))

    def _count(self, step: int) -> None:
        self.own_count += step
        self.peak = max(self.peak, self.own_count)
        self.counts.append((now_ms(), self.own_count))

    async def work(self) -> None:
        """Take as long as a call takes."""
        mean_log = math.log(self.call_ms) - self.spread**2 / 2
        await asyncio.sleep(self.chance.lognormvariate(mean_log, self.spread) / 1_000)


@dataclass(frozen=True, slots=True)
class Voice:
    """The account as one caller speaks with it."""

    account: Account
    caller: str
    app: str

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        assert timeout_ms > 0
        account = self.account
        call.ready()
        call.sent()
        await asyncio.sleep(WIRE_MS / 1_000)
        is_let_in = not account.is_full
        if is_let_in:
            await account.work_for(self.caller, self.app)
        else:
            account.refused_at_ms.append(now_ms())
        await asyncio.sleep(WIRE_MS / 1_000)
        call.answered()
        if not is_let_in:
            raise ConcurrencyExceededError("quota exceeded for types: concurrency")
        return Speech(audio=task.text.encode(), duration_ms=1, log_id=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One who brings a batch, to a process of its own."""

    name: str
    tasks: int
    app: str = "default"
    weight: int = 1
    is_background: bool = False
    hold_max: int | None = None
    at_ms: float = 0


class Scene:
    """One pool, one account, and the callers that come.

    Args:
        seed: Decides all chance.
        limit: The account's and the pool's.
        account: Further arguments of the account.
    """

    def __init__(self, seed: int, *, limit: int = 10, **account: Any) -> None:
        self.world = World(times=DEFAULT_TIMES)
        self.limit = limit
        self.account = Account(limit, Random(f"calls {seed}"), **account)
        self.chance = Random(f"table {seed}")

    async def play(self, callers: Sequence[Caller], stranger: Stranger | None = None) -> list[Span]:
        """Let everyone speak, beside a stranger if there is one; return all calls in the order in which they began.

        Every text must be spoken once, and no call be over the limit (I1, I3, I8).
        """
        disturbance = asyncio.create_task(stranger.use(self.account, self.chance)) if stranger else None
        answers = await asyncio.gather(*(self.speak(caller) for caller in callers))
        if disturbance:
            await disturbance
        for caller, answer in zip(callers, answers, strict=True):
            assert [result.audio.decode() for result in answer.results] == _texts(caller)
        spans = sorted(self.account.spans, key=lambda span: span.began_ms)
        assert Counter(span.caller for span in spans) == {caller.name: caller.tasks for caller in callers}
        assert self.account.peak <= self.limit
        return spans

    async def speak(self, caller: Caller) -> BatchResponse:
        """Come, and speak one batch."""
        await asyncio.sleep((caller.at_ms + self.chance.random() * ARRIVALS_MS) / 1_000)
        machine = self.world.machine()
        table = Breeze(self.world.table, clock=machine.clock, chance=self.chance)
        return await batch_module.speak_batch(
            [TaskItem(text=text) for text in _texts(caller)],
            speaker=Voice(self.account, caller.name, caller.app),
            pool=Pool(NAME, table=table, clock=machine.clock),
            terms=Terms(
                limit=Limit(self.limit, 0),
                hold_max=caller.hold_max or self.limit,
                app=caller.app,
                weight=caller.weight,
                is_background=caller.is_background,
            ),
            clock=machine.clock,
        )


def _texts(caller: Caller) -> list[str]:
    return [f"{caller.name} {number}" for number in range(caller.tasks)]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let names and waits of participants come from *seed*, so that a run can be repeated."""
    chance = Random(f"names {seed}")

    class NamedHolder(Holder):
        def __init__(self, *arguments: Any, **rest: Any) -> None:
            super().__init__(*arguments, **rest)
            self.holder_id = f"{chance.getrandbits(48):012x}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_module, "Holder", NamedHolder)
        patch.setattr(batch_module, "random", Random(f"batch {seed}"))
        patch.setattr(holder_module, "random", Random(f"holder {seed}"))
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """Somebody outside of the pool who uses the account for a while: so many calls at once, one after another.

    Attributes:
        count: How many.
        since_ms, until_ms: When no call of theirs starts before, and after.
        is_greedy: Whether each takes the next room at once and keeps it to the end; else it asks again after a
            while when it is refused, and pauses between its calls.
    """

    count: int
    since_ms: float
    until_ms: float
    is_greedy: bool = False

    async def use(self, account: Account, chance: Random) -> None:
        """Come, call and go."""
        await asyncio.sleep(self.since_ms / 1_000)
        if self.is_greedy:
            account.foreign_count += self.count
            await asyncio.sleep((self.until_ms - self.since_ms) / 1_000)
            account.foreign_count -= self.count
        else:
            await asyncio.gather(*(self._call(account, chance) for _ in range(self.count)))

    async def _call(self, account: Account, chance: Random) -> None:
        while now_ms() < self.until_ms:
            if not account.is_full:
                account.foreign_count += 1
                await account.work()
                account.foreign_count -= 1
            await asyncio.sleep(chance.random() * 2 * WIRE_MS / 1_000)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What came of foreign use.

    Attributes:
        refused_count: Our calls that were refused, in all.
        settling_ms: From its beginning to the last refusal before the limit was tried again.
        tried_count: Refusals after that, of calls that tried whether there is room again.
        back_ms: From its end until as many of our calls as the limit were in progress again.
        used: Our calls in progress in the mean, from its beginning to its end.
    """

    refused_count: int
    settling_ms: float
    tried_count: int
    back_ms: float
    used: float

    @classmethod
    def of(cls, account: Account, spans: Sequence[Span], stranger: Stranger) -> Disturbance:
        """Look at what the account saw."""
        waits_ms = [at_ms - stranger.since_ms for at_ms in account.refused_at_ms]
        settling_ms = [wait_ms for wait_ms in waits_ms if wait_ms < TRIED_MS]
        full_at_ms = [at_ms for at_ms, count in account.counts if at_ms >= stranger.until_ms and count == account.limit]
        busy = sum(busy_ms(spans, since_ms=stranger.since_ms, until_ms=stranger.until_ms).values())
        return cls(
            refused_count=len(waits_ms),
            settling_ms=max(settling_ms, default=0),
            tried_count=len(waits_ms) - len(settling_ms),
            back_ms=min(full_at_ms, default=math.inf) - stranger.until_ms,
            used=busy / (stranger.until_ms - stranger.since_ms),
        )
