"""The routes of jobs."""

from __future__ import annotations

from http import HTTPStatus

from volcengine_client.errors import InvalidRequestError, StoreError, UnknownJobError
from volcengine_client.limits import APP_CHARACTERS_MAX, JOB_PAGE_TASKS, JOB_PAGE_TASKS_MAX
from volcengine_client.models import JobRequest, UploadedJobRequest, UploadRequest
from volcengine_gateway.jobs.job import JOB_STATES
from volcengine_gateway.openapi.of_speech import ESTIMATE, JOB_TAKEN
from volcengine_gateway.openapi.operation import (
    BODY,
    DRY_RUN,
    ESTIMATED,
    IDEMPOTENCY_KEY,
    OPERATORS,
    PAYING,
    TAKEN,
    Example,
    Operation,
    Parameter,
    Reply,
)
from volcengine_gateway.problems import UnknownRouteError
from volcengine_gateway.told import EstimateTold, JobPageTold, JobsTold, JobTold, UploadTold

TAG = "Jobs"
INDEX_MAX = 2**31
JOB_ERRORS = (*OPERATORS, UnknownRouteError, StoreError)
ID = "0123456789abcdef0123456789abcdef"
JOB = Parameter("path", "job_id", "As the gateway gave it.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, ID)
NAME = {"type": "string", "maxLength": APP_CHARACTERS_MAX}
OF_ACCOUNT = Parameter("query", "account", "Whose job it has to be, one of the gateway's accounts; else 404.", NAME)
TASKS = {"app": "audiobook", "tasks": [{"task_id": "1", "text": "第七章。"}, {"task_id": "2", "text": "从前。"}]}
DONE = {
    **JOB_TAKEN,
    "state": "done",
    "done": 1,
    "failed": 1,
    "characters_bought": 4,
    "started_at_ms": 1_767_225_600_400,
    "ended_at_ms": 1_767_225_602_100,
}
RESULTS = [
    {
        "index": 0,
        "task_id": "1",
        "audio_url": "https://example.com/speech/3f2a.mp3?X-Amz-Signature=…",
        "duration_ms": 1290,
        "characters": 4,
        "bought": True,
        "error": None,
    },
    {
        "index": 1,
        "task_id": "2",
        "audio_url": None,
        "duration_ms": None,
        "characters": 3,
        "bought": False,
        "error": {"code": "text_refused", "message": "the voice can't read this text", "retryable": False},
    },
]


UPLOAD = {
    "upload": {
        "upload_id": ID,
        "url": "https://example.com/jobs/0123456789abcdef0123456789abcdef/upload.jsonl?X-Amz-Signature=…",
        "method": "PUT",
        "headers": {},
        "expires_at_ms": 1_767_229_200_000,
        "bytes_max": 536_870_912,
    }
}


def operations() -> tuple[Operation, ...]:
    """Return what is said of them."""
    return (_submit(), _list(), _show(), _cancel())


def _submit() -> Operation:
    return Operation(
        method="post",
        path="/jobs",
        name="submit_job",
        tag=TAG,
        summary="Take on a batch of any size as a job.",
        description=(
            'The tasks are in the body, or were uploaded before: `{"upload": true}` asks for an address, the list is '
            'PUT there as JSON Lines, and `{"upload_id": …}` begins its job. A job is spoken as background work, so '
            "that no single sentence waits behind it. Without an `Idempotency-Key` an equal body leads to the same "
            "job for as long as that one goes on."
        ),
        login="operator",
        parameters=(DRY_RUN, IDEMPOTENCY_KEY),
        requests=(JobRequest, UploadRequest, UploadedJobRequest),
        replies={
            HTTPStatus.OK: Reply(ESTIMATED, (EstimateTold,)),
            HTTPStatus.CREATED: Reply("Where to upload the list.", (UploadTold,)),
            HTTPStatus.ACCEPTED: TAKEN,
        },
        errors=(*PAYING, *BODY, UnknownRouteError, StoreError),
        examples=(
            Example(
                name="two_tasks",
                summary="Two texts, within a day",
                body={**TASKS, "priority": "background", "deadline_s": 86_400},
                status=HTTPStatus.ACCEPTED,
                answer=JOB_TAKEN,
            ),
            Example(name="dry_run", summary="What it would take", query="dry_run=true", body=TASKS, answer=ESTIMATE),
            Example(
                name="an_upload",
                summary="An address for a list that is too large for a body",
                body={"upload": True},
                status=HTTPStatus.CREATED,
                answer=UPLOAD,
            ),
        ),
    )


def _list() -> Operation:
    return Operation(
        method="get",
        path="/jobs",
        name="list_jobs",
        tag=TAG,
        summary="List an account's jobs, the youngest first.",
        login="operator",
        parameters=(
            Parameter("query", "account", "One of the gateway's accounts; left out: its main one.", NAME),
            Parameter("query", "app", "Only this app's.", NAME, "audiobook"),
            Parameter("query", "state", "Only those in this state.", {"enum": list(JOB_STATES)}, "running"),
            Parameter(
                "query",
                "after",
                "The `next_after` of the page before.",
                {"type": "string", "pattern": "^[0-9]{15}[0-9a-f]{32}$"},
            ),
        ),
        replies={HTTPStatus.OK: Reply("A page of them.", (JobsTold,))},
        errors=(*JOB_ERRORS, InvalidRequestError),
        examples=(
            Example(
                name="of_an_app",
                summary="One app's",
                query="app=audiobook",
                answer={"jobs": [DONE], "next_after": None},
            ),
        ),
    )


def _show() -> Operation:
    return Operation(
        method="get",
        path="/jobs/{job_id}",
        name="show_job",
        tag=TAG,
        summary="Tell of a job, and of a page of its results.",
        description="A page ends at the first task that is not finished yet; ask again with `after=next_after`.",
        login="operator",
        parameters=(
            JOB,
            Parameter(
                "query",
                "after",
                "The index of the last result that is known; -1: none.",
                {"type": "integer", "minimum": -1, "maximum": INDEX_MAX, "default": -1},
            ),
            Parameter(
                "query",
                "limit",
                "How many results at most; 0: only the job.",
                {"type": "integer", "minimum": 0, "maximum": JOB_PAGE_TASKS_MAX, "default": JOB_PAGE_TASKS},
            ),
            OF_ACCOUNT,
        ),
        replies={HTTPStatus.OK: Reply("The job.", (JobPageTold,))},
        errors=(*JOB_ERRORS, UnknownJobError, InvalidRequestError),
        examples=(
            Example(
                name="from_the_start",
                summary="Its first results",
                path={"job_id": ID},
                query="limit=100",
                answer={**DONE, "results": RESULTS, "next_after": None},
            ),
        ),
    )


def _cancel() -> Operation:
    return Operation(
        method="delete",
        path="/jobs/{job_id}",
        name="cancel_job",
        tag=TAG,
        summary="Cancel a job.",
        description="No further call starts; what was spoken stays. Safe to repeat; one that is over stays as it is.",
        login="operator",
        parameters=(JOB, OF_ACCOUNT),
        replies={HTTPStatus.OK: Reply("The job as it is now.", (JobTold,))},
        errors=(*JOB_ERRORS, UnknownJobError),
        examples=(
            Example(
                name="cancel",
                summary="Let no further call start",
                path={"job_id": ID},
                answer={**JOB_TAKEN, "state": "cancelled", "ended_at_ms": 1_767_225_601_000},
            ),
        ),
    )
