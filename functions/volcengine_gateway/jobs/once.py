"""A batch that is answered at once, with speech that is kept: nothing is paid twice, and nothing falls off the end.

What was spoken before is found. What there is no time for goes on as a job, and what there is no room for is fetched
by its address.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from volcengine_client.answer import Outcomes
from volcengine_client.clock import Clock
from volcengine_client.errors import (
    DeadlineCutError,
    JobFailedError,
    NoSlotInTimeError,
    StoreError,
    VolcengineError,
    class_of,
)
from volcengine_client.limits import ANSWER_RESERVE_MS, FIND_MAX_MS, HAND_OVER_MS, TURN_END_MIN_MS, WITHDRAW_MAX_MS
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
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.text import characters_billed
from volcengine_gateway.credentials import Payer
from volcengine_gateway.jobs.chunks import name_of
from volcengine_gateway.jobs.job import Job, status_url_of
from volcengine_gateway.jobs.keeping import Keeping, Room
from volcengine_gateway.jobs.kept import KeptSpeech
from volcengine_gateway.jobs.kept_file import Kept
from volcengine_gateway.jobs.service import Jobs
from volcengine_gateway.jobs.sounds import Sound, missing_in, parts_wanted
from volcengine_gateway.jobs.spoken import Spoken, is_late
from volcengine_gateway.jobs.store import JobStore
from volcengine_gateway.jobs.turn import Ending, Same

LOST = "the audio was bought, but could not be kept, and the answer has no room for it"

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
        sounds = [Sound.of(task, kept.name_of) for task in ask.request.tasks]
        begun, found = await asyncio.gather(
            self._jobs.one_at_a_time.begin(same, deadline_at_ms=ask.deadline_at_ms), self._find(ask, kept, sounds)
        )
        if begun.job is not None:
            return await self._found(ask, begun.job)
        pointer: JobPointer | None = None
        ending = Ending(self._jobs.one_at_a_time, same)
        try:
            if begun.has_waited:
                found = await self._find(ask, kept, sounds)
            spoken = await self._spoken(ask, kept, sounds, found, speak, on_all_kept=ending.begin)
            await self._join(ask, kept, spoken)
            if spoken.late_count:
                pointer = await self._hand_over(ask, spoken, job_id, same)
            await self._fetch(ask, spoken)
            await self._subtitle(ask, kept, spoken)
            results = [
                self._result(task, index, spoken, has_job=pointer is not None)
                for index, task in enumerate(ask.request.tasks)
            ]
            return _response(results, spoken, pointer)
        finally:
            within_ms = max(TURN_END_MIN_MS, self._left_ms(ask))
            await ending.end(job_id=None if pointer is None else job_id, within_ms=within_ms)

    # --- what is spoken ----------------------------------------------------------

    def _kept(self, ask: Ask, job_id: str) -> KeptSpeech:
        """Return the speech that may be found: the account's, or without the cache this one batch's."""
        nonce = "" if ask.request.cache else job_id
        return KeptSpeech(self._store.files, account=ask.payer.pool, key=ask.key, nonce=nonce)

    async def _find(self, ask: Ask, kept: KeptSpeech, sounds: Sequence[Sound]) -> dict[str, Kept]:
        """Return what was spoken before, segments only of what is not whole; less where it can't be told now."""
        if not ask.request.cache and ask.idempotency_key is None:
            return {}
        until_ms = self._clock.monotonic_ms() + FIND_MAX_MS
        whole, _ = await kept.find_within((sound.name for sound in sounds), within_ms=FIND_MAX_MS)
        left_ms = until_ms - self._clock.monotonic_ms()
        parts, _ = await kept.find_within(parts_wanted(sounds, whole), within_ms=left_ms)
        return {**whole, **parts}

    async def _spoken(
        self,
        ask: Ask,
        kept: KeptSpeech,
        sounds: Sequence[Sound],
        found: dict[str, Kept],
        speak: Speak,
        *,
        on_all_kept: Callable[[], None],
    ) -> Spoken:
        """Speak what was not found, equal segments once."""
        missing = missing_in(sounds, found)
        outcomes = Outcomes(list(missing.values()))
        pool = PoolReport(limit=ask.payer.limit.n, waited_ms=None)
        keeping = Keeping(
            kept,
            Room(ask.request.tasks, ask.answer_bytes_max),
            answered={sound.name for sound in sounds},
            count=len(missing),
            on_all_kept=on_all_kept,
        )
        if missing:
            pool = await speak(outcomes, keeping.around, ask.deadline_at_ms - HAND_OVER_MS)
            outcomes.raise_rejection()
        await keeping.settled(within_ms=self._left_ms(ask) - HAND_OVER_MS // 2)
        of = {name: outcomes.of(place) for place, name in enumerate(missing)}
        return Spoken(sounds, found, of, pool, keeping)

    async def _join(self, ask: Ask, kept: KeptSpeech, spoken: Spoken) -> None:
        """Make one file of the segments of each long task, as far as there is time; a job goes on with the others."""
        whole = {sound.name: sound for sound in spoken.sounds if sound.is_joined and sound.name not in spoken.found}
        joining: dict[str, asyncio.Task[Kept]] = {}
        for name, sound in whole.items():
            missed = sound.error_in(spoken.of, spoken.keeping.lost)
            if missed is None:
                joining[name] = asyncio.create_task(kept.join(sound))
            else:
                outcome = spoken.of.get(missed)
                spoken.of[name] = outcome if isinstance(outcome, VolcengineError) else StoreError(LOST)
        if joining:
            within_ms = max(0, self._left_ms(ask) - HAND_OVER_MS // 2)
            _, late = await asyncio.wait(joining.values(), timeout=within_ms / 1_000)
            for one in late:
                one.cancel()
            await asyncio.gather(*joining.values(), return_exceptions=True)
        for name, one in joining.items():
            try:
                spoken.found[name] = one.result()
            except asyncio.CancelledError:
                spoken.of[name] = DeadlineCutError("there was no time to join this text's segments; ask again")
            except VolcengineError as error:
                spoken.of[name] = error

    async def _hand_over(self, ask: Ask, spoken: Spoken, job_id: str, same: Same | None) -> JobPointer | None:
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
                await self._jobs.take_over(request, ask.payer, job_id=job_id, outcomes=outcomes, same=same)
        except StoreError:
            return None
        except TimeoutError:
            begun: Job | None = None
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(WITHDRAW_MAX_MS / 1_000):
                    begun = await self._jobs.withdraw(job_id)
            if begun is None:
                return None
        return JobPointer(job_id=job_id, status_url=status_url_of(job_id))

    def _left_ms(self, ask: Ask) -> int:
        return max(0, ask.deadline_at_ms - self._clock.monotonic_ms())

    async def _fetch(self, ask: Ask, spoken: Spoken) -> None:
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

    async def _subtitle(self, ask: Ask, kept: KeptSpeech, spoken: Spoken) -> None:
        """Make the subtitles that are wanted, as far as there is time."""
        known = spoken.known
        making = {
            (sound.name, sound.task.subtitles): asyncio.create_task(kept.subtitle(sound, known))
            for sound in spoken.sounds
            if sound.task.subtitles is not None and sound.name in known
        }
        if making:
            left_ms = max(0, self._left_ms(ask) - ANSWER_RESERVE_MS)
            _, late = await asyncio.wait(making.values(), timeout=left_ms / 1_000)
            for one in late:
                one.cancel()
            for key, one in making.items():
                if one.done() and not one.cancelled() and one.exception() is None:
                    spoken.subtitled[key] = one.result()

    def _result(self, task: TaskItem, index: int, spoken: Spoken, *, has_job: bool) -> TaskResult:
        about = {"task_id": name_of(task, index), "characters": characters_billed(task.text)}
        name = spoken.names[index]
        outcome = spoken.of.get(name)
        if isinstance(outcome, VolcengineError):
            if has_job and is_late(outcome):
                return TaskResult(**about, pending=True)
            return TaskResult(**about, error=TaskError.of(outcome))
        about["bought"] = spoken.bought[index] > 0
        about["duration_ms"] = outcome.duration_ms if outcome is not None else spoken.found[name].duration_ms
        audio = spoken.audio_for(index)
        if audio:
            about |= self._subtitles(task, name, spoken)
            return TaskResult(**about, audio_base64=base64.b64encode(audio).decode())
        if name in spoken.keeping.lost:
            return TaskResult(**{**about, "bought": False}, error=TaskError.of(StoreError(LOST)))
        about |= self._subtitles(task, name, spoken)
        return TaskResult(**about, audio_url=self._store.files.url(name))

    def _subtitles(self, task: TaskItem, name: str, spoken: Spoken) -> dict[str, str]:
        """Return what a result says of the subtitles that its task wanted."""
        if task.subtitles is None:
            return {}
        subtitled = spoken.subtitled.get((name, task.subtitles))
        if subtitled is None:
            return {"warning": "there was no time for the subtitles; ask for the same again, it is not bought twice"}
        if spoken.keeping.room.take_text(subtitled.text):
            return {"subtitles": subtitled.text}
        return {"subtitles_url": self._store.files.url(subtitled.name)}

    async def _found(self, ask: Ask, job: Job) -> BatchResponse:
        """Answer a request that led to a job before: with what there is by now, and the same job."""
        await self._jobs.send_again(job)
        kept = self._kept(ask, job.job_id)
        sounds = [Sound.of(task, kept.name_of) for task in ask.request.tasks]
        names = [sound.name for sound in sounds]
        found = dict(await kept.find(names))
        found |= await kept.find(parts_wanted((sound for sound in sounds if sound.name in found), found))
        of: dict[str, Speech | VolcengineError] = {}
        for outcome in await self._jobs.outcomes_of(job, 0, job.task_count):
            if outcome.error is not None:
                error = class_of(outcome.error.code)(outcome.error.message, retryable=outcome.error.retryable)
                of[names[outcome.index]] = error
        gone = JobFailedError("the job is over and this audio is no longer kept; send it with a new Idempotency-Key")
        waits = gone if job.is_over else NoSlotInTimeError("it is being spoken still")
        of |= {name: waits for name in names if name not in found and name not in of}
        pool = PoolReport(limit=ask.payer.limit.n, waited_ms=None)
        keeping = Keeping(kept, Room(ask.request.tasks, ask.answer_bytes_max), answered=set(names))
        spoken = Spoken(sounds, found, of, pool, keeping)
        await self._fetch(ask, spoken)
        await self._subtitle(ask, kept, spoken)
        results = [self._result(task, index, spoken, has_job=True) for index, task in enumerate(ask.request.tasks)]
        return _response(results, spoken, JobPointer(job_id=job.job_id, status_url=status_url_of(job.job_id)))


def _response(results: list[TaskResult], spoken: Spoken, pointer: JobPointer | None) -> BatchResponse:
    heard = [index for index, result in enumerate(results) if not result.pending and result.error is None]
    saved = sum(max(0, results[index].characters - spoken.bought[index]) for index in heard)
    return BatchResponse(
        results=results, pool=spoken.pool, characters=Characters(bought=sum(spoken.bought), saved=saved), job=pointer
    )
