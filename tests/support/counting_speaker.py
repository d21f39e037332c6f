"""An account at an upstream that counts calls in progress, abandoned ones included, and allows only so many."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.virtual_time import VirtualClock
from volcengine_client.errors import UpstreamTimeoutError
from volcengine_client.models import TaskItem
from volcengine_client.speech.call import Call
from volcengine_client.speech.speech import Speech


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """How the upstream behaves towards one call.

    Attributes:
        error: What the speaker raises when the upstream has answered; None for audio.
        is_silent: Whether the upstream never answers.
        is_unreachable: Whether there is no connection, so that nothing is sent.
        call_ms: How long the upstream works on it; None for as long as usual.
        audio: What it says; None for the text itself.
    """

    error: BaseException | None = None
    is_silent: bool = False
    is_unreachable: bool = False
    call_ms: int | None = None
    audio: bytes | None = None


@dataclass(frozen=True, slots=True)
class Spoken:
    """A call that reached the upstream."""

    text: str
    at_ms: int


@dataclass(slots=True)
class CountingSpeaker:
    """A speaker, and the upstream behind it, in virtual time.

    Attributes:
        limit: Calls that it may be at work on at once; one more is a bug, and fails whoever made it.
        clock: Tells when calls come.
        call_ms: How long it works on a call.
        connect_ms: How long a connection takes to be ready.
        turns: How it behaves towards the next calls for a text.
        turn: Says how it behaves towards the next call, or None; asked before `turns` are.
        then: How it behaves towards every other call.
        in_flight_count: Calls that it is at work on, those that their caller gave up included.
        peak: The most that there ever were.
        calls: All that reached it, in order.
        attempts: How often each text was tried, connected or not.
        timeouts_ms: What its callers were ready to wait.
    """

    limit: int
    clock: VirtualClock
    call_ms: int = 1_000
    connect_ms: int = 0
    turns: dict[str, deque[Turn]] = field(default_factory=dict)
    turn: Callable[[str], Turn | None] = lambda _: None
    then: Turn = field(default_factory=Turn)
    in_flight_count: int = 0
    peak: int = 0
    calls: list[Spoken] = field(default_factory=list)
    attempts: Counter[str] = field(default_factory=Counter)
    timeouts_ms: list[int] = field(default_factory=list)
    on_call: Callable[[Spoken], None] | None = None

    @property
    def texts(self) -> list[str]:
        """All texts that reached it, in order."""
        return [call.text for call in self.calls]

    def will(self, text: str, *turns: Turn) -> None:
        """Behave so towards the next calls for *text*."""
        self.turns[text] = deque(turns)

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        assert timeout_ms > 0
        self.timeouts_ms.append(timeout_ms)
        self.attempts[task.text] += 1
        turn = self._turn_for(task.text)
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                return await self._exchanged(task, call, turn)
        except TimeoutError as exc:
            raise UpstreamTimeoutError("no answer in time") from exc

    def _turn_for(self, text: str) -> Turn:
        turn = self.turn(text)
        if turn is not None:
            return turn
        turns = self.turns.get(text)
        return turns.popleft() if turns else self.then

    async def _exchanged(self, task: TaskItem, call: Call, turn: Turn) -> Speech:
        if self.connect_ms:
            await self.clock.sleep(self.connect_ms)
        if turn.is_unreachable and turn.error is not None:
            raise turn.error
        call.ready()
        async with self._worked_on(task.text, self.call_ms if turn.call_ms is None else turn.call_ms) as end:
            call.sent()
            if turn.is_silent:
                await asyncio.get_running_loop().create_future()
            await end.wait()
            call.answered()
        if turn.error is not None:
            raise turn.error
        audio = task.text.encode() if turn.audio is None else turn.audio
        return Speech(audio=audio, duration_ms=len(audio), log_id=None)

    @asynccontextmanager
    async def _worked_on(self, text: str, call_ms: int) -> AsyncIterator[asyncio.Event]:
        """Be at work on a call to its end, whatever becomes of the caller."""
        end = asyncio.Event()
        self.in_flight_count += 1
        self.peak = max(self.peak, self.in_flight_count)
        assert self.in_flight_count <= self.limit, f"{self.in_flight_count} calls in progress, {self.limit} allowed"
        spoken = Spoken(text, self.clock.monotonic_ms())
        self.calls.append(spoken)
        if self.on_call is not None:
            self.on_call(spoken)
        asyncio.get_running_loop().call_later(call_ms / 1_000, self._finish, end)
        yield end

    def _finish(self, end: asyncio.Event) -> None:
        self.in_flight_count -= 1
        end.set()
