"""Jobs as callers know them: submit, show, list, cancel."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from volcengine_client.clock import Clock
from volcengine_client.errors import InvalidRequestError, StoreError, UnknownJobError
from volcengine_client.limits import (
    APP_CHARACTERS_MAX,
    JOB_CHUNK_TASKS,
    JOB_PAGE_TASKS,
    JOB_PAGE_TASKS_MAX,
    JOB_WRITE_ATTEMPTS_MAX,
)
from volcengine_client.models import JobRequest, JobTerms, TaskError
from volcengine_client.speech.text import characters_billed
from volcengine_gateway.credentials import SERVER_POOL, Keyring, Payer, login_in, payer_of, pool_of
from volcengine_gateway.jobs.callbacks import address_file, announce, told_of_callback, written_address
from volcengine_gateway.jobs.chunks import (
    Outcome,
    chunk_count_of,
    chunked,
    failed_outcome,
    outcomes_file,
    read_outcomes,
    read_tasks,
    tasks_file,
    written_outcomes,
    written_tasks,
)
from volcengine_gateway.jobs.job import JOB_ID, JOB_STATES, Job, busy_ms, cancelled, expected_end_ms, status_url_of
from volcengine_gateway.jobs.receivers import Receivers
from volcengine_gateway.jobs.store import JobStore, Wanted
from volcengine_gateway.jobs.turn import OneAtATime, Same
from volcengine_gateway.settings import DAY_MS
from volcengine_gateway.told import JobPageTold, JobResultTold, JobsTold, JobTold, told_of

UNKNOWN_JOB = "No job has this id, or it is no longer kept"
LIST_AFTER = re.compile(r"[0-9]{15}[0-9a-f]{32}")
SUBMIT_MAX_MS = 10_000  # how long one waits for the end of the same request


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tasks a job has, and how many characters, as the upstream bills them."""

    task_count: int
    character_count: int


class Jobs:
    """The jobs of all the server's accounts.

    Args:
        store: Where they are kept.
        kept_days: For how long after they were accepted.
        clock: Of this process.
        receivers: The way to those who want to be told of a job's end.

    Attributes:
        store: As above.
        one_at_a_time: Lets requests begin that may be the same.
    """

    def __init__(self, store: JobStore, *, kept_days: int, clock: Clock, receivers: Receivers | None = None) -> None:
        self.store = store
        self._receivers = receivers or Receivers()
        self._kept_days = kept_days
        self._clock = clock
        self.one_at_a_time = OneAtATime(store.turns, job_of=self._job_of, clock=clock)

    async def submit(
        self,
        request: JobRequest,
        *,
        keyring: Keyring,
        shown_admin_key: str | None,
        idempotency_key: str | None = None,
    ) -> JobTold:
        """Accept a job: its tasks are in files, and a worker is told, when this returns.

        The same idempotency key leads to the same job, unless that was lost; without one the same body does, as long
        as that job goes on.

        Raises:
            AdminKeyError, CredentialsError, InvalidRequestError: As `payer_of` says, or the key is another body's,
                or its callback may not go where it should.
            StoreError: It can't be kept now; nothing was bought.
        """
        payer = payer_of_job(keyring, request, shown_admin_key)
        job_id = secrets.token_hex(16)
        same = Same.of(
            request,
            route="jobs",
            account=payer.pool,
            key=keyring.naming_key,
            idempotency_key=idempotency_key,
        )
        deadline_at_ms = self._clock.monotonic_ms() + SUBMIT_MAX_MS
        begun = await self.one_at_a_time.begin(same, deadline_at_ms=deadline_at_ms)
        if begun.job is not None:
            await self.send_again(begun.job)
            return self.told(begun.job)
        told: JobTold | None = None
        try:
            await self.check_callback(request)
            told = await self.take_over(request, payer, job_id=job_id, same=same)
            return told
        finally:
            if told is None:
                await self.one_at_a_time.end(same, job_id=None)

    async def take_over(
        self,
        request: JobRequest,
        payer: Payer,
        *,
        job_id: str,
        outcomes: Sequence[Outcome] = (),
        same: Same | None = None,
    ) -> JobTold:
        """Make a job of a batch of which some outcomes are known, and to which *same* requests are led.

        They are before any worker is: a caller who asks again, since this process ended, never gets a second job
        beside one that buys.

        Raises:
            StoreError: It can't be kept now.
        """
        characters = sum(characters_billed(task.text) for task in request.tasks)
        job = self.new_job(request, payer, job_id, Tally(len(request.tasks), characters))
        known: dict[int, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            known[outcome.index // JOB_CHUNK_TASKS].append(outcome)
        files = [
            (tasks_file(job_id, chunk), written_tasks(tasks)) for chunk, tasks in enumerate(chunked(request.tasks))
        ]
        files += [(outcomes_file(job_id, chunk), written_outcomes(told)) for chunk, told in known.items()]
        await asyncio.gather(
            self.keep_address(job_id, request), *(self.store.files.put(name, content) for name, content in files)
        )
        try:
            await self.store.table.add(job)
            await self.one_at_a_time.end(same, job_id=job_id)
            await self.store.queue.send(job_id)
        except StoreError:
            # It may be there all the same, and a caller who was refused asks again: not both.
            with suppress(StoreError):
                if (begun := await self.withdraw(job_id)) is not None:
                    return self.told(begun)
            raise
        return self.told(job)

    async def withdraw(self, job_id: str) -> Job | None:
        """Cancel a job that was not promised yet; return it when somebody is at it, since then it may have been.

        Raises:
            StoreError: No answer in time.
        """

        def change(job: Job) -> Job | None:
            is_begun = job.started_at_ms is not None or job.is_over
            return None if is_begun else cancelled(job, now_ms=self._clock.wall_ms())

        if await self.store.change(job_id, change) is not None:
            return None
        job = await self.store.table.get(job_id)
        return job if job is not None and job.started_at_ms is not None else None

    async def send_again(self, job: Job) -> None:
        """Have a job worked on that nobody has begun: its message may never have been sent. Once more does no harm.

        Raises:
            StoreError: No answer in time.
        """
        if job.started_at_ms is None and not job.is_over:
            await self.store.queue.send(job.job_id)

    async def check_callback(self, terms: JobTerms) -> None:
        """Check that the job's end may be told where it should be.

        Raises:
            InvalidRequestError: It may not.
        """
        if terms.callback_url is not None:
            await self._receivers.check(terms.callback_url)

    async def keep_address(self, job_id: str, terms: JobTerms) -> None:
        """Keep where a job's end is to be told, before the job is.

        Raises:
            StoreError: It can't be kept now.
        """
        if terms.callback_url is not None:
            await self.store.files.put(address_file(job_id), written_address(terms.callback_url))

    def new_job(self, request: JobTerms, payer: Payer, job_id: str, tally: Tally, *, digest: str = "") -> Job:
        """Return a job that begins now; it is kept nowhere yet."""
        now_ms = self._clock.wall_ms()
        wish = request.credentials.volcengine_tts_concurrency if request.credentials else None
        return Job(
            job_id=job_id,
            digest=digest,
            account=payer.pool,
            app=request.app,
            is_background=request.priority == "background",
            hold_max=wish,
            is_cached=request.cache,
            created_at_ms=now_ms,
            kept_until_s=(now_ms + self._kept_days * DAY_MS) // 1_000,
            deadline_at_ms=None if request.deadline_s is None else now_ms + request.deadline_s * 1_000,
            task_count=tally.task_count,
            chunk_count=chunk_count_of(tally.task_count),
            character_count=tally.character_count,
            callback_state="none" if request.callback_url is None else "wanted",
        )

    async def show(
        self, job_id: str, *, after: str | None, limit: str | None, account: str | None = None
    ) -> JobPageTold:
        """Return a job and a page of its results, in input order, as far as they go without a gap.

        Args:
            job_id: As the caller gave it.
            after: The index of the last result that the caller has; None: none yet.
            limit: How many results at most.
            account: Whose job it has to be; None: anybody's.

        Raises:
            UnknownJobError: There is none, or it is another account's.
            InvalidRequestError: `after` or `limit` is no number, or out of its range.
            StoreError: No answer in time.
        """
        first = _number("after", after, default=-1, least=-1, most=2**31) + 1
        count = _number("limit", limit, default=JOB_PAGE_TASKS, least=0, most=JOB_PAGE_TASKS_MAX)
        job = await self._known(job_id, account=account)
        outcomes = await self.outcomes_of(job, first, min(job.task_count, first + count))
        next_after = first + len(outcomes) - 1
        return {
            **self.told(job),
            "results": [self._result(outcome) for outcome in outcomes],
            "next_after": next_after if next_after + 1 < job.task_count else None,
        }

    async def cancel(self, job_id: str, *, account: str | None = None) -> JobTold:
        """Cancel a job; one that is over stays as it is. Safe to repeat.

        Args:
            job_id: As the caller gave it.
            account: Whose job it has to be; None: anybody's.

        Raises:
            UnknownJobError: There is none, or it is another account's.
            StoreError: No answer in time.
        """
        for _ in range(JOB_WRITE_ATTEMPTS_MAX):
            job = await self._known(job_id, account=account)
            changed = cancelled(job, now_ms=self._clock.wall_ms())
            if changed is job or await self.store.table.write(changed):
                break
        else:
            raise StoreError("the job is being changed by others all the time; ask again later")
        if not self._is_busy(changed):  # else its worker tells, when its last calls have ended
            await announce(self.store, changed)
        return self.told(changed)

    async def list(self, *, account: str | None, app: str | None, state: str | None, after: str | None) -> JobsTold:
        """Return an account's jobs, the youngest first: of one app, in one state, or all.

        Raises:
            InvalidRequestError: `state` or `after` is none, or a name is too long for one.
            StoreError: No answer in time.
        """
        known_state = next((known for known in JOB_STATES if known == state), None)
        if state is not None and known_state is None:
            raise InvalidRequestError.of_field("state", f"state should be one of {', '.join(JOB_STATES)}")
        if after is not None and not LIST_AFTER.fullmatch(after):
            message = "after should be the next_after of a list of jobs"
            raise InvalidRequestError.of_field("after", message)
        for field, name in (("account", account), ("app", app)):
            if name is not None and len(name) > APP_CHARACTERS_MAX:
                message = f"{field} should have at most {APP_CHARACTERS_MAX} characters"
                raise InvalidRequestError.of_field(field, message)
        pool = SERVER_POOL if account is None else pool_of(account)
        found = await self.store.table.of_account(pool, Wanted(app, known_state), after=after)
        return {"jobs": [self.told(job) for job in found.jobs], "next_after": found.after}

    async def _job_of(self, job_id: str) -> Job | None:
        return await self.store.table.get(job_id)

    async def _known(self, job_id: str, *, account: str | None) -> Job:
        job = await self.store.table.get(job_id) if JOB_ID.fullmatch(job_id) else None
        is_foreign = job is not None and account is not None and job.account != pool_of(account)
        if job is None or is_foreign or job.kept_until_s * 1_000 <= self._clock.wall_ms():
            raise UnknownJobError(UNKNOWN_JOB)
        return job

    async def outcomes_of(self, job: Job, first: int, end: int) -> Sequence[Outcome]:
        """Return the outcomes from *first* on, up to *end* or to the first task without one."""
        outcomes: list[Outcome] = []
        known: dict[int, Outcome] = {}
        for index in range(first, end):
            if index == first or index % JOB_CHUNK_TASKS == 0:
                known = await self._known_outcomes(job, index // JOB_CHUNK_TASKS)
            if index not in known:
                break
            outcomes.append(known[index])
        return outcomes

    async def _known_outcomes(self, job: Job, chunk: int) -> dict[int, Outcome]:
        known = read_outcomes(await self.store.files.get(outcomes_file(job.job_id, chunk)))
        is_complete = job.error is None or self._is_busy(job)
        return known if is_complete else await self._completed(job, chunk, known)

    def _is_busy(self, job: Job) -> bool:
        """Tell whether a worker may be at the job still; then more outcomes will come, even of one that is over."""
        return busy_ms(job, worker_id="", now_ms=self._clock.wall_ms()) > 0

    async def _completed(self, job: Job, chunk: int, known: dict[int, Outcome]) -> dict[int, Outcome]:
        """Give every task of a chunk without an outcome the job's own (I4)."""
        error = job.error
        assert error is not None
        content = await self.store.files.get(tasks_file(job.job_id, chunk))
        tasks = dict(enumerate(read_tasks(content or b""), start=chunk * JOB_CHUNK_TASKS))
        return {
            index: known.get(index) or failed_outcome(index, task, error, characters=characters_billed(task.text))
            for index, task in tasks.items()
        }

    def _result(self, outcome: Outcome) -> JobResultTold:
        url = self.store.files.url
        result: JobResultTold = {
            "index": outcome.index,
            "task_id": outcome.task_id,
            "audio_url": None if outcome.kept_as is None else url(outcome.kept_as),
            "duration_ms": outcome.duration_ms,
            "characters": outcome.characters,
            "bought": outcome.bought_characters > 0,
            "error": None if outcome.error is None else told_of(outcome.error),
        }
        if outcome.subtitles_as is not None:
            result["subtitles_url"] = url(outcome.subtitles_as)
        return result

    def told(self, job: Job) -> JobTold:
        """Return a job as its caller sees it."""
        return {
            "job_id": job.job_id,
            "status_url": status_url_of(job.job_id),
            "state": job.state,
            "app": job.app,
            "priority": "background" if job.is_background else "interactive",
            "tasks": job.task_count,
            "done": job.counts.done_count,
            "failed": job.counts.failed_count,
            "characters": job.character_count,
            "characters_bought": job.counts.bought_character_count,
            "created_at_ms": job.created_at_ms,
            "started_at_ms": job.started_at_ms,
            "ended_at_ms": job.ended_at_ms,
            "expected_end_ms": expected_end_ms(job, now_ms=self._clock.wall_ms()),
            "expires_at_ms": job.kept_until_s * 1_000,
            "callback": told_of_callback(job),
            "error": None if job.error is None or job.is_cancelled else told_of(TaskError.of(job.error)),
        }


def payer_of_job(keyring: Keyring, request: JobTerms, shown_admin_key: str | None) -> Payer:
    """Return who pays for a job: one of the gateway's accounts.

    Raises:
        AdminKeyError, CredentialsError, InvalidRequestError: As `payer_of` says, or it brings an account of its own.
    """
    if login_in(request.credentials) is not None:
        message = "A job is paid by an account of this gateway: leave the app id and the access key out"
        raise InvalidRequestError.of_field("credentials", message)
    return payer_of(
        keyring,
        policy="off",
        shown_admin_key=shown_admin_key,
        credentials=request.credentials,
        account=request.account,
    )


def _number(name: str, text: str | None, *, default: int, least: int, most: int) -> int:
    if text is None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,10}", text) or not least <= int(text) <= most:
        message = f"{name} should be a whole number from {least} to {most:,}"
        raise InvalidRequestError.of_field(name, message)
    return int(text)
