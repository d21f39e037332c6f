"""The routes that speak, and the list of voices."""

from __future__ import annotations

from http import HTTPStatus

from volcengine_client.errors import InvalidRequestError, StoreError
from volcengine_client.limits import VOICE_QUERY_CHARACTERS_MAX, VOICES_PAGE, VOICES_PAGE_MAX
from volcengine_client.models import BatchRequest, BatchResponse
from volcengine_client.speech.catalogue import families, genders, languages
from volcengine_gateway.openapi.operation import (
    BODY,
    DRY_RUN,
    ESTIMATED,
    IDEMPOTENCY_KEY,
    PAYING,
    PREFER,
    SPEAKING,
    TAKEN,
    Example,
    Operation,
    Parameter,
    Reply,
)
from volcengine_gateway.problems import UnknownRouteError
from volcengine_gateway.told import EstimateTold, VoicesTold

TAG = "Speech"
RESULT = {
    "task_id": "hello",
    "audio_base64": "//OExAAAAAAAAAAAAA==",
    "audio_url": None,
    "duration_ms": 1848,
    "characters": 6,
    "bought": True,
    "pending": False,
    "error": None,
}
REFUSED = {
    "code": "option_refused",
    "message": "this voice can't change pitch; leave it out",
    "retryable": False,
}
ESTIMATE = {
    "dry_run": True,
    "tasks": 1,
    "calls": 1,
    "unchecked": 0,
    "saved": 0,
    "refused": [],
    "characters": {"bought": 6, "saved": 0, "by_product": {"small-model": 6}},
    "expected_seconds": 1.2,
    "limit": 10,
    "warnings": [],
}
JOB_TAKEN = {
    "job_id": "0123456789abcdef0123456789abcdef",
    "status_url": "/jobs/0123456789abcdef0123456789abcdef",
    "state": "queued",
    "app": "audiobook",
    "priority": "background",
    "tasks": 2,
    "done": 0,
    "failed": 0,
    "characters": 12,
    "characters_bought": 0,
    "created_at_ms": 1_767_225_600_000,
    "started_at_ms": None,
    "ended_at_ms": None,
    "expected_end_ms": None,
    "expires_at_ms": 1_767_830_400_000,
    "callback": None,
    "error": None,
}

BATCHES = (
    Example(
        name="two_tasks",
        summary="Two texts",
        body={
            "app": "bookshop",
            "tasks": [
                {"task_id": "hello", "text": "你好，世界。", "voice_type": "BV001_streaming"},
                {"task_id": "wrong", "text": "Hello", "voice_type": "zh_female_cancan_mars_bigtts", "pitch": 2},
            ],
        },
        answer={
            "results": [
                RESULT,
                {
                    **RESULT,
                    "task_id": "wrong",
                    "audio_base64": "",
                    "duration_ms": None,
                    "characters": 5,
                    "bought": False,
                    "error": REFUSED,
                },
            ],
            "pool": {"limit": 10, "waited_ms": 9},
            "characters": {"bought": 6, "saved": 0},
            "job": None,
        },
    ),
    Example(
        name="shaped",
        summary="Another file, speed and pitch",
        body={
            "tasks": [{"text": "慢一点。", "encoding": "wav", "sample_rate": 16_000, "speed": 0.8, "pitch": -1}],
            "cache": False,
        },
    ),
    Example(
        name="own_account",
        summary="With an account of one's own",
        body={
            "tasks": [{"text": "你好。"}],
            "credentials": {
                "volcengine_tts_appid": "1234567890",
                "volcengine_tts_access_key": "the-access-key",
                "volcengine_tts_concurrency": 2,
            },
        },
    ),
    Example(
        name="dry_run",
        summary="What it would take",
        query="dry_run=true",
        body={"tasks": [{"text": "你好，世界。"}]},
        answer=ESTIMATE,
    ),
    Example(
        name="as_a_job",
        summary="As a job at once",
        headers={"Prefer": "respond-async", "Idempotency-Key": "chapter-7-take-1"},
        body={"app": "audiobook", "tasks": [{"text": "第七章。"}, {"text": "从前。"}]},
        status=HTTPStatus.ACCEPTED,
        answer=JOB_TAKEN,
    ),
)
VOICES = Example(
    name="english_women",
    summary="Women's voices that speak English",
    query="language=en&gender=female&limit=1",
    answer={
        "voices": [
            {
                "id": "BV027_streaming",
                "name": "Amelia",
                "languages": ["en-US"],
                "gender": "female",
                "family": "small-model",
                "resource": "volc.tts.default",
                "api": "v1",
                "styles": [],
                "why_not": None,
            }
        ],
        "count": 56,
        "next_after": "BV027_streaming",
    },
)


def operations() -> tuple[Operation, ...]:
    """Return what is said of them; reads the list of voices."""
    return (_batch(), _voices())


def _batch() -> Operation:
    return Operation(
        method="post",
        path="/generate-batch",
        name="generate_batch",
        tag=TAG,
        summary="Speak a batch of texts.",
        description=(
            "Results come in the order of the tasks. A task that fails has an `error` and no audio, and the answer "
            "stays 200; it is an error only when every task failed through no fault of its own, and then "
            "`error.details` holds all results. Tasks for which there was no time are `pending`, and `job` goes on "
            "with them. Show the admin key to use the gateway's account, or give `credentials` of your own where "
            "this gateway takes them."
        ),
        login="operator_or_own",
        parameters=(DRY_RUN, IDEMPOTENCY_KEY, PREFER),
        requests=(BatchRequest,),
        replies={
            HTTPStatus.OK: Reply(f"The results. Or: {ESTIMATED}", (BatchResponse, EstimateTold)),
            HTTPStatus.ACCEPTED: TAKEN,
        },
        errors=(*PAYING, *BODY, *SPEAKING, StoreError, UnknownRouteError),
        examples=BATCHES,
    )


def _voices() -> Operation:
    return Operation(
        method="get",
        path="/voices",
        name="list_voices",
        tag=TAG,
        summary="List the known voices.",
        description="No key is needed. An account may have to order a voice before it can be spoken with.",
        login="anybody",
        parameters=(
            Parameter(
                "query",
                "language",
                "A code, or the first part of some: `zh` finds `zh-CN` and `zh-Sichuan`.",
                {"type": "string", "enum": list(languages())},
            ),
            Parameter("query", "gender", "As it sounds.", {"type": "string", "enum": list(genders())}),
            Parameter("query", "family", "Whose abilities it has.", {"type": "string", "enum": list(families())}),
            Parameter(
                "query",
                "q",
                "A part of its id or name, in any case of letters.",
                {"type": "string", "maxLength": VOICE_QUERY_CHARACTERS_MAX},
                "candice",
            ),
            Parameter(
                "query",
                "limit",
                "How many at most.",
                {"type": "integer", "minimum": 1, "maximum": VOICES_PAGE_MAX, "default": VOICES_PAGE},
            ),
            Parameter("query", "after", "The `next_after` of the page before.", {"type": "string"}),
        ),
        replies={HTTPStatus.OK: Reply("A page of them.", (VoicesTold,), ("Cache-Control",))},
        errors=(InvalidRequestError,),
        examples=(VOICES,),
    )
