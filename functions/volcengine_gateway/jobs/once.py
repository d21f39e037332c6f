"""A batch that is answered at once, with speech that is kept: nothing is paid twice, and nothing falls off the end.

What was spoken before is found. What there is no time for goes on as a job, and what there is no room for is fetched
by its address.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from volcengine_client.answer import Outcomes
from volcengine_client.clock import Clock
from volcengine_client.errors import (
    CapacityError,
    DeadlineCutError,
    JobFailedError,
    NoSlotInTimeError,
    StoreError,
    VolcengineError,
    class_of,
)
from volcengine_client.limits import ADDRESS_BYTES, ANSWER_RESERVE_MS, FIND_MAX_MS, HAND_OVER_MS, RESULT_BYTES
from volcengine_client.models import (
    BatchRequest,
    BatchResponse,
    Characters,
    JobPointer,
    JobRequest,
    PoolReport,
    TaskError,
    TaskItem,
    TaskResult,
)
from volcengine_client.speech.call import Call
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.text import characters_billed
from volcengine_gateway.credentials import Payer
from volcengine_gateway.jobs.chunks import Outcome, failed_outcome, name_of
from volcengine_gateway.jobs.job import Job, status_url_of
from volcengine_gateway.jobs.kept import Kept, KeptSpeech
from volcengine_gateway.jobs.service import Jobs
from volcengine_gateway.jobs.store import JobStore
from volcengine_gateway.jobs.turn import OneAtATime, Same

Speak = Callable[[Outcomes, Callable[[Speaker], Speaker], int], Awaitable[PoolReport]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A batch as it was asked for.

    Attributes:
        request: Its body.
        payer: Who pays: an account of the server's.
        key: Of all hashes.
        idempotency_key: As the caller gave it; None: the body itself says whether it is the same.
        deadline_at_ms: When the answer must have left, monotonic.
        answer_bytes_max: How large it may be.
    """

    request: BatchRequest
    payer: Payer
    key: bytes
    idempotency_key: str | None
    deadline_at_ms: int
    answer_bytes_max: int


class Once:
    """Answers batches, each sound bought once.

    Args:
        store: Where speech is kept.
        jobs: Where what has no time goes on.
        clock: Of this process.
    """

    def __init__(self, store: JobStore, *, jobs: Jobs, clock: Clock) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock

    async def answer(self, ask: Ask, speak: Speak) -> BatchResponse:
        """Answer a batch; the same one at the same time waits for the first one's end.

        Args:
            ask: The batch.
            speak: Speaks what was not found, through a speaker of ours, by a deadline.

        Raises:
            InvalidRequestError: The idempotency key belongs to another body.
            LoginRejectedError: The upstream refused the login, and nothing was bought.
        """
        same = Same.of(
            ask.request,
            route="generate-batch",
            account=ask.payer.pool,
            key=ask.key,
            idempotency_key=ask.idempotency_key,
        )
        # Under a key that the caller repeats it finds even what is kept for nobody else.
        job_id = secrets.token_hex(16) if same is None or not same.is_named else same.job_id
        kept = self._kept(ask, job_id)
        names = [kept.name_of(task) for task in ask.request.tasks]
        begun, found = await asyncio.gather(
            self._jobs.one_at_a_time.begin(same, deadline_at_ms=ask.deadline_at_ms), self._find(ask, kept, names)
        )
        if begun.job is not None:
            return await self._found(ask, begun.job)
        pointer: JobPointer | None = None
        ending = _Ending(self._jobs.one_at_a_time, same)
        try:
            if begun.has_waited:
                found = await self._find(ask, kept, names)
            spoken = await self._spoken(ask, kept, names, found, speak, on_all_kept=ending.begin)
            if spoken.late_count:
                pointer = await self._hand_over(ask, spoken, job_id)
            await self._fetch(ask, spoken)
            results = [
                self._result(task, index, spoken, has_job=pointer is not None)
                for index, task in enumerate(ask.request.tasks)
            ]
            return _response(results, spoken.pool, pointer)
        finally:
            await ending.end(job_id=None if pointer is None else job_id)

    # --- what is spoken ----------------------------------------------------------

    def _kept(self, ask: Ask, job_id: str) -> KeptSpeech:
        """Return the speech that may be found: the account's, or without the cache this one batch's."""
        nonce = "" if ask.request.cache else job_id
        return KeptSpeech(self._store.files, account=ask.payer.pool, key=ask.key, nonce=nonce)

    async def _find(self, ask: Ask, kept: KeptSpeech, names: Sequence[str]) -> Mapping[str, Kept]:
        """Return what was spoken before; nothing where it can't be told now."""
        if ask.request.cache or ask.idempotency_key is not None:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(FIND_MAX_MS / 1_000):
                    return await kept.find(names)
        return {}

    async def _spoken(
        self,
        ask: Ask,
        kept: KeptSpeech,
        names: Sequence[str],
        found: Mapping[str, Kept],
        speak: Speak,
        *,
        on_all_kept: Callable[[], None],
    ) -> _Spoken:
        """Speak what was not found, equal tasks once."""
        tasks = ask.request.tasks
        indexes = [index for name, index in _firsts(names).items() if name not in found]
        outcomes = Outcomes([tasks[index] for index in indexes])
        pool = PoolReport(limit=ask.payer.limit.n, waited_ms=None)
        keeping = _Keeping(kept, _Room(tasks, ask.answer_bytes_max), count=len(indexes), on_all_kept=on_all_kept)
        if indexes:
            pool = await speak(outcomes, keeping.around, ask.deadline_at_ms - HAND_OVER_MS)
            outcomes.raise_rejection()
        await keeping.settled(within_ms=self._left_ms(ask) - HAND_OVER_MS // 2)
        of = {names[index]: outcomes.of(place) for place, index in enumerate(indexes)}
        return _Spoken(names, found, of, pool, keeping)

    async def _hand_over(self, ask: Ask, spoken: _Spoken, job_id: str) -> JobPointer | None:
        """Make a job of the batch, which knows what was spoken already; None when that can't be done now."""
        fields = {name: getattr(ask.request, name) for name in BatchRequest.model_fields}
        request = JobRequest(**fields, priority="interactive")
        outcomes = [
            outcome
            for index, task in enumerate(request.tasks)
            if spoken.names[index] not in spoken.keeping.lost and (outcome := spoken.outcome(index, task)) is not None
        ]
        try:
            async with asyncio.timeout(max(0, self._left_ms(ask) - ANSWER_RESERVE_MS) / 1_000):
                await self._jobs.take_over(request, ask.payer, job_id=job_id, outcomes=outcomes)
        except (StoreError, TimeoutError):
            return None
        return JobPointer(job_id=job_id, status_url=status_url_of(job_id))

    def _left_ms(self, ask: Ask) -> int:
        return max(0, ask.deadline_at_ms - self._clock.monotonic_ms())

    async def _fetch(self, ask: Ask, spoken: _Spoken) -> None:
        """Read the found files for which the answer has room, as far as there is time; the others have addresses."""
        wanted = dict.fromkeys(name for name in spoken.names if name in spoken.found)
        readings = {
            name: asyncio.create_task(self._store.files.get(name))
            for name in wanted
            if spoken.keeping.room.take(spoken.found[name].byte_count)
        }
        if readings:
            left_ms = self._left_ms(ask) - ANSWER_RESERVE_MS
            _, late = await asyncio.wait(readings.values(), timeout=max(0, left_ms) / 1_000)
            for reading in late:
                reading.cancel()
        for name, reading in readings.items():
            if reading.done() and not reading.cancelled() and reading.exception() is None:
                spoken.fetched[name] = reading.result() or b""

    def _result(self, task: TaskItem, index: int, spoken: _Spoken, *, has_job: bool) -> TaskResult:
        about = {"task_id": name_of(task, index), "characters": characters_billed(task.text)}
        name = spoken.names[index]
        outcome = spoken.of.get(name)
        if isinstance(outcome, VolcengineError):
            if has_job and _is_late(outcome):
                return TaskResult(**about, pending=True)
            return TaskResult(**about, error=TaskError.of(outcome))
        is_bought = outcome is not None and spoken.first[name] == index
        duration_ms = outcome.duration_ms if outcome is not None else spoken.found[name].duration_ms
        audio = spoken.audio_for(index)
        if audio:
            encoded = base64.b64encode(audio).decode()
            return TaskResult(**about, audio_base64=encoded, duration_ms=duration_ms, bought=is_bought)
        if name in spoken.keeping.lost:
            lost = StoreError("the audio was bought, but could not be kept, and the answer has no room for it")
            return TaskResult(**about, error=TaskError.of(lost))
        url = self._store.files.url(name)
        return TaskResult(**about, audio_url=url, duration_ms=duration_ms, bought=is_bought)

    async def _found(self, ask: Ask, job: Job) -> BatchResponse:
        """Answer a request that led to a job before: with what there is by now, and the same job."""
        kept = self._kept(ask, job.job_id)
        names = [kept.name_of(task) for task in ask.request.tasks]
        found = await kept.find(names)
        of: dict[str, Speech | VolcengineError] = {}
        for outcome in await self._jobs.outcomes_of(job, 0, job.task_count):
            if outcome.error is not None:
                error = class_of(outcome.error.code)(outcome.error.message, retryable=outcome.error.retryable)
                of[names[outcome.index]] = error
        gone = JobFailedError("the job is over and this audio is no longer kept; send it with a new Idempotency-Key")
        waits = gone if job.is_over else NoSlotInTimeError("it is being spoken still")
        of |= {name: waits for name in names if name not in found and name not in of}
        pool = PoolReport(limit=ask.payer.limit.n, waited_ms=None)
        spoken = _Spoken(names, found, of, pool, _Keeping(kept, _Room(ask.request.tasks, ask.answer_bytes_max)))
        await self._fetch(ask, spoken)
        results = [self._result(task, index, spoken, has_job=True) for index, task in enumerate(ask.request.tasks)]
        return _response(results, pool, JobPointer(job_id=job.job_id, status_url=status_url_of(job.job_id)))


@dataclass(slots=True)
class _Spoken:
    """What became of a batch: by name of the sound what was found and what was tried."""

    names: Sequence[str]
    found: Mapping[str, Kept]
    of: Mapping[str, Speech | VolcengineError]
    pool: PoolReport
    keeping: _Keeping
    fetched: dict[str, bytes] = field(default_factory=dict)
    first: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Know at which task each sound stands first: that one is said to have bought it."""
        self.first = _firsts(self.names)

    def audio_for(self, index: int) -> bytes:
        """Return a task's audio as far as the answer has room for it, each further time for an equal task too."""
        name = self.names[index]
        outcome = self.of.get(name)
        audio = outcome.audio if isinstance(outcome, Speech) else self.fetched.get(name, b"")
        has_room = self.first[name] == index or self.keeping.room.take(len(audio))
        return audio if has_room else b""

    @property
    def late_count(self) -> int:
        """How many sounds there was no time for."""
        return sum(isinstance(outcome, VolcengineError) and _is_late(outcome) for outcome in self.of.values())

    def outcome(self, index: int, task: TaskItem) -> Outcome | None:
        """Return what a job should know of a task from the start; None: it has to be spoken."""
        name = self.names[index]
        outcome, characters = self.of.get(name), characters_billed(task.text)
        if isinstance(outcome, VolcengineError):
            return None if _is_late(outcome) else failed_outcome(index, task, outcome, characters=characters)
        duration_ms = outcome.duration_ms if outcome is not None else self.found[name].duration_ms
        is_bought = outcome is not None and self.first[name] == index
        return Outcome(
            index=index,
            task_id=name_of(task, index),
            characters=characters,
            kept_as=name,
            duration_ms=duration_ms,
            is_bought=is_bought,
        )


class _Ending:
    """The end of a request's turn, which need not wait until the pool is left."""

    def __init__(self, turns: OneAtATime, same: Same | None) -> None:
        self._turns = turns
        self._same = same
        self._under_way: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """End it beside what goes on: all that was asked for is kept, so that the next one finds it."""
        self._under_way = asyncio.create_task(self._turns.end(self._same, job_id=None))

    async def end(self, *, job_id: str | None) -> None:
        """Return when it has ended, and say to which job it led."""
        if self._under_way is not None:
            await self._under_way
        if self._under_way is None or job_id is not None:
            await self._turns.end(self._same, job_id=job_id)


def _firsts(names: Sequence[str]) -> dict[str, int]:
    """Return where each name stands first, in that order."""
    firsts: dict[str, int] = {}
    for index, name in enumerate(names):
        firsts.setdefault(name, index)
    return firsts


class _Room:
    """The bytes of an answer that are left for audio."""

    def __init__(self, tasks: Sequence[TaskItem], bytes_max: int) -> None:
        self._left = bytes_max - sum(RESULT_BYTES + ADDRESS_BYTES + 6 * len(task.task_id or "") for task in tasks)

    def take(self, audio_bytes: int) -> bool:
        """Take room for a file, in base64; False when there is none."""
        needed = -(-audio_bytes // 3) * 4
        if needed > self._left:
            return False
        self._left -= needed
        return True


class _Keeping:
    """A speaker's files on their way to where they are kept, while the next calls go on."""

    def __init__(
        self, kept: KeptSpeech, room: _Room, *, count: int = 0, on_all_kept: Callable[[], None] = lambda: None
    ) -> None:
        self.room = room
        self._left_count = count
        self._on_all_kept = on_all_kept
        self._kept = kept
        self.lost: set[str] = set()
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def around(self, speaker: Speaker) -> Speaker:
        """Return a speaker whose files are kept; those that have no room in the answer are kept only."""
        return _KeepingSpeaker(speaker, self)

    def keep(self, task: TaskItem, speech: Speech) -> Speech:
        name = self._kept.name_of(task)
        keeping = asyncio.create_task(self._keep(name, speech))
        self._under_way[name] = keeping
        has_room = self.room.take(len(speech.audio))
        return replace(speech, audio=speech.audio if has_room else b"", kept_as=name)

    async def _keep(self, name: str, speech: Speech) -> None:
        try:
            await self._kept.keep(name, speech)
        except StoreError:
            self.lost.add(name)  # the next who asks for it pays again
        else:
            self._left_count -= 1
            if not self._left_count:
                self._on_all_kept()

    async def settled(self, *, within_ms: int) -> None:
        """Wait until every file is where it is kept; those that take too long are lost to all but this answer."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=max(0, within_ms) / 1_000)
        for name, keeping in self._under_way.items():
            if not keeping.done():
                self.lost.add(name)


class _KeepingSpeaker:
    def __init__(self, speaker: Speaker, keeping: _Keeping) -> None:
        self._speaker = speaker
        self._keeping = keeping

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        return self._keeping.keep(task, await self._speaker.speak(task, call=call, timeout_ms=timeout_ms))


def _is_late(error: VolcengineError) -> bool:
    """Tell whether a task failed for want of time, so that a job can go on with it."""
    return isinstance(error, CapacityError | DeadlineCutError)


def _response(results: list[TaskResult], pool: PoolReport, pointer: JobPointer | None) -> BatchResponse:
    bought = sum(result.characters for result in results if result.bought)
    saved = sum(
        result.characters for result in results if not (result.bought or result.pending or result.error is not None)
    )
    return BatchResponse(results=results, pool=pool, characters=Characters(bought=bought, saved=saved), job=pointer)
