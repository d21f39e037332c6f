"""An answer as it grows: one outcome a task, and room for the audio that is still to come."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from volcengine_client.errors import LoginRejectedError, VolcengineError
from volcengine_client.limits import ADDRESS_BYTES, ANSWER_LEARNED_AFTER, ANSWER_LEARNED_MARGIN, RESULT_BYTES
from volcengine_client.models import BatchResponse, Characters, PoolReport, TaskError, TaskItem, TaskResult
from volcengine_client.segments import Whole
from volcengine_client.speech.audio import audio_bytes_expected
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.text import characters_billed

_SUBTITLES_BYTES = {"srt": 32, "vtt": 32, "json": 160}  # a character, though each were a word and a sentence


def answer_bytes_of(audio_bytes: int) -> int:
    """Return how large the answer of one task may be whose audio has *audio_bytes*."""
    return _encoded(audio_bytes) + RESULT_BYTES + ADDRESS_BYTES


class Outcomes:
    """What became of each task; the first outcome stands, by position, never by id (I3, I4)."""

    def __init__(self, tasks: Sequence[TaskItem]) -> None:
        self._tasks = tasks
        self._outcomes: dict[int, Speech | VolcengineError] = {}

    def of(self, index: int) -> Speech | VolcengineError:
        """Return what became of task *index*, once all is over."""
        return self._outcomes[index]

    @property
    def open_count(self) -> int:
        """Tasks without an outcome."""
        return len(self._tasks) - len(self._outcomes)

    async def tasks(self) -> AsyncIterator[tuple[int, TaskItem]]:
        """Hand out all tasks."""
        for numbered in enumerate(self._tasks):
            yield numbered

    def is_wanted(self, index: int) -> bool:
        """Tell whether task *index* has no outcome yet."""
        return index not in self._outcomes

    def settle(self, index: int, outcome: Speech | VolcengineError) -> None:
        """Give task *index* its outcome."""
        self._outcomes.setdefault(index, outcome)

    def settle_rest(self, error: VolcengineError) -> None:
        """Give every open task *error*."""
        for index in range(len(self._tasks)):
            self.settle(index, error)

    def results(self) -> list[TaskResult]:
        """Return the results in input order.

        Raises:
            LoginRejectedError: The upstream refused the login, and nothing was bought.
        """
        self.raise_rejection()
        return [self._result(index, self._outcomes[index]) for index in range(len(self._tasks))]

    def response(self, pool: PoolReport) -> BatchResponse:
        """Return the answer to the batch, once all is over.

        Raises:
            LoginRejectedError: The upstream refused the login, and nothing was bought.
        """
        results = self.results()
        bought = sum(result.characters for result in results if result.bought)
        return BatchResponse(results=results, pool=pool, characters=Characters(bought=bought))

    def raise_rejection(self) -> None:
        """Say that the login was rejected, when nothing was bought.

        Raises:
            LoginRejectedError: It was.
        """
        outcomes = self._outcomes.values()
        if not any(isinstance(outcome, Speech) for outcome in outcomes):
            for outcome in outcomes:
                if isinstance(outcome, LoginRejectedError):
                    raise outcome

    def _result(self, index: int, outcome: Speech | VolcengineError) -> TaskResult:
        task = self._tasks[index]
        about: dict[str, Any] = {
            "task_id": task.task_id or f"task_{index + 1}",
            "characters": characters_billed(task.text),
        }
        if isinstance(outcome, VolcengineError):
            return TaskResult(**about, error=TaskError.of(outcome))
        audio_base64 = base64.b64encode(outcome.audio).decode()
        return TaskResult(
            **about,
            audio_base64=audio_base64,
            duration_ms=outcome.duration_ms,
            bought=True,
            subtitles=outcome.subtitles,
        )


class AnswerRoom:
    """The bytes of an answer, base64 included: spent, reserved for calls to come, left.

    Estimates are upper ones at first, and come down with what the batch's own files show.

    Args:
        tasks: All of the batch; each result takes some room even without audio.
        bytes_max: How large the answer may be; None: any size.

    Attributes:
        on_change: Called when a task gets room, or has to wait for it.
    """

    def __init__(self, tasks: Sequence[TaskItem], bytes_max: int | None) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._bytes_max = bytes_max
        self._spent = sum(RESULT_BYTES + 6 * len(task.task_id or "") for task in tasks)
        self._reserved = 0
        self._reserved_count = 0
        self._promised: dict[Whole | None, int] = {}  # bytes for the segments of begun tasks that no call has yet
        self._spent_on: dict[Whole, int] = {}  # bytes of those segments of begun tasks that are spoken
        self._waiting_count = 0
        self._file_count = 0
        self._largest_share = 0.0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def reserved(self, task: TaskItem, *, of: Whole | None = None) -> AsyncIterator[bool]:
        """Keep room for the audio of *task*; False when it might not fit even once all others are in.

        When *task* is a segment *of* a longer one, the first of them gets room only if all of them would fit, and room
        is promised to the others: none is bought whose task could not be answered.
        """
        if not await self._gets_room(task, of):
            yield False
            return
        expected = self._expected(task)
        if of is not None and of in self._promised:
            expected = min(expected, self._promised[of])
            self._promised[of] -= expected
        self._reserved += expected
        self._reserved_count += 1
        self.on_change()
        try:
            yield True
        finally:
            self._reserved -= expected
            self._reserved_count -= 1
            if of is not None:
                self._keep_promise(of, task, expected)
            self._changed.set()

    def _keep_promise(self, whole: Whole, segment: TaskItem, expected: int) -> None:
        """Leave a segment that has to be tried again its room; free all that a task had which failed."""
        if whole.is_over:
            self._promised.pop(whole, None)
            spent = self._spent_on.pop(whole, 0)
            if whole.open_count:
                self._spent -= spent
        elif whole in self._promised and not any(whole.segments[place] is segment for place in whole.spoken):
            self._promised[whole] += expected

    async def _gets_room(self, task: TaskItem, of: Whole | None) -> bool:
        """Wait until there is room, or nothing that is under way could make it so."""
        is_long = of is not None and len(of.segments) > 1
        wanted = of.segments if of is not None and is_long else [task]
        self._waiting_count += 1
        try:
            while not (of in self._promised or self._fits(wanted)) and self._reserved:
                self.on_change()
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._waiting_count -= 1
        if of in self._promised:  # perhaps by another segment of it, meanwhile
            return True
        has_room = self._fits(wanted)
        if has_room and of is not None and is_long:
            self._promised[of] = sum(map(self._expected, wanted))
        return has_room

    def callable_count(self, open_count: int) -> int:
        """Return for how many of the open tasks there may be a call now: all, unless some wait for room."""
        return self._reserved_count if self._waiting_count else open_count

    def spend(self, task: TaskItem, audio_bytes: int, *, of: Whole | None = None) -> None:
        """Count a file that is in the answer now, unless the task that it is a segment *of* has failed meanwhile."""
        if of is None or not of.is_over:
            spent = _encoded(audio_bytes) + _subtitles_bytes_expected(task)
            self._spent += spent
            if of is not None:
                self._spent_on[of] = self._spent_on.get(of, 0) + spent
        self._file_count += 1
        self._largest_share = max(self._largest_share, audio_bytes / audio_bytes_expected(task))

    def _fits(self, tasks: Sequence[TaskItem]) -> bool:
        if self._bytes_max is None:
            return True
        taken = self._spent + self._reserved + sum(self._promised.values())
        return taken + sum(map(self._expected, tasks)) <= self._bytes_max

    def _expected(self, task: TaskItem) -> int:
        has_learned = self._file_count >= ANSWER_LEARNED_AFTER
        share_max = max(1.0, self._largest_share)
        share = min(share_max, ANSWER_LEARNED_MARGIN * self._largest_share) if has_learned else share_max
        return _encoded(int(audio_bytes_expected(task) * share)) + _subtitles_bytes_expected(task)


def _subtitles_bytes_expected(task: TaskItem) -> int:
    """Return an upper estimate of the size of a task's subtitles, as a string in JSON."""
    return _SUBTITLES_BYTES[task.subtitles] * len(task.text) if task.subtitles else 0


def _encoded(audio_bytes: int) -> int:
    """Return the length of base64."""
    return -(-audio_bytes // 3) * 4
