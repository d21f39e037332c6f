"""What the gateway answers with 2xx, as JSON; the pools apart, which `report.py` tells of.

The code that answers has these for its types, and the document of the routes is made of them, so neither can say what
the other does not.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict

from volcengine_client.models import TaskError
from volcengine_client.voice_list import Voice
from volcengine_gateway.report import PoolTold

State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]


class HealthTold(TypedDict):
    """That the service lives, and how busy the server's own pool is.

    Attributes:
        status: `degraded`: the pool or the server's credentials are out of reach.
        service: Its name.
        version: Of its code.
        limit: Calls at once; None when nobody can tell.
        slots_in_use: Held and shut ones; None when nobody can tell.
    """

    status: Literal["ok", "degraded"]
    service: str
    version: str
    limit: int | None
    slots_in_use: int | None


class VoicesTold(TypedDict):
    """Known voices, by id.

    Attributes:
        voices: Those of this page.
        count: How many there are that are all that is asked for.
        next_after: Where to go on; None: these were the last.
    """

    voices: list[Voice]
    count: int
    next_after: str | None


class PoolsTold(TypedDict):
    """The pools.

    Attributes:
        pools: The first hundred.
        pools_count: How many there are.
    """

    pools: list[PoolTold]
    pools_count: int


class CallbackTold(TypedDict):
    """How a job's callback stands.

    Attributes:
        state: `pending` until it was heard or given up.
        attempts: How often it was tried.
    """

    state: str
    attempts: int


class FailureTold(TypedDict):
    """Why a task, or a job as a whole, failed.

    Attributes:
        code: One of the codes of errors.
        message: One sentence for the caller.
        retryable: Whether the same may succeed later, unchanged.
    """

    code: str
    message: str
    retryable: bool


class JobTold(TypedDict):
    """One job; instants are Unix milliseconds.

    Attributes:
        job_id: By which it is asked for.
        status_url: Where it is asked for.
        state: No call starts any more once it is `done`, `failed` or `cancelled`.
        app: Whose share of the pool it takes from.
        priority: `background` waits behind everything interactive.
        tasks: How many it has.
        done: Tasks with audio.
        failed: Tasks with an error.
        characters: Of all tasks, as the upstream bills them.
        characters_bought: What was bought so far; the rest was found, or is still to be spoken.
        created_at_ms: When it was taken on.
        started_at_ms: When work on it began; None: not yet.
        ended_at_ms: When it was over; None: not yet.
        expected_end_ms: When it will be over if it goes on like this; None when nobody can tell.
        expires_at_ms: Until when it is kept.
        callback: How its callback stands; None when none was wanted.
        error: Why the job as a whole failed; None when it did not.
    """

    job_id: str
    status_url: str
    state: State
    app: str
    priority: Literal["interactive", "background"]
    tasks: int
    done: int
    failed: int
    characters: int
    characters_bought: int
    created_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int | None
    expected_end_ms: int | None
    expires_at_ms: int
    callback: CallbackTold | None
    error: FailureTold | None


class JobResultTold(TypedDict):
    """What became of a task of a job: audio or an error.

    Attributes:
        index: Its place in the job, from 0.
        task_id: As the task said.
        audio_url: Where the audio can be fetched within an hour; None for a failed task.
        duration_ms: Length of the audio.
        characters: Characters of the text, as the upstream bills them.
        bought: Whether it was spoken for this task; False: it was found, or there is none.
        error: Why there is no audio; None when there is.
        subtitles_url: Where its subtitles can be fetched; left out where it wanted none.
    """

    index: int
    task_id: str
    audio_url: str | None
    duration_ms: int | None
    characters: int
    bought: bool
    error: FailureTold | None
    subtitles_url: NotRequired[str]


class JobPageTold(JobTold):
    """A job and some of its results.

    Attributes:
        results: From where the caller said, in input order, as far as they go without a gap.
        next_after: Where to go on; None: these were the last.
    """

    results: list[JobResultTold]
    next_after: int | None


class JobTakenTold(JobTold, total=False):
    """A job that was just taken on.

    Attributes:
        warnings: Voices that nobody knows, and which ones may have been meant; missing when there are none.
    """

    warnings: list[str]


class JobsTold(TypedDict):
    """An account's jobs, the youngest first.

    Attributes:
        jobs: Some of them.
        next_after: Where to go on; None: these were the last.
    """

    jobs: list[JobTold]
    next_after: str | None


class RefusedTold(TypedDict):
    """A task that would fail.

    Attributes:
        index: Its place in the batch, from 0.
        task_id: As the task said; None when it said nothing.
        error: Why.
    """

    index: int
    task_id: str | None
    error: FailureTold


class CostTold(TypedDict):
    """What a batch would cost, in characters as the upstream bills them.

    Attributes:
        bought: To be spoken.
        saved: Found, or equal to another task's.
        by_product: What is to be spoken, by what the upstream sells it as.
    """

    bought: int
    saved: int
    by_product: dict[str, int]


class FiguresTold(TypedDict):
    """What a batch would take; nothing was bought to know it.

    Attributes:
        dry_run: Always true.
        tasks: Of the batch.
        calls: To the upstream, when none has to be repeated.
        unchecked: Calls of which there was no time to see whether they were made before.
        saved: Tasks whose audio is found, or equal to another's.
        refused: Tasks that would fail.
        characters: What they cost.
        expected_seconds: A guess from what calls took lately, with all of the limit.
        limit: Calls at once.
    """

    dry_run: Literal[True]
    tasks: int
    calls: int
    unchecked: int
    saved: int
    refused: list[RefusedTold]
    characters: CostTold
    expected_seconds: float
    limit: int


class EstimateTold(FiguresTold):
    """What a batch would take, and what is strange about it.

    Attributes:
        warnings: Voices that nobody knows, and which ones may have been meant.
    """

    warnings: list[str]


class Problem(TypedDict):
    """An error of the request.

    Attributes:
        code: What to tell by program.
        message: What to tell a person: one sentence that says what to do.
        retryable: Whether the same request may succeed later, unchanged.
        details: Further facts. `invalid_request` names its `fields`, each with `field`, `message` and often its
            `bound`; when every task failed the `results` are here.
        request_id: By which the operator finds it; also in the header X-Request-Id.
    """

    code: str
    message: str
    retryable: bool
    details: dict[str, object]
    request_id: str


class Error(TypedDict):
    """The body of every answer with 4xx or 5xx of the gateway's own.

    Attributes:
        error: What went wrong.
    """

    error: Problem


class OpenAIProblem(TypedDict):
    """An error of the request, as OpenAI's clients know it; the header X-Should-Retry tells them what helps.

    Attributes:
        message: What to tell a person.
        type: Its kind.
        param: The field that was wrong; None: none in particular.
        code: What to tell by program.
        request_id: By which the operator finds it; also in the header X-Request-Id.
    """

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str
    request_id: str


class OpenAIError(TypedDict):
    """The body of every answer with 4xx or 5xx below `/v1`.

    Attributes:
        error: What went wrong.
    """

    error: OpenAIProblem


class UploadAddressTold(TypedDict):
    """Where a list of tasks may be sent, by whoever has this.

    Attributes:
        upload_id: By which its job is begun.
        url: Its address.
        method: To send it with.
        headers: To be sent with it.
        expires_at_ms: Until when.
        bytes_max: How large it may be; the size itself where that was told.
    """

    upload_id: str
    url: str
    method: Literal["PUT"]
    headers: dict[str, str]
    expires_at_ms: int
    bytes_max: int


class UploadTold(TypedDict):
    """What to do with a list of tasks that is too large for a body: PUT it as JSON Lines, then begin its job.

    Attributes:
        upload: Where to.
    """

    upload: UploadAddressTold


def taken_on(job: JobTold, warnings: list[str]) -> JobTold | JobTakenTold:
    """Return a job that was just taken on, with what is strange about it."""
    return {**job, "warnings": warnings} if warnings else job


def told_of(error: TaskError) -> FailureTold:
    """Return an error as it stands in an answer."""
    return {"code": error.code, "message": error.message, "retryable": error.retryable}
