"""A wire to a scripted upstream, and a clock that a test sets."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

from tests.support.scripted_upstream import Answer, RecordedCall, ScriptedUpstream, raw, raw_answer
from volcengine_client.clock import Clock, SystemClock
from volcengine_client.speech.wire import Answer as WholeAnswer
from volcengine_client.speech.wire import Wire

PATH = "api/v1/tts"
BODY = json.dumps({"request": {"reqid": "1"}}).encode()
HEADERS = {"Authorization": "Bearer;the-access-key"}
FINE = raw(raw_answer(200, b"{}"))
FINE_ANSWER = WholeAnswer(200, "20240726log", b"{}")


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.wall_ahead_ms = 0

    def monotonic_ms(self) -> int:
        return self.now_ms

    def wall_ms(self) -> int:
        return self.now_ms + self.wall_ahead_ms

    async def sleep(self, duration_ms: int) -> None:
        self.now_ms += duration_ms


@contextlib.asynccontextmanager
async def wire_to(endpoint: str, *, clock: Clock | None = None) -> AsyncIterator[Wire]:
    """Close the wire in the end."""
    wire = Wire(endpoint, clock=clock or SystemClock())
    try:
        yield wire
    finally:
        await wire.close()


@contextlib.asynccontextmanager
async def wired(*script: Answer, clock: Clock | None = None) -> AsyncIterator[tuple[ScriptedUpstream, Wire]]:
    """Start an upstream with a script, and a wire to it that must have let go of everything in the end."""
    async with ScriptedUpstream(*script) as upstream, wire_to(upstream.url, clock=clock) as wire:
        yield upstream, wire
        for line in wire._lines.values():
            assert line.call_count == 0
            assert line.session.connector is not None
            assert not line.session.connector._acquired


async def post(
    wire: Wire, call: RecordedCall | None = None, *, body: bytes = BODY, timeout_ms: int = 5_000
) -> WholeAnswer:
    """Post once."""
    return await wire.post(PATH, headers=HEADERS, body=body, call=call or RecordedCall(), timeout_ms=timeout_ms)
