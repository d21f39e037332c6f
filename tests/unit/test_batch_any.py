"""Any batch of long and short tasks, whatever the upstream does: the laws hold, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.counting_speaker import CountingSpeaker, Spoken, Turn
from tests.support.long_texts import sentences
from tests.support.pools import World, terms
from tests.support.virtual_time import END_S
from volcengine_client.batch import speak_batch
from volcengine_client.errors import (
    ConcurrencyExceededError,
    TextRefusedError,
    UpstreamUnavailableError,
    VolcengineError,
)
from volcengine_client.limits import RESULT_BYTES
from volcengine_client.models import BatchResponse, TaskItem
from volcengine_client.speech.audio import audio_bytes_expected

SMALL: dict[str, Any] = {"encoding": "pcm", "sample_rate": 8_000, "speed": 3}
SLACK_MS = 3_000  # for leaving the pool, beside the answer's own reserve


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How the upstream behaves towards one call."""

    kind: str
    call_ms: int

    def turn(self, audio: bytes) -> Turn:
        error: dict[str, VolcengineError] = {
            "busy": UpstreamUnavailableError("busy"),
            "refused": TextRefusedError("no"),
            "throttled": ConcurrencyExceededError("too many"),
        }
        if self.kind == "silent":
            return Turn(is_silent=True, call_ms=self.call_ms)
        if self.kind == "unreachable":
            return Turn(error=error["busy"], is_unreachable=True)
        return Turn(error=error.get(self.kind), call_ms=self.call_ms, audio=audio)


CALLS = st.builds(
    Call,
    kind=st.sampled_from(["spoken"] * 4 + ["busy", "refused", "throttled", "silent", "unreachable"]),
    call_ms=st.sampled_from([0, 10, 500, 3_000]),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A batch, and all that befalls it.

    Attributes:
        segment_counts: Of its tasks.
        calls: How the upstream behaves, call by call; spoken in a second after that.
        share: Of what is expected, how large the files are.
        room: How many segments' audio the answer holds, as it is expected; None: any.
        deadline_ms: From the beginning; None: there is none.
        limit: Of the pool.
        hold_max: Of the batch.
        neighbours: Calls that another batch makes meanwhile.
    """

    segment_counts: Sequence[int]
    calls: Sequence[Call]
    share: float
    room: float | None
    deadline_ms: int | None
    limit: int
    hold_max: int
    neighbours: int


PLANS = st.builds(
    Plan,
    segment_counts=st.lists(st.sampled_from([1, 1, 2, 3, 5]), min_size=2, max_size=5),
    calls=st.lists(CALLS, min_size=4, max_size=20),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    room=st.none() | st.sampled_from([0.5, 1.5, 2.1, 2.8, 4.1, 5.5, 9.0]),
    deadline_ms=st.none() | st.integers(0, 30_000),
    limit=st.integers(1, 4),
    hold_max=st.sampled_from([1, 2, 4, 8]),
    neighbours=st.sampled_from([0, 6]),
)


@dataclass(slots=True)
class Played:
    """What came of a plan."""

    response: BatchResponse
    texts: Sequence[Sequence[str]]
    calls: Sequence[Spoken]
    peak: int
    ends_at_ms: int
    began_at_ms: int
    bytes_max: int | None
    refused_at_ms: dict[str, int]
    spoken: set[str]


class Scene:
    """The pool, the upstream and the batch of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.machine = World().machine()
        self.speaker = CountingSpeaker(limit=plan.limit, clock=self.machine.clock)
        self.speaker.turn = self._turn
        self.speaker.on_call = self._note
        self.texts: list[list[str]] = []
        self.refused_at_ms: dict[str, int] = {}
        self.spoken: set[str] = set()
        self._calls = list(plan.calls)
        self._turns: dict[str, Call] = {}
        first = 0
        for count in plan.segment_counts:
            self.texts.append(sentences(count, first=first))
            first += count
        self.tasks = [TaskItem(text="".join(texts), **SMALL) for texts in self.texts]

    def _turn(self, text: str) -> Turn | None:
        expected = audio_bytes_expected(TaskItem(text=text, **SMALL))
        audio = bytes(max(2, int(expected * self.plan.share) // 2 * 2))
        call = self._calls.pop(0) if self._calls else Call(kind="spoken", call_ms=1_000)
        self._turns[text] = call
        return call.turn(audio)

    def _note(self, spoken: Spoken) -> None:
        call = self._turns[spoken.text]
        if call.kind == "refused":
            self.refused_at_ms.setdefault(spoken.text, spoken.at_ms + call.call_ms)
        if call.kind == "spoken":
            self.spoken.add(spoken.text)

    async def play(self) -> Played:
        plan, clock = self.plan, self.machine.clock
        one = -(-audio_bytes_expected(TaskItem(text=self.texts[0][0], **SMALL)) // 3) * 4
        bytes_max = None if plan.room is None else len(self.tasks) * RESULT_BYTES + int(plan.room * one)
        began_at_ms = clock.monotonic_ms()
        how: dict[str, Any] = {
            "speaker": self.speaker,
            "pool": self.machine.pool,
            "terms": terms(plan.limit, hold_max=plan.hold_max),
            "clock": clock,
        }
        neighbour = [TaskItem(text=f"neighbour {number}", **SMALL) for number in range(plan.neighbours)]
        other = asyncio.create_task(speak_batch(neighbour, **how)) if neighbour else None
        response = await speak_batch(
            self.tasks,
            **how,
            deadline_at_ms=None if plan.deadline_ms is None else began_at_ms + plan.deadline_ms,
            answer_bytes_max=bytes_max,
        )
        ends_at_ms = clock.monotonic_ms()
        if other is not None:
            await other
        return Played(
            response=response,
            texts=self.texts,
            calls=self.speaker.calls,
            peak=self.speaker.peak,
            ends_at_ms=ends_at_ms,
            began_at_ms=began_at_ms,
            bytes_max=bytes_max,
            refused_at_ms=self.refused_at_ms,
            spoken=self.spoken,
        )


def _played(plan: Plan) -> Played:
    async def play() -> Played:
        return await Scene(plan).play()

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0, noop_cycles=0, end=END_S)) as runner:
        return runner.run(play())


@settings(max_examples=100)
@given(PLANS)
def test_any_batch_upholds_the_laws(plan: Plan) -> None:
    """I1, I3, I4, I5 and I8; a batch that hangs ends its event loop."""
    played = _played(plan)
    results = played.response.results

    assert played.peak <= plan.limit
    assert len(results) == len(plan.segment_counts)
    for result, texts in zip(results, played.texts, strict=True):
        assert bool(result.audio_base64) != bool(result.error)
        if result.error is None:
            assert played.spoken >= set(texts)
        elif result.error.code == "answer_full":
            assert not played.spoken & set(texts), "a task was bought in part that has no room"
        failed_at_ms = min(played.refused_at_ms.get(text, played.ends_at_ms) for text in texts)
        assert all(call.at_ms <= failed_at_ms for call in played.calls if call.text in texts)
    if played.bytes_max is not None:
        assert len(played.response.model_dump_json().encode()) <= max(played.bytes_max, 2 * RESULT_BYTES * len(results))
    if plan.deadline_ms is not None:
        assert played.ends_at_ms <= played.began_at_ms + plan.deadline_ms + SLACK_MS
