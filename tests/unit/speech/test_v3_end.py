"""Where an answer of v3 ends, and what is known of the call then (I1, I4)."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.scripted_upstream import (
    Answer,
    RecordedCall,
    ScriptedUpstream,
    hangs,
    objects,
    raw,
    raw_answer,
    streams,
)
from volcengine_client import errors
from volcengine_client.clock import SystemClock
from volcengine_client.models import TaskItem
from volcengine_client.speech.login import Login
from volcengine_client.speech.v3 import V3
from volcengine_client.speech.wire import Wire

TASK = TaskItem(None, "你好。", "zh_female_vv_uranus_bigtts", encoding="pcm")
PCM = bytes(range(240))
WHOLE = b"".join(objects(PCM))
FAILURE = b'{"code":55000000,"message":"server error"}'
DOUBT = ["ready", "sent"]
ENDED = ["ready", "sent", "answered"]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(streams(WHOLE)) as upstream:
        yield upstream


@pytest.fixture
async def v3(upstream: ScriptedUpstream) -> AsyncIterator[V3]:
    wire = Wire(upstream.url, clock=SystemClock())
    yield V3(wire, Login("1234567890", "key"))
    await wire.close()


@pytest.mark.parametrize(
    ("before", "last"), [((PCM[:100],), PCM[100:]), ((), PCM)], ids=["after other audio", "in one object"]
)
async def test_audio_in_the_last_object_is_not_lost(
    upstream: ScriptedUpstream, v3: V3, before: tuple[bytes, ...], last: bytes
) -> None:
    """None was seen there; but half a file would pass for a whole one."""
    end = {"code": 20_000_000, "message": "ok", "data": base64.b64encode(last).decode()}
    upstream.script = [streams(*objects(*before, end=end))]

    assert (await v3.speak(TASK, call=RecordedCall(), timeout_ms=5_000)).audio == PCM


@pytest.mark.parametrize(
    "pieces", [(WHOLE + FAILURE,), (WHOLE, FAILURE), (WHOLE, b"noise"), (WHOLE, WHOLE), (WHOLE, b"\n")]
)
async def test_what_comes_behind_the_last_object_changes_nothing(
    upstream: ScriptedUpstream, v3: V3, pieces: tuple[bytes, ...]
) -> None:
    upstream.script = [streams(*pieces)]
    call = RecordedCall()

    assert (await v3.speak(TASK, call=call, timeout_ms=5_000)).audio == PCM
    assert call.told == ENDED


async def test_an_error_ends_the_call_whatever_comes_behind_it(upstream: ScriptedUpstream, v3: V3) -> None:
    upstream.script = [streams(objects(PCM)[0] + FAILURE + WHOLE)]
    call = RecordedCall()
    with pytest.raises(errors.UpstreamUnavailableError):
        await v3.speak(TASK, call=call, timeout_ms=5_000)

    assert call.told == ENDED


async def test_an_answer_that_is_packed_though_nobody_asked_is_read(upstream: ScriptedUpstream, v3: V3) -> None:
    packed = gzip.compress(WHOLE)
    upstream.script = [
        raw(raw_answer(200, packed, Content_Encoding="gzip")),
        raw(raw_answer(200, packed[:20] + b"spoiled" + packed[27:], Content_Encoding="gzip"), is_kept=False),
    ]
    assert (await v3.speak(TASK, call=RecordedCall(), timeout_ms=5_000)).audio == PCM
    call = RecordedCall()
    with pytest.raises(errors.UpstreamUnavailableError):
        await v3.speak(TASK, call=call, timeout_ms=5_000)

    assert call.told == DOUBT


@pytest.mark.parametrize("answer", [raw(raw_answer(200, b"")), raw(raw_answer(204, b"")), streams(b"", is_whole=False)])
async def test_an_empty_success_is_no_end(upstream: ScriptedUpstream, v3: V3, answer: Answer) -> None:
    upstream.script = [answer]
    call = RecordedCall()
    with pytest.raises(errors.UpstreamUnavailableError):
        await v3.speak(TASK, call=call, timeout_ms=5_000)

    assert call.told == DOUBT


async def test_a_stream_that_trickles_past_the_time_is_in_doubt(upstream: ScriptedUpstream, v3: V3) -> None:
    async def trickles(exchange: Any) -> bool:
        await streams(objects(PCM)[0], b"{", is_whole=False)(exchange)
        return await hangs(exchange)

    upstream.script = [trickles]
    call = RecordedCall()
    with pytest.raises(errors.UpstreamTimeoutError):
        await v3.speak(TASK, call=call, timeout_ms=200)

    assert call.told == DOUBT


async def test_a_call_cancelled_behind_its_last_object_is_not_in_doubt(upstream: ScriptedUpstream, v3: V3) -> None:
    """I1: its slot serves the next task at once."""

    async def never_ends(exchange: Any) -> bool:
        await streams(WHOLE, is_whole=False)(exchange)
        return await hangs(exchange)

    upstream.script = [never_ends]
    call = RecordedCall()
    speaking = asyncio.create_task(v3.speak(TASK, call=call, timeout_ms=5_000))
    await call.heard["answered"].wait()
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking

    assert call.told == ENDED
