"""A job and every change of it. Pure.

A job is one item. Its tasks lie in files, a chunk each; whatever has happened to them is in files too. The item only
says how far it has come, and who is at it. Each change is written under the condition that the item is still of the
revision that was read, so two who change it at once don't undo each other's change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

from volcengine_client.errors import JobCancelledError, JobFailedError, JobLostError, VolcengineError, class_of
from volcengine_client.limits import (
    CALLBACK_ATTEMPTS_MAX,
    CALLBACK_DOUBLINGS,
    CALLBACK_WAIT_MAX_MS,
    CALLBACK_WAIT_MS,
    JOB_STALL_WAIT_MAX_MS,
    JOB_STALL_WAIT_MS,
    JOB_STALLS_MAX,
)

JOB_ID = re.compile(r"[0-9a-f]{32}")
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
JOB_STATES: tuple[JobState, ...] = get_args(JobState)
CallbackState = Literal["none", "wanted", "announced", "delivered", "failed"]
Verdict = Literal["delivered", "gone", "missed"]
LOST = "the workers ended over and over on this job; send it again, or have the operator move its dead letter back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job; instants are Unix milliseconds by the hosts' clocks.

    Attributes:
        job_id: 128 random bits, in hexadecimal.
        revision: Grows by one with every write.
        digest: Keyed hashes of the request that began it and of its list's version, where its tasks were uploaded;
            "": they were not.
        account: The pool of the account that pays.
        app: Whose share it takes from.
        is_background: Served after all that is not.
        hold_max: Slots that it may hold at most; None: all.
        is_cached: Whether it takes what was spoken before; if not, nobody takes what is spoken for it either.
        created_at_ms: When it was accepted.
        kept_until_s: When it may be forgotten, Unix seconds.
        deadline_at_ms: After which no call starts; None: whenever.
        task_count: Of the whole job.
        chunk_count: Files of tasks.
        character_count: Of all tasks, as the upstream bills them.
        whole_chunk_count: Chunks from the first on whose tasks all have an outcome.
        done_count: Tasks with audio, in those.
        failed_count: Tasks with an error, in those.
        bought_character_count: Characters that were spoken for it, in those; the others were found.
        part_done_count, part_failed_count, part_bought_character_count: The same in the chunks after those, at the end
            of the last slice.
        started_at_ms: When work on it began.
        ended_at_ms: When it was over.
        is_cancelled: Its caller wanted no more of it.
        error_code: Why the job as a whole ended; "": it did not, or all of it has its outcomes.
        error_message: The same in a sentence.
        stalled_count: Slices in a row that finished nothing.
        worker_id: Who works on it; "": nobody.
        claimed_until_ms: Until when nobody else does.
        attempt: How often the message that led to this work was delivered.
        callback_state: Whether somebody wants to be told of its end, and was; announced: a message for it was sent.
        callback_attempt_count: How often that was tried.
    """

    job_id: str
    revision: int = 1
    digest: str = ""
    account: str
    app: str
    is_background: bool
    hold_max: int | None = None
    is_cached: bool = True
    created_at_ms: int
    kept_until_s: int
    deadline_at_ms: int | None = None
    task_count: int
    chunk_count: int
    character_count: int
    whole_chunk_count: int = 0
    done_count: int = 0
    failed_count: int = 0
    bought_character_count: int = 0
    part_done_count: int = 0
    part_failed_count: int = 0
    part_bought_character_count: int = 0
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    is_cancelled: bool = False
    error_code: str = ""
    error_message: str = ""
    stalled_count: int = 0
    worker_id: str = ""
    claimed_until_ms: int = 0
    attempt: int = 0
    callback_state: CallbackState = "none"
    callback_attempt_count: int = 0

    @property
    def is_over(self) -> bool:
        """Whether no call starts for it any more."""
        return self.ended_at_ms is not None

    @property
    def is_lost(self) -> bool:
        """Whether it ended since no worker came through with it; a message that is moved back takes it up again."""
        return self.error_code == JobLostError.code

    @property
    def is_to_be_told(self) -> bool:
        """Whether it is over and somebody still waits to be told."""
        return self.is_over and self.callback_state in {"wanted", "announced"}

    @property
    def counts(self) -> Counts:
        """What has become of its tasks so far, as far as it was noted."""
        return Counts(
            done_count=self.done_count + self.part_done_count,
            failed_count=self.failed_count + self.part_failed_count,
            bought_character_count=self.bought_character_count + self.part_bought_character_count,
        )

    @property
    def state(self) -> JobState:
        """What is told of it."""
        if self.is_cancelled:
            return "cancelled"
        if self.error_code:
            return "failed"
        if self.is_over:
            return "done"
        return "queued" if self.started_at_ms is None else "running"

    @property
    def error(self) -> VolcengineError | None:
        """What became of the tasks that had no outcome when it ended; None when all have one, or it goes on."""
        if self.is_cancelled:
            return JobCancelledError("the job was cancelled before this task was spoken to its end")
        if self.error_code:
            return class_of(self.error_code)(self.error_message)
        return None


def status_url_of(job_id: str) -> str:
    """Return where a job is asked for."""
    return f"/jobs/{job_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What has become of some tasks: with audio, with an error, and the characters that were bought."""

    done_count: int = 0
    failed_count: int = 0
    bought_character_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Counts):
    """A chunk whose tasks all have an outcome: what it adds to its job's counts."""

    chunk: int


def expected_end_ms(job: Job, *, now_ms: int) -> int | None:
    """Return when a job will be over if it goes on as it did so far; None when nobody can tell."""
    settled_count = job.counts.done_count + job.counts.failed_count
    if job.is_over or job.started_at_ms is None or not settled_count:
        return None
    left_count = job.task_count - settled_count
    return now_ms + left_count * max(0, now_ms - job.started_at_ms) // settled_count


def busy_ms(job: Job, *, worker_id: str, now_ms: int) -> int:
    """Return for how long another worker may be at a job; 0: nobody is."""
    return 0 if job.worker_id in {"", worker_id} else max(0, job.claimed_until_ms - now_ms)


def claimed(job: Job, *, worker_id: str, now_ms: int, until_ms: int, attempt: int) -> Job | None:
    """Return the job in the hands of a worker; None when it is over, or in another's.

    A worker ends before its claim does, so two are never at one job. One that was lost is taken up again.
    """
    if busy_ms(job, worker_id=worker_id, now_ms=now_ms):
        return None
    if job.is_lost:
        job = _reopened(job)
    if job.is_over:
        return None
    started_at_ms = now_ms if job.started_at_ms is None else job.started_at_ms
    return _changed(
        replace(job, worker_id=worker_id, claimed_until_ms=until_ms, attempt=attempt, started_at_ms=started_at_ms)
    )


def advanced(job: Job, whole: Whole) -> Job | None:
    """Return the job with one more chunk behind it; None when it is behind it already: a reply was lost."""
    if whole.chunk < job.whole_chunk_count:
        return None
    assert whole.chunk == job.whole_chunk_count
    return _changed(
        replace(
            job,
            whole_chunk_count=whole.chunk + 1,
            done_count=job.done_count + whole.done_count,
            failed_count=job.failed_count + whole.failed_count,
            bought_character_count=job.bought_character_count + whole.bought_character_count,
            part_done_count=0,
            part_failed_count=0,
            part_bought_character_count=0,
        )
    )


def released(
    job: Job,
    *,
    worker_id: str,
    part: Counts,
    has_moved: bool,
    trouble: VolcengineError | None,
    now_ms: int,
    loose_character_count: int = 0,
) -> Job | None:
    """Return the job at the end of a slice: over, or free for the next one; None when another has taken it up.

    Args:
        job: As it is.
        worker_id: Who lets go of it; a process that stood still for longer than its claim lost it.
        part: What is behind a chunk that is not whole.
        has_moved: Whether the slice gave any task its outcome.
        trouble: What kept it from going on, when that was not for want of time.
        now_ms: Unix milliseconds.
        loose_character_count: Bought for tasks that have no audio yet, or never will.
    """
    if job.worker_id != worker_id:
        return None
    job = replace(
        job,
        worker_id="",
        claimed_until_ms=0,
        bought_character_count=job.bought_character_count + loose_character_count,
        part_done_count=part.done_count,
        part_failed_count=part.failed_count,
        part_bought_character_count=part.bought_character_count,
    )
    if job.whole_chunk_count == job.chunk_count and not job.is_over:
        job = replace(job, ended_at_ms=now_ms)
    if job.is_over:
        return _changed(job)
    is_stalled = trouble is not None and not has_moved
    job = replace(job, stalled_count=job.stalled_count + 1 if is_stalled else 0)
    reason = _given_up_for(job, trouble, now_ms=now_ms)
    return _changed(job) if reason is None else failed(job, reason, now_ms=now_ms)


def _given_up_for(job: Job, trouble: VolcengineError | None, *, now_ms: int) -> VolcengineError | None:
    """Return why a job goes on no more; None when it does."""
    if job.deadline_at_ms is not None and now_ms >= job.deadline_at_ms:
        return JobFailedError("the job's deadline came before this task was spoken to its end")
    is_for_good = trouble is not None and (job.stalled_count >= JOB_STALLS_MAX or not trouble.retryable)
    return trouble if job.stalled_count and is_for_good else None


def failed(job: Job, error: VolcengineError, *, now_ms: int) -> Job:
    """Return the job ended by something that would end every task of it."""
    job = replace(job, worker_id="", claimed_until_ms=0)
    return _changed(replace(job, ended_at_ms=now_ms, error_code=error.code, error_message=error.message))


def lost(job: Job, *, now_ms: int) -> Job | None:
    """Return the job given up, since its message is a dead letter; None when it is over, or a worker is at it.

    That worker's message is another one, which lives.
    """
    if job.is_over or busy_ms(job, worker_id="", now_ms=now_ms):
        return None
    return failed(job, JobLostError(LOST), now_ms=now_ms)


def _reopened(job: Job) -> Job:
    """Return a lost job as if it had gone on; whoever was told of its loss is told of its end, too."""
    callback_state: CallbackState = "none" if job.callback_state == "none" else "wanted"
    return replace(
        job,
        ended_at_ms=None,
        error_code="",
        error_message="",
        callback_state=callback_state,
        callback_attempt_count=0,
    )


def cancelled(job: Job, *, now_ms: int) -> Job:
    """Return the job cancelled; one that is over stays as it is. Calls under way end, and their audio is kept."""
    return job if job.is_over else _changed(replace(job, is_cancelled=True, ended_at_ms=now_ms))


def announced(job: Job) -> Job | None:
    """Return the job with the message for its callback sent; None when that is not due, or was done before."""
    return (
        _changed(replace(job, callback_state="announced")) if job.is_over and job.callback_state == "wanted" else None
    )


def called_back(job: Job, *, attempt: int, verdict: Verdict) -> Job | None:
    """Return the job after a try to tell of its end; None when it has been told, or given up, already.

    Args:
        job: Over.
        attempt: Which try it was, from 1; another may have made the same.
        verdict: What came of it.
    """
    if not job.is_to_be_told:
        return None
    state: CallbackState = "announced"
    if verdict == "delivered":
        state = "delivered"
    elif verdict == "gone" or attempt >= CALLBACK_ATTEMPTS_MAX:
        state = "failed"
    attempt_count = max(job.callback_attempt_count, attempt)
    return _changed(replace(job, callback_state=state, callback_attempt_count=attempt_count))


def wait_before_next_try_ms(attempt: int) -> int:
    """Return how long to wait after a failed try."""
    return min(CALLBACK_WAIT_MAX_MS, CALLBACK_WAIT_MS << min(attempt - 1, CALLBACK_DOUBLINGS))


def wait_before_next_slice_ms(job: Job) -> int:
    """Return how long the next slice should wait: not at all while there is progress."""
    if not job.stalled_count:
        return 0
    return min(JOB_STALL_WAIT_MAX_MS, JOB_STALL_WAIT_MS << (job.stalled_count - 1))


def _changed(job: Job) -> Job:
    return replace(job, revision=job.revision + 1)
