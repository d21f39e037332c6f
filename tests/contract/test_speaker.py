"""What every speaker tells of a call, the real one and the one that counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

import pytest

from tests.support.counting_speaker import CountingSpeaker, Turn
from tests.support.scripted_upstream import (
    Answer,
    RecordedCall,
    ScriptedUpstream,
    cuts,
    hangs,
    objects,
    refuses,
    says,
    speaks,
    streams,
)
from tests.support.virtual_time import VirtualClock
from volcengine_client.clock import SystemClock
from volcengine_client.errors import (
    ConcurrencyExceededError,
    LeaseLostError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    VolcengineError,
)
from volcengine_client.models import TaskItem
from volcengine_client.speech.call import Call
from volcengine_client.speech.login import Login
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.v1 import V1
from volcengine_client.speech.v3 import V3
from volcengine_client.speech.wire import Wire

AUDIO = bytes(480)
TASK = TaskItem(text="hello", encoding="pcm")
LONG_MS = 5_000


class Bench(Protocol):
    """A speaker, an upstream that behaves as it is told, and what reached it."""

    speaker: Speaker

    async def will(self, behaviour: str) -> None:
        """Speak, be silent, refuse for concurrency or be unreachable."""
        ...

    @property
    def reached_count(self) -> int:
        """Calls that reached the upstream."""
        ...


class CountingBench:
    def __init__(self) -> None:
        self._upstream = CountingSpeaker(limit=1, clock=VirtualClock(), call_ms=1)
        self.speaker: Speaker = self._upstream

    async def will(self, behaviour: str) -> None:
        self._upstream.then = {
            "speak": Turn(audio=AUDIO),
            "be silent": Turn(is_silent=True),
            "refuse": Turn(error=ConcurrencyExceededError("too many")),
            "be unreachable": Turn(is_unreachable=True, error=UpstreamUnavailableError("no connection")),
        }[behaviour]

    @property
    def reached_count(self) -> int:
        return len(self._upstream.calls)


class V1Bench:
    def __init__(self, upstream: ScriptedUpstream, wire: Wire) -> None:
        self._upstream = upstream
        self.speaker: Speaker = V1(wire, Login("1234567890", "the-access-key"))

    async def will(self, behaviour: str) -> None:
        if behaviour == "be unreachable":
            await self._upstream.__aexit__()
            return
        answers: dict[str, Answer] = {
            "speak": speaks(AUDIO),
            "be silent": hangs,
            "refuse": refuses(429, 3003, "concurrency exceeded"),
        }
        self._upstream.script = [answers[behaviour]]

    @property
    def reached_count(self) -> int:
        return len(self._upstream.requests)


class V3Bench(V1Bench):
    def __init__(self, upstream: ScriptedUpstream, wire: Wire) -> None:
        super().__init__(upstream, wire)
        self.speaker = ChosenVoice(V3(wire, Login(api_key="the-api-key")))

    async def will(self, behaviour: str) -> None:
        await super().will(behaviour)
        answers: dict[str, Answer] = {
            "speak": streams(*objects(AUDIO[:7], AUDIO[7:])),
            "be silent": hangs,
            "refuse": says(429, {"code": 45_000_292, "message": "quota exceeded for types: concurrency"}),
        }
        self._upstream.script = [answers.get(behaviour, cuts)]


class ChosenVoice:
    """A speaker whose tasks all have a voice that its API has."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        task = replace(task, voice_type="zh_female_vv_uranus_bigtts")
        return await self._speaker.speak(task, call=call, timeout_ms=timeout_ms)


@asynccontextmanager
async def _wired(kind: type[V1Bench]) -> AsyncIterator[V1Bench]:
    async with ScriptedUpstream(cuts) as upstream:
        wire = Wire(upstream.url, clock=SystemClock())
        yield kind(upstream, wire)
        await wire.close()


@pytest.fixture(params=[CountingBench, V1Bench, V3Bench])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param is CountingBench:
        yield CountingBench()
    else:
        async with _wired(request.param) as wired:
            yield wired


async def _failure(bench: Bench, call: RecordedCall, *, timeout_ms: int = LONG_MS) -> VolcengineError:
    with pytest.raises(VolcengineError) as caught:
        await bench.speaker.speak(TASK, call=call, timeout_ms=timeout_ms)
    return caught.value


async def test_a_call_that_succeeds_is_ready_then_sent_then_answered(bench: Bench) -> None:
    await bench.will("speak")
    call = RecordedCall()
    speech = await bench.speaker.speak(TASK, call=call, timeout_ms=LONG_MS)

    assert speech.audio == AUDIO
    assert speech.duration_ms > 0
    assert call.told == ["ready", "sent", "answered"]
    assert bench.reached_count == 1


async def test_a_call_that_may_not_start_sends_nothing(bench: Bench) -> None:
    """I1."""
    await bench.will("speak")
    refusal = LeaseLostError("the lease is over")

    assert await _failure(bench, RecordedCall(refusal=refusal)) is refusal
    assert bench.reached_count == 0


async def test_a_call_that_is_refused_was_answered(bench: Bench) -> None:
    await bench.will("refuse")
    call = RecordedCall()

    assert isinstance(await _failure(bench, call), ConcurrencyExceededError)
    assert call.told == ["ready", "sent", "answered"]


async def test_a_call_without_an_answer_ends_in_doubt_when_its_time_is_over(bench: Bench) -> None:
    """I1: so its slot drains."""
    await bench.will("be silent")
    call = RecordedCall()

    assert isinstance(await _failure(bench, call, timeout_ms=200), UpstreamTimeoutError)
    assert call.told == ["ready", "sent"]
    assert bench.reached_count == 1


async def test_a_call_that_is_cancelled_ends_in_doubt(bench: Bench) -> None:
    """I1."""
    await bench.will("be silent")
    call = RecordedCall()
    speaking = asyncio.create_task(bench.speaker.speak(TASK, call=call, timeout_ms=LONG_MS))
    await call.heard["sent"].wait()
    speaking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await speaking
    assert call.told == ["ready", "sent"]


async def test_a_call_without_a_connection_never_began(bench: Bench) -> None:
    await bench.will("be unreachable")
    call = RecordedCall()

    assert (await _failure(bench, call)).retryable
    assert call.told == []
