"""The upstream of the world: it counts the calls that it is at work on, whoever is gone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import Protocol

from tests.support.simulation.world import Machine, World
from volcengine_client.errors import (
    ConcurrencyExceededError,
    TextRefusedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    VolcengineError,
)
from volcengine_client.limits import PoolTimes
from volcengine_client.models import TaskItem
from volcengine_client.pool.holder import Lease
from volcengine_client.speech.call import Call
from volcengine_client.speech.speech import Speech


class Tell(Protocol):
    """How a caller hears of its call's end."""

    def __call__(self, outcome: Speech | BaseException, *, is_answered: bool) -> None:
        """Hear what came of it, and whether an answer came at all."""
        ...


class Turn(Enum):
    """How the upstream behaves towards one call."""

    SPEAK = auto()
    BREAK = auto()  # answers with an error; nothing was bought
    REFUSE = auto()  # answers with an error that stays
    CUT = auto()  # the connection breaks, while the work goes on
    HANG = auto()  # works for as long as it may, and its answer is lost
    UNREACHABLE = auto()  # no connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """How the upstream behaves.

    Attributes:
        call_ms: The usual length of a call, log-normal.
        spread: Of the logarithm.
        chances: Of each turn but `SPEAK`.
        slow: The chance that a call takes any time up to the longest.
        send: The chance that a request takes any time up to `send_max` to arrive.
        lag_ms: How long it goes on counting a call that it has answered.
        foreign_count: Calls of others that it is at work on.
    """

    call_ms: float = 200.0
    spread: float = 0.5
    chances: tuple[tuple[Turn, float], ...] = ()
    slow: float = 0.0
    send: float = 0.0
    lag_ms: float = 0.0
    foreign_count: int = 0


@dataclass(slots=True, eq=False)
class Attempt:
    """One call, from the check of its lease to its end at the upstream.

    Attributes:
        holder_id: Whose slot it uses.
        number: Which.
        text: What it is to speak.
        is_counted: Whether the upstream is at work on it.
        is_over: Whether it can never again be at work on it.
    """

    who: Machine
    holder_id: str
    number: int
    text: str
    ready_at_ms: float
    is_counted: bool = False
    is_over: bool = False


class CallWatch(Protocol):
    """Who looks at each call."""

    def call_may_start(self, text: str) -> None:
        """Judge an attempt before it has a connection."""
        ...

    def call_ready(self, attempt: Attempt) -> None:
        """Judge a call whose lease was just checked."""
        ...

    def call_counted(self, attempt: Attempt) -> None:
        """Judge a call that the upstream begins to count."""
        ...

    def call_ended(self, text: str, outcome: Speech | BaseException) -> None:
        """Remember what its caller was told."""
        ...


class SimulatedUpstream:
    """An account that allows so many calls at once."""

    def __init__(self, world: World, watch: CallWatch, chance: Random, *, times: PoolTimes) -> None:
        self.mood = Mood()
        self.allowed = 1
        self.under_way: list[Attempt] = []
        self.peak = 0
        self.lagging_count = 0
        self.watch = watch
        self._world = world
        self._chance = chance
        self._times = times

    def turn(self) -> Turn:
        """Return how it will behave towards the next call."""
        fate = self._chance.random()
        for turn, chance in self.mood.chances:
            fate -= chance
            if fate < 0:
                return turn
        return Turn.SPEAK

    def lag_ms(self) -> float:
        """Return how long a message travels."""
        return self._chance.uniform(1, 15)

    def send(self, attempt: Attempt, turn: Turn, tell: Tell) -> None:
        """Take a request whose bytes leave now; *tell* hears of its end, and whether an answer came at all."""
        self.under_way.append(attempt)
        self.watch.call_ready(attempt)
        send_max_ms = self._times.send_max_ms * 0.99
        is_slow = self._chance.random() < self.mood.send
        delay_ms = self._chance.uniform(0, send_max_ms) if is_slow else min(send_max_ms, self.lag_ms())
        self._world.after(delay_ms, lambda: self._arrive(attempt, turn, tell))

    def _arrive(self, attempt: Attempt, turn: Turn, tell: Tell) -> None:
        attempt.is_counted = True
        count = sum(one.is_counted for one in self.under_way)
        self.peak = max(self.peak, count)
        self.watch.call_counted(attempt)
        others = self.mood.foreign_count + self.lagging_count
        if count + others > self.allowed:
            self._world.tell(attempt.who.name, f"slot {attempt.number}: refused, {count - 1} + {others} in progress")
            self._end(attempt, lag_ms=0)
            refusal = ConcurrencyExceededError("too many at once")
            self._world.after(self.lag_ms(), lambda: tell(refusal, is_answered=True))
            return
        duration_ms = self._duration_ms()
        if turn is Turn.CUT:
            broken_ms = self._chance.uniform(0, duration_ms)
            self._world.after(
                broken_ms, lambda: tell(UpstreamUnavailableError("the connection broke"), is_answered=False)
            )
        if turn is Turn.HANG:
            duration_ms = self._times.upstream_call_max_ms
        self._world.after(duration_ms, lambda: self._finish(attempt, turn, tell))

    def _finish(self, attempt: Attempt, turn: Turn, tell: Tell) -> None:
        self._end(attempt, lag_ms=self.mood.lag_ms)
        if turn in {Turn.CUT, Turn.HANG}:
            return
        outcome: Speech | VolcengineError = Speech(attempt.text.encode(), len(attempt.text), None)
        if turn is Turn.BREAK:
            outcome = UpstreamUnavailableError("busy")
        if turn is Turn.REFUSE:
            outcome = TextRefusedError("unreadable")
        self._world.after(self.lag_ms(), lambda: tell(outcome, is_answered=True))

    def _end(self, attempt: Attempt, *, lag_ms: float) -> None:
        attempt.is_counted, attempt.is_over = False, True
        self.under_way.remove(attempt)
        if lag_ms:
            self.lagging_count += 1
            self._world.after(lag_ms * self._chance.random(), self._forget)

    def _forget(self) -> None:
        self.lagging_count -= 1

    def _duration_ms(self) -> float:
        longest_ms = float(self._times.upstream_call_max_ms)
        if self._chance.random() < self.mood.slow:
            return float(self._chance.random() ** 0.3) * longest_ms
        return min(longest_ms, self._chance.lognormvariate(0, self.mood.spread) * self.mood.call_ms)


class SimulatedSpeaker:
    """The upstream as one machine reaches it."""

    def __init__(self, upstream: SimulatedUpstream, machine: Machine) -> None:
        self._upstream = upstream
        self._machine = machine

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        assert timeout_ms > 0
        watch = self._upstream.watch
        watch.call_may_start(task.text)
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                speech = await self._exchanged(task, call)
        except TimeoutError as exc:
            error = UpstreamTimeoutError("no answer in time")
            watch.call_ended(task.text, error)
            raise error from exc
        except BaseException as error:
            watch.call_ended(task.text, error)
            raise
        watch.call_ended(task.text, speech)
        return speech

    async def _exchanged(self, task: TaskItem, call: Call) -> Speech:
        upstream, machine = self._upstream, self._machine
        turn = upstream.turn()
        connected: asyncio.Future[None] = machine.loop.create_future()
        machine.world.after(upstream.lag_ms(), lambda: machine.deliver(_resolve, connected))
        await connected
        if turn is Turn.UNREACHABLE:
            raise UpstreamUnavailableError("no connection")
        call.ready()
        assert isinstance(call, Lease)
        attempt = Attempt(machine, call._holder.holder_id, call.number, task.text, machine.world.now_ms)
        answer: asyncio.Future[Speech] = machine.loop.create_future()

        def tell(outcome: Speech | BaseException, *, is_answered: bool) -> None:
            machine.deliver(_hear, answer, call, outcome, is_answered)

        upstream.send(attempt, turn, tell)
        call.sent()
        return await answer


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _hear(answer: asyncio.Future[Speech], call: Call, outcome: Speech | BaseException, is_answered: bool) -> None:
    if answer.done():
        return
    if is_answered:
        call.answered()
    if isinstance(outcome, Speech):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)
