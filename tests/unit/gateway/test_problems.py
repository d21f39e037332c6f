from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from volcengine_client import errors
from volcengine_client.errors import (
    BatchTooLargeError,
    DeadlineCutError,
    LeaseLostError,
    LoginRejectedError,
    NoSlotInTimeError,
    SecretError,
    UpstreamUnavailableError,
    VoiceNotGrantedError,
    VolcengineError,
)
from volcengine_client.models import BatchResponse, PoolReport, TaskError, TaskResult
from volcengine_gateway.problems import (
    Answer,
    MethodNotAllowedError,
    answer_of_batch,
    answer_of_error,
    answer_of_exception,
    guarded,
    invalid,
)

STATUSES = {
    "AdminKeyError": 401,
    "AnswerFullError": 429,
    "BatchStoppedError": 500,  # only ever a result's of the library
    "BatchTooLargeError": 413,
    "CallerError": 400,
    "CapacityError": 429,
    "ConcurrencyExceededError": 429,
    "CredentialsError": 400,
    "DeadlineCutError": 504,
    "GatewayUnavailableError": 500,  # only ever the client's
    "InvalidRequestError": 422,
    "JobCancelledError": 500,  # only ever a task's
    "JobFailedError": 500,  # the same
    "JobLostError": 500,  # the same
    "LeaseLostError": 503,
    "LoginRejectedError": 502,
    "NoSlotInTimeError": 429,
    "OptionRefusedError": 502,
    "PoolError": 503,
    "PoolTableError": 503,
    "QuotaUsedUpError": 502,
    "SecretError": 503,
    "StoreError": 503,
    "TextRefusedError": 502,
    "UnknownJobError": 404,
    "UnknownPoolError": 404,
    "UpstreamError": 502,
    "UpstreamRejectedError": 502,
    "UpstreamThrottledError": 429,
    "UpstreamTimeoutError": 504,
    "UpstreamUnavailableError": 502,
    "VoiceNotGrantedError": 502,
    "VolcengineError": 500,
}


def all_errors() -> list[type[VolcengineError]]:
    return [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, VolcengineError)]


@pytest.mark.parametrize("error", all_errors())
def test_every_error_of_the_tree_has_its_status(error: type[VolcengineError]) -> None:
    answer = answer_of_error(error("what happened"), request_id="r")

    assert answer.status == STATUSES[error.__name__]
    assert ("Retry-After" in answer.headers) == (answer.status in {429, 503})
    assert json.loads(answer.body)["error"] == {
        "code": error.code,
        "message": "what happened",
        "retryable": error("x").retryable,
        "details": {},
        "request_id": "r",
    }


@pytest.mark.parametrize(("retry_after_ms", "seconds"), [(None, "2"), (1, "1"), (1_000, "1"), (1_001, "2")])
def test_retry_after_is_in_whole_seconds_rounded_up(retry_after_ms: int | None, seconds: str) -> None:
    answer = answer_of_error(SecretError("x", retry_after_ms=retry_after_ms), request_id="r")

    assert answer.headers["Retry-After"] == seconds


def test_a_wrong_method_has_an_allow_header() -> None:
    answer = answer_of_error(MethodNotAllowedError("x", details={"allow": ["GET", "HEAD"]}), request_id="r")

    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def batch(*outcomes: VolcengineError | None) -> BatchResponse:
    results = [
        TaskResult(
            task_id=f"t{index}",
            error=TaskError.of(outcome) if outcome else None,
            audio_base64="" if outcome else "YQ==",
        )
        for index, outcome in enumerate(outcomes)
    ]
    return BatchResponse(results=results, pool=PoolReport(limit=10, waited_ms=None))


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ((), 200),
        ((None,), 200),
        ((None, NoSlotInTimeError("x")), 200),
        ((NoSlotInTimeError("x"), NoSlotInTimeError("x")), 429),
        ((UpstreamUnavailableError("x"),), 502),
        ((UpstreamUnavailableError("x"), LoginRejectedError("x")), 502),
        ((DeadlineCutError("x"),), 504),
        ((DeadlineCutError("x"), NoSlotInTimeError("x")), 200),
        ((LeaseLostError("x"),), 503),
        ((VoiceNotGrantedError("x"),), 200),
        ((VoiceNotGrantedError("x"), UpstreamUnavailableError("x")), 200),
    ],
)
def test_only_a_batch_that_failed_as_one_is_an_error(outcomes: tuple[VolcengineError | None, ...], status: int) -> None:
    response = batch(*outcomes)

    answer = answer_of_batch(response, request_id="r")

    said = json.loads(answer.body)
    assert answer.status == status
    assert (said if status == 200 else said["error"]["details"]) == response.model_dump(mode="json")


def test_a_failed_batch_is_worth_another_try_if_one_of_its_tasks_is() -> None:
    mixed = batch(LoginRejectedError("x"), UpstreamUnavailableError("x"))

    assert json.loads(answer_of_batch(mixed, request_id="r").body)["error"]["retryable"] is True


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    numbers: list[int]


def test_fields_are_named_as_a_caller_writes_them_and_their_values_are_not_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        Strict.model_validate({"numbers": [1, "canary"], "a.b[0]": "canary", "canary" * 20: 1})

    error = invalid(caught.value)

    assert [field["field"] for field in error.details["fields"]] == ["numbers[1]", "?", "?"]
    assert "canary" not in f"{error} {error.details}"


async def test_a_guard_answers_whatever_happens() -> None:
    bugs: list[Exception] = []

    async def fails(error: Exception) -> Answer:
        raise error

    def otherwise(error: Exception) -> Answer:
        return answer_of_exception(error, request_id="r", on_bug=bugs.append)

    told = [
        await guarded(fails(error), otherwise) for error in (BatchTooLargeError("x"), KeyError("x"), AssertionError())
    ]

    assert [answer.status for answer in told] == [413, 500, 500]
    assert [type(bug) for bug in bugs] == [KeyError, AssertionError]
