"""Jobs and pools as a gateway tells of them."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from pydantic import BaseModel, Field

from volcengine_client.models import TaskError, TaskResult

Priority = Literal["interactive", "background"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]

OVER = frozenset({"done", "failed", "cancelled"})


class JobWishes(TypedDict, total=False):
    """How a job is to be done.

    Attributes:
        app: Whose share of the pool it takes from.
        priority: `background`, the usual one, waits behind everything interactive.
        deadline_s: Seconds from now after which no call starts any more; None: whenever its turn comes.
        callback_url: Where its end is told; None: nowhere.
        cache: Whether audio that was spoken before will do; it usually does.
    """

    app: str
    priority: Priority
    deadline_s: int | None
    callback_url: str | None
    cache: bool


class Job(BaseModel):
    """One job; instants are Unix milliseconds.

    Attributes:
        job_id: By which it is asked for.
        state: `queued`, `running`, `done`, `failed` or `cancelled`.
        app: Whose share of the pool it takes from.
        priority: `interactive` or `background`.
        tasks: How many it has.
        done: Tasks with audio.
        failed: Tasks with an error.
        characters: Of all tasks, as the upstream bills them.
        characters_bought: What was bought so far; the rest was found.
        created_at_ms: When the gateway took it on.
        started_at_ms: When work on it began; None: not yet.
        ended_at_ms: When it was over; None: not yet.
        expected_end_ms: When it will be over if it goes on like this; None when nobody can tell.
        expires_at_ms: Until when it is kept.
        error: Why the job as a whole failed; None when it did not.
        warnings: Told when it is handed in: voices that nobody knows.
    """

    job_id: str
    state: str
    app: str = "default"
    priority: str = "background"
    tasks: int = 0
    done: int = 0
    failed: int = 0
    characters: int = 0
    characters_bought: int = 0
    created_at_ms: int | None = None
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    expected_end_ms: int | None = None
    expires_at_ms: int | None = None
    error: TaskError | None = None
    warnings: list[str] = []

    @property
    def is_over(self) -> bool:
        """Whether no call starts for it any more."""
        return self.state in OVER


class JobResult(TaskResult):
    """What became of a task of a job.

    Attributes:
        index: Its place in the job, from 0.
    """

    index: int


class JobPage(Job):
    """A job and some of its results, in input order without gaps.

    Attributes:
        results: From where the caller said.
        next_after: Where to go on; None: these were the last.
    """

    results: list[JobResult] = []
    next_after: int | None = None


class JobList(BaseModel):
    """Jobs of an account, the youngest first.

    Attributes:
        jobs: Some of them.
        next_after: Where to go on; None: these were the last.
    """

    jobs: list[Job]
    next_after: str | None = None


class EstimatedCharacters(BaseModel):
    """What a batch would cost, in characters as the upstream bills them.

    Attributes:
        bought: To be spoken.
        saved: Found, or equal to another task's.
        by_product: What is to be spoken, by what the upstream sells it as.
    """

    bought: int = 0
    saved: int = 0
    by_product: dict[str, int] = {}


class Estimate(BaseModel):
    """What a batch would take; nothing was bought to know it.

    Attributes:
        tasks: Of the batch.
        calls: To the upstream, when none has to be repeated.
        unchecked: Calls for which there was no time to look whether their audio is found.
        saved: Tasks whose audio is found, or equal to another's.
        refused: Tasks that would fail, and why: index, task_id, error.
        characters: What they cost.
        expected_seconds: A guess from what calls took lately, with all of the limit.
        limit: Calls at once.
        warnings: Voices that nobody knows, and which ones may have been meant.
    """

    tasks: int
    calls: int
    unchecked: int = 0
    saved: int
    refused: list[dict[str, Any]] = []
    characters: EstimatedCharacters
    expected_seconds: float
    limit: int
    warnings: list[str] = []


class SlotStatus(BaseModel):
    """One taken or shut slot, and in a sentence who has it and until when."""

    slot: int
    app: str | None = None
    is_shut: bool = False
    is_free: bool = False
    why: str = ""


class ParticipantStatus(BaseModel):
    """One who holds slots or waits for them.

    Attributes:
        app: Whose share it takes from.
        is_background: Whether it is served after all that is not.
        held: Slots that it has.
        want: Slots that it has work for.
        waited_ms: None for one that does not wait.
        position: At which turn it is served, 1 is next; None for one that does not wait.
        why: What it waits for and behind whom, in a sentence.
    """

    app: str
    is_background: bool = False
    held: int = 0
    want: int = 0
    waited_ms: int | None = None
    position: int | None = None
    why: str = ""


class PoolStatus(BaseModel):
    """A pool: who holds and who waits.

    Attributes:
        pool: Its name.
        limit: Calls at once; None before anybody joined.
        cap: A passing cut of the limit; None: it is not cut.
        why_cut: Why it is, in a sentence.
        slots_in_use: Held and shut ones.
        slots: By number.
        participants: Those who wait, in the order of the line, then the others.
    """

    pool: str
    limit: int | None = None
    cap: dict[str, Any] | None = None
    why_cut: str | None = None
    slots_in_use: int = 0
    slots: list[SlotStatus] = []
    participants: list[ParticipantStatus] = Field(default_factory=list)
