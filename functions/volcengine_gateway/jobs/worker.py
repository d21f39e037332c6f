"""Work on jobs, a slice at a time: claim, speak, write down, hand on."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from functools import partial

from volcengine_client.clock import Clock
from volcengine_client.errors import (
    CapacityError,
    JobCancelledError,
    JobFailedError,
    LoginRejectedError,
    StoreError,
    VolcengineError,
)
from volcengine_client.limits import JOB_STALL_WAIT_MAX_MS, JOB_WATCH_MS, SLICE_MARGIN_MS
from volcengine_client.pool.holder import Terms
from volcengine_client.products import speak_by_product
from volcengine_client.speech.route import counter_of
from volcengine_client.speech.speaker import Speaker
from volcengine_gateway.credentials import Account, Keyring
from volcengine_gateway.jobs.callbacks import announce
from volcengine_gateway.jobs.job import (
    JOB_ID,
    Job,
    Whole,
    advanced,
    busy_ms,
    claimed,
    failed,
    released,
    wait_before_next_slice_ms,
)
from volcengine_gateway.jobs.kept import KeepingSpeaker, KeptSpeech
from volcengine_gateway.jobs.store import JobStore
from volcengine_gateway.jobs.work import JobWork
from volcengine_gateway.journal import Journal, Worked
from volcengine_gateway.pools import Pools
from volcengine_gateway.secret import Keys
from volcengine_gateway.voice import CountedSpeaker, Voice

AGAIN_MS = 1_000  # after the end of another's claim
SLICE_OVER = CapacityError("the slice of this worker is over; the next one goes on")
STOPPED = CapacityError("this worker is about to end; another goes on")


class Worker:
    """Works on jobs. Safe to be told of the same job twice: only one worker is at a job.

    Args:
        store: Where the jobs are.
        keys: The server's credentials.
        pools: As this process sees them.
        voice: The way to the upstream.
        weights: Shares of apps against each other; an app that is not named has 1.
        clock: Of this process.
        journal: Told of each slice.
    """

    def __init__(
        self,
        store: JobStore,
        *,
        keys: Keys,
        pools: Pools,
        voice: Voice,
        weights: Mapping[str, int],
        clock: Clock,
        journal: Journal,
    ) -> None:
        self._store = store
        self._keys = keys
        self._pools = pools
        self._voice = voice
        self._weights = weights
        self._clock = clock
        self._journal = journal
        self._works: set[JobWork] = set()
        self._is_stopped = False

    def stop(self) -> None:
        """Let no further call start; slices under way end, and their jobs go on when somebody takes them up."""
        self._is_stopped = True
        for work in self._works:
            work.stop(STOPPED)

    async def close(self) -> None:
        """Close the connections to the upstream."""
        await self._voice.close()

    async def begin_invocation(self) -> None:
        """Trust nothing from before: the process may have been frozen."""
        self._pools.begin_invocation()
        await self._voice.close_idle()

    async def work(self, job_id: str, *, slice_ms: int, claim_ms: int, attempt: int) -> bool:
        """Work on a job for a slice, and have the next one worked on when there is more to do.

        Args:
            job_id: The job; when it is over, or no longer kept, nothing is done.
            slice_ms: For how long calls may begin; they are heard out while the claim lasts.
            claim_ms: After which this process is surely at an end.
            attempt: How often the message was delivered.

        Returns:
            True: the message has done its duty; False: it names no job, and never will.

        Raises:
            StoreError: The job can't be reached; the message should come again.
            SecretError: The server's credentials can't be read; the same.
        """
        if not JOB_ID.fullmatch(job_id):
            return False
        worker_id = secrets.token_hex(8)
        now_ms = self._clock.wall_ms()
        job = await self._store.change(
            job_id,
            lambda job: claimed(job, worker_id=worker_id, now_ms=now_ms, until_ms=now_ms + claim_ms, attempt=attempt),
        )
        if job is None:
            await self._come_again(job_id, worker_id)
            return True
        keyring = await self._keys.keyring()
        account = _account_of(keyring, job.account)
        if account is None:
            gone = JobFailedError("the account of this job is no longer among the gateway's accounts")
            over = await self._store.change(job_id, lambda job: failed(job, gone, now_ms=self._clock.wall_ms()))
            assert over is not None
            await announce(self._store, over)
            return True
        speaker = CountedSpeaker(self._voice.speaker(account.login))
        work = await self._speak(job, account, keyring, speaker, slice_ms=slice_ms, claim_ms=claim_ms)
        trouble = await self._lasting(work.trouble, account, keyring)
        ended = await self._store.change(
            job_id,
            lambda job: released(
                job,
                worker_id=worker_id,
                part=work.part(),
                has_moved=work.has_moved,
                trouble=trouble,
                now_ms=self._clock.wall_ms(),
                loose_character_count=work.loose_character_count,
            ),
        )
        self._journal.worked(_worked(ended or job, work, trouble, refused=speaker.refused_count))
        if ended is None:
            await self._come_again(job_id, worker_id)  # another's, or ours and the reply was lost
        elif ended.is_over:
            await announce(self._store, ended)
        else:
            await self._store.queue.send(job_id, delay_ms=wait_before_next_slice_ms(ended))
        return True

    async def _come_again(self, job_id: str, worker_id: str) -> None:
        """Look at a job again when another worker can no longer be at it: it may have vanished, and its message too.

        One that is over may have ended in a process that came no further.
        """
        job = await self._store.table.get(job_id)
        if job is not None and job.is_over:
            await announce(self._store, job)
        elif job is not None:
            wait_ms = busy_ms(job, worker_id=worker_id, now_ms=self._clock.wall_ms()) + AGAIN_MS
            await self._store.queue.send(job_id, delay_ms=min(wait_ms, JOB_STALL_WAIT_MAX_MS))

    async def _speak(
        self, job: Job, account: Account, keyring: Keyring, speaker: Speaker, *, slice_ms: int, claim_ms: int
    ) -> JobWork:
        """Speak what the slice has time for."""

        async def note(whole: Whole) -> None:
            await self._store.change(job.job_id, lambda now: advanced(now, whole))

        nonce = "" if job.is_cached else job.job_id
        kept = KeptSpeech(self._store.files, account=account.pool, key=keyring.naming_key, nonce=nonce)
        began_at_ms = self._clock.monotonic_ms()
        # Calls that began within the slice are heard out, as far as the claim allows: they are paid.
        deadline_at_ms = began_at_ms + max(slice_ms, claim_ms - SLICE_MARGIN_MS)
        if job.deadline_at_ms is not None:
            left_ms = job.deadline_at_ms - self._clock.wall_ms()
            deadline_at_ms = min(deadline_at_ms, self._clock.monotonic_ms() + max(0, left_ms))
        terms = Terms(
            limit=account.limit,
            hold_max=min(job.hold_max or account.limit.n, account.limit.n),
            app=job.app,
            weight=self._weights.get(job.app, 1),
            is_background=job.is_background,
        )
        counters = self._pools.counters(account.pool, terms, products=account.products, wish=job.hold_max)
        slot_count = sum(counter.terms.hold_max for counter in counters.values())
        work = JobWork(job, files=self._store.files, kept=kept, on_whole=note, slot_count=slot_count)
        self._works.add(work)
        if self._is_stopped:
            work.stop(STOPPED)
        speaking = asyncio.create_task(
            speak_by_product(
                work,
                speaker=KeepingSpeaker(speaker, kept, clock=self._clock),
                counters=counters,
                product_of=partial(counter_of, has_v1=account.login.has_pair),
                clock=self._clock,
                deadline_at_ms=deadline_at_ms,
            )
        )
        watching = asyncio.create_task(self._watch(job.job_id, work))
        ending = asyncio.create_task(self._end_slice(work, slice_ms))
        try:
            await speaking
            spent_ms = self._clock.monotonic_ms() - began_at_ms
            await work.end(within_ms=max(0, claim_ms - SLICE_MARGIN_MS // 2 - spent_ms))
        finally:
            self._works.discard(work)
            ending.cancel()
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        await work.note(is_last=True)
        return work

    async def _lasting(
        self, trouble: VolcengineError | None, account: Account, keyring: Keyring
    ) -> VolcengineError | None:
        """Return what a later slice may meet again; None for want of time, and for a key that was rotated."""
        if isinstance(trouble, LoginRejectedError):
            renewed = _account_of(await self._keys.reread(keyring), account.pool)
            return None if renewed is not None and renewed.login != account.login else trouble
        return None if isinstance(trouble, CapacityError) else trouble

    async def _end_slice(self, work: JobWork, slice_ms: int) -> None:
        """Let no further call start when the slice is over."""
        await self._clock.sleep(slice_ms)
        work.stop(SLICE_OVER)

    async def _watch(self, job_id: str, work: JobWork) -> None:
        """Write down what is finished, now and then, and stop when the job was cancelled."""
        while True:
            await self._clock.sleep(JOB_WATCH_MS)
            with contextlib.suppress(StoreError):
                job = await self._store.table.get(job_id)
                if job is None or job.is_over:
                    work.stop(JobCancelledError("the job was cancelled"))
                    return
                await work.note()


def _worked(job: Job, work: JobWork, trouble: VolcengineError | None, *, refused: int) -> Worked:
    return Worked(
        job_id=job.job_id,
        pool=job.account,
        state=job.state,
        spoken=work.spoken_count,
        failed=work.failed_count,
        put_off=work.put_off_count,
        refused=refused,
        trouble=None if trouble is None else trouble.code,
    )


def _account_of(keyring: Keyring, pool: str) -> Account | None:
    return next((account for account in keyring.all_accounts() if account.pool == pool), None)
